"""Options that several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from dynaview.projections.declaration import Declaration
from dynaview.views.control.errors import ControlError
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.load import DEFAULT_FILE, load

F = TypeVar("F", bound=Callable[..., Any])


def files_option(function: F) -> F:
    """``-f FILE``, as often as wanted."""
    option = click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        type=click.Path(path_type=Path),
        default=(Path(DEFAULT_FILE),),
        show_default=DEFAULT_FILE,
        help="A declaration: YAML, or a Python module with projections. May be given more than once.",
    )
    return option(function)


def load_files(files: tuple[Path, ...]) -> Declaration:
    """The checked declaration; raises `DeclarationError` with every problem."""
    return load(files, os.environ)


@contextmanager
def opened_control(declaration: Declaration) -> Iterator[ControlStore]:
    """The declaration's control store; one that cannot be used ends the command with one line and exit code 1."""
    try:
        control = ControlStore(declaration.control)
    except ControlError as error:
        click.echo(f"dynaview: {error}", err=True)
        sys.exit(1)
    try:
        yield control
    finally:
        control.close()

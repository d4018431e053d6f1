"""Options that several commands share. What takes long to import is imported where it is used, so that ``--help`` of a
command does not."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dynaview.projections.declaration import Declaration
from dynaview.views.control.errors import ControlError, ControlMissing

if TYPE_CHECKING:
    from dynaview.views.control.store import ControlStore
    from dynaview.views.declarations.modules import Modules

DEFAULT_FILE = "dynaview.yaml"

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
        show_default=True,
        help="A declaration: YAML, or a Python module with projections. May be given more than once.",
    )
    return option(function)


def load_files(files: tuple[Path, ...], modules: Modules | None = None, *, stores: bool = True) -> Declaration:
    """The checked declaration; raises `DeclarationError` with every problem. `modules` and `stores`: see `load`."""
    from dynaview.views.declarations.load import load

    return load(files, os.environ, modules, stores=stores)


def declared(declaration: Declaration, views: Sequence[str]) -> list[str]:
    """The named views. Raises `click.UsageError` for one that is not declared."""
    for name in views:
        if name not in declaration.views:
            raise click.UsageError(f"no view is called {name}; there are {', '.join(sorted(declaration.views))}")
    return list(dict.fromkeys(views))


@contextmanager
def opened_control(declaration: Declaration, code: int = 1) -> Iterator[ControlStore]:
    """The declaration's control store; one that cannot be used, or that dynaview run has not made yet, ends the command
    with one line and this exit code."""
    with found_control(declaration, code) as control:
        if control is None:
            sys.exit(code)
        yield control


@contextmanager
def found_control(declaration: Declaration, code: int = 1) -> Iterator[ControlStore | None]:
    """The same for a command that has something to say without one: None, and a line that says why, where dynaview run
    has not made it yet."""
    from dynaview.views.control.store import ControlStore

    try:
        control = ControlStore(declaration.control, create=False)
    except ControlMissing as error:
        click.echo(f"dynaview: {error}", err=True)
        yield None
        return
    except ControlError as error:
        click.echo(f"dynaview: {error}", err=True)
        sys.exit(code)
    try:
        yield control
    finally:
        control.close()

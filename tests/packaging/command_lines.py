"""Whether a command line that a document shows is one that dynaview takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import click

from dynaview.views.cli import cli


def problem(arguments: Sequence[str]) -> str | None:
    """What is wrong with ``dynaview ARGUMENTS...``, or None. Nothing is run: only names are checked."""
    command: click.Command = cli
    context = click.Context(cli, info_name="dynaview")
    for argument in arguments:
        if argument.startswith("-"):
            option = argument.split("=")[0]
            known = {name for each in command.get_params(context) for name in (*each.opts, *each.secondary_opts)}
            if option not in known:
                return f"{context.command_path} has no option {option}"
        elif isinstance(command, click.Group):
            inner = command.get_command(context, argument)
            if inner is None:
                return f"{context.command_path} has no command {argument}"
            command, context = inner, click.Context(inner, info_name=argument, parent=context)
    return None


def arguments(line: str) -> list[str] | None:
    """The arguments of a shown command line that calls dynaview, or None where it calls something else.

    A comment ends the line, as in a shell, and so does a redirection. ``VARIABLE=value`` may stand before the command,
    and the command within ``eval "$(...)"``.
    """
    if inner := re.search(r"\$\((.+?)\)", line):
        line = inner[1]
    try:
        words = shlex.split(line.removeprefix("$ "), comments=True)
    except ValueError:
        return None
    while words and "=" in words[0] and not words[0].startswith("-"):
        words = words[1:]
    if not words or words[0].rsplit("/", 1)[-1] != "dynaview":
        return None
    ends = [index for index, word in enumerate(words) if word in (">", ">>", "|", "&", "&&", ";")]
    return words[1 : ends[0] if ends else None]

"""The command line: one file a command, collected here."""

from __future__ import annotations

import importlib
import sys

import click

from dynaview.projections.declaration import DeclarationError

COMMANDS = (
    *("run", "status", "wait", "plan", "rebuild", "rollback", "verify", "repair"),
    *("dead-letters", "drop", "validate", "schema", "init", "infer", "preview", "check", "trace", "local", "demo"),
)
"""Each is a module of this package whose `command` is a click command; modules are loaded only when used."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}").command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dynaview")
def cli() -> None:
    """Materialized views of DynamoDB tables in Redis, OpenSearch and Postgres."""


def main() -> None:
    """Entry point of the `dynaview` command. A refused declaration ends with exit code 2 and no stack trace."""
    try:
        cli()
    except DeclarationError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(2)

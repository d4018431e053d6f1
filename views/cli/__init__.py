"""The command line: one file a command, collected here."""

from __future__ import annotations

import importlib
import signal
import sys

import click

from dynaview.views.cli.examples import epilog

COMMANDS = {
    "run": "Follow the tables' streams and keep the declared views in step.",
    "status": "Show state, watermark, lag and counts of every view.",
    "wait": "Wait until a view shows what was written to its table.",
    "plan": "Show what changed in the declaration since it was built, and what follows.",
    "rebuild": "Build the next generation of views from a scan of their tables.",
    "rollback": "Let readers see the generation before the last rebuild again.",
    "verify": "Compare views with their tables.",
    "repair": "Verify views, and fix exactly what differs.",
    "pause": "Do nothing for a view until it is resumed, for maintenance of its store.",
    "resume": "Let a paused view go on where it was.",
    "trace": "Follow one item through the views.",
    "doctor": "Look at everything that the declaration needs, and say what to do.",
    "dead-letters": "List, show, replay and discard changes that could not be applied.",
    "drop": "Remove a view with its rows.",
    "validate": "Check a declaration.",
    "schema": "Print the JSON Schema of declarations, for editors.",
    "init": "Write a declaration to begin with.",
    "infer": "Propose views from a sample of a table.",
    "preview": "Show items, and the rows that a view would make of them.",
    "check": "Compare the rows that views make of items in files with expected ones.",
    "local": "Run real servers on this machine, without Docker or Java.",
    "demo": "Keep views of a shop's table before your eyes.",
}
"""Each is a module of this package whose `command` is a click command. A module is loaded only when its command is
used, so what the list of commands says of each stands here."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}").command
        _show_examples(cmd_name, command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _show_examples(words: str, command: click.Command) -> None:
    """Let the help of a command, and of those below it, end with its examples."""
    if (text := epilog(words)) is not None:
        command.epilog = text
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            _show_examples(f"{words} {name}", below)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dynaview")
def cli() -> None:
    """Materialized views of DynamoDB tables in Redis, OpenSearch and Postgres."""


def main() -> None:
    """Entry point of the `dynaview` command. What a user can fix ends with a line and no stack trace: exit code 2 for
    a refused declaration or a wrong call, 1 for a service that does not serve, 130 for Ctrl-C."""
    if sys.argv[1:2] == ["run"]:  # before its modules are loaded: as PID 1 it is deaf until then
        from dynaview.views.cli import signals

        signals.install()
    try:
        # What came since the process began is heard now, see `dynaview.views.entry`.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
        sys.exit(cli.main(standalone_mode=False))
    except KeyboardInterrupt:  # before click could hear of it
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            sys.exit(130)
        click.echo("Aborted!", err=True)
        sys.exit(1)
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        lines, code = told
        for line in lines:
            click.echo(line, err=True)
        sys.exit(code)


def _told(error: Exception) -> tuple[list[str], int] | None:
    """What is said of an error that a user, or the owner of a service, can fix, and the exit code; None for a fault of
    dynaview."""
    from dynaview.projections.declaration import DeclarationError
    from dynaview.sinks.port import SinkError
    from dynaview.sources.errors import SourceError
    from dynaview.views.control.errors import ControlError

    if isinstance(error, DeclarationError):
        return [str(problem) for problem in error.problems], 2
    if isinstance(error, SourceError | SinkError | ControlError):
        return [f"dynaview: {error}"], 1
    return None

"""Where the `dynaview` command begins: deaf to Ctrl-C and SIGTERM until the command line is loaded, which then hears
what came meanwhile. Interrupted in the middle of an import, a process would end with a stack trace."""

from __future__ import annotations

import signal


def main() -> None:
    """The console script."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    from dynaview.views.cli import main as command_line

    command_line()

"""``dynaview run``: keep the declared views in step until told to stop."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from dynaview.views.cli.options import files_option, load_files
from dynaview.views.control import ControlError
from dynaview.views.daemon import Daemon
from dynaview.views.worker import WorkerSettings

GAP_CODE = 3
"""Exit code of ``--fail-on-gap``."""

LEVELS = ["debug", "info", "warning", "error"]


@click.command("run")
@files_option
@click.option("--view", "views", multiple=True, metavar="NAME", help="Only this view; may be given more than once.")
@click.option("--enable-stream", is_flag=True, help="Switch a table's stream on where it is off (new and old images).")
@click.option("--fail-on-gap", is_flag=True, help="End with exit code 3 as soon as changes are lost to a view.")
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
def command(
    files: tuple[Path, ...], views: tuple[str, ...], enable_stream: bool, fail_on_gap: bool, log_level: str
) -> None:
    """Follow the tables' streams and keep the declared views in step, until SIGTERM or Ctrl-C.

    A view that starts for the first time is filled by a scan of its table while it follows. Ended at any moment and
    started again, it goes on where it was.
    """
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    for chatty in ("botocore", "boto3", "urllib3", "opensearch"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
    declaration = load_files(files)
    for name in views:
        if name not in declaration.views:
            raise click.UsageError(f"no view is called {name}; there are {', '.join(sorted(declaration.views))}")
    try:
        daemon = Daemon(
            declaration,
            WorkerSettings(enable_stream=enable_stream),
            views=frozenset(views) if views else None,
            fail_on_gap=fail_on_gap,
        )
    except (ControlError, ValueError) as error:
        click.echo(f"dynaview: {error}", err=True)
        sys.exit(1)
    log = logging.getLogger("dynaview")
    daemon.handle_signals()
    try:
        daemon.start()
        log.info("following %d views; the control store is %s", len(views or declaration.views), daemon.control.name)
        daemon.wait()
        log.info("stopping")
    finally:
        daemon.stop()
    if daemon.crashed:
        sys.exit(1)
    if fail_on_gap and daemon.gaps:
        for view, reason in sorted(daemon.gaps.items()):
            log.error("ended because of a gap: view %s: %s", view, reason)
        sys.exit(GAP_CODE)
    log.info("stopped")

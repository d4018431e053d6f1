"""``dynaview run``: keep the declared views in step until told to stop."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from dynaview.sources.page_ring import PageRing, make_file
from dynaview.sources.table import open_table
from dynaview.views import telemetry
from dynaview.views.budget import Capacity
from dynaview.views.cli import signals
from dynaview.views.cli.logs import FORMS, LEVELS, Form, begin, form_option
from dynaview.views.cli.options import files_option, load_files
from dynaview.views.cli.written import capacity, capacity_text
from dynaview.views.control.errors import ControlError
from dynaview.views.daemon.daemon import Daemon
from dynaview.views.daemon.interpreter import tune
from dynaview.views.daemon.table_worker import TableWorker, WorkerSettings
from dynaview.views.http.address import Address
from dynaview.views.rebuild.context import RebuildSettings
from dynaview.views.retry import OnError, Retrier, Stopped
from dynaview.views.spans import NoSpans
from dynaview.views.threads import Threads
from dynaview.views.workers.coordinator import CoordinatorSettings

if TYPE_CHECKING:
    from dynaview.projections.declaration import Declaration
    from dynaview.views.http.server import Server

GAP_CODE = 3
"""Exit code of ``--fail-on-gap``."""


def _address(_context: click.Context, _option: click.Parameter, text: str | None) -> Address | None:
    try:
        return None if text is None else Address.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("run")
@files_option
@click.option("--view", "views", multiple=True, metavar="NAME", help="Only this view; may be given more than once.")
@click.option("--enable-stream", is_flag=True, help="Switch a table's stream on where it is off (new and old images).")
@click.option("--fail-on-gap", is_flag=True, help="End with exit code 3 as soon as changes are lost to a view.")
@click.option(
    "--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes that share the work."
)
@click.option(
    "--lease",
    type=click.FloatRange(1, 3600),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="Without a sign of life for so long, a worker is replaced by others (at once where its process is gone).",
)
@click.option(
    "--max-read-units",
    "limit",
    callback=capacity,
    metavar="N",
    help="Read units a second that first fills, and rebuilds that begin by themselves, may take of a table, or a share "
    "of what is provisioned.  [default: 50%]",
)
@click.option(
    "--http",
    "address",
    callback=_address,
    metavar="[HOST:]PORT",
    help="Serve health, metrics, an API and a page there; without HOST on this machine only.",
)
@click.option("--lifeline", type=int, hidden=True)
@click.option("--http-socket", type=int, hidden=True)
@click.option("--pages", type=int, hidden=True)
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True, help="Times are in UTC.")
@click.option(
    "--log-format",
    type=click.Choice(FORMS),
    callback=form_option,
    help="Lines for people, or a JSON object a line.  [default: text on a terminal, else json]",
)
def command(
    files: tuple[Path, ...],
    views: tuple[str, ...],
    enable_stream: bool,
    fail_on_gap: bool,
    workers: int,
    lease: float,
    limit: Capacity,
    address: Address | None,
    lifeline: int | None,
    http_socket: int | None,
    pages: int | None,
    log_level: str,
    log_format: Form,
) -> None:
    """Follow the tables' streams and keep the declared views in step, until SIGTERM or Ctrl-C.

    Views that start for the first time are filled while they follow, all of a table by one scan. Ended at any moment
    and started again, it goes on where it was. Several of them, on one machine (--workers) or on many, with one control
    store, share the shards of each table.
    """
    ended = signals.install()
    if lifeline is not None:
        threading.Thread(target=_end_with, args=(lifeline,), name="lifeline", daemon=True).start()
    begin(log_level, process=lifeline is not None, form=log_format)
    declaration = load_files(files)
    if lifeline is None:
        for warning in declaration.warnings:
            logging.getLogger("dynaview").warning("declaration: %s", warning)
    for name in views:
        if name not in declaration.views:
            raise click.UsageError(f"no view is called {name}; there are {', '.join(sorted(declaration.views))}")
    listening = _listening(address, http_socket)
    if workers > 1:
        options = [word for file in files for word in ("-f", str(file))]
        options += [word for view in views for word in ("--view", view)]
        options += ["--max-read-units", text] if (text := capacity_text(limit)) else []
        options += ["--enable-stream"] * enable_stream + ["--fail-on-gap"] * fail_on_gap
        options += ["--lease", str(lease), "--log-level", log_level, "--log-format", log_format]
        _become_parent(workers, options, listening)
    log = logging.getLogger("dynaview")
    server, serving, kept = None, Threads(ended), list[TableWorker]()
    if listening is not None:
        server = _served(declaration, listening)
        serving.spawn("http", server.run)
        log.info("health, metrics, API and page are served on %s port %d", listening.getsockname()[0], server.port)
    ring = None if pages is None else PageRing(pages)
    told = None
    try:
        if telemetry.wanted(os.environ):
            identity = f"{socket.gethostname()}:{os.getpid()}"
            told = telemetry.Telemetry(os.environ, lambda: [worker.meters for worker in kept], identity)
        # A machine that comes up before its database needs nobody's help.
        daemon = Retrier(ended, "start", None if server is None else _waiting(server)).insist(
            lambda: Daemon(
                declaration,
                WorkerSettings(
                    enable_stream=enable_stream,
                    coordinator=CoordinatorSettings(lease),
                    rebuild=RebuildSettings(capacity=limit),
                    spans=NoSpans() if told is None or told.spans is None else told.spans,
                ),
                open_source=partial(open_table, ring=ring),
                views=frozenset(views) if views else None,
                fail_on_gap=fail_on_gap,
                ended=ended,
            )
        )
    except Stopped:
        _end(server, serving)
        return
    except telemetry.NotInstalled as error:
        click.echo(f"dynaview: {error}", err=True)
        sys.exit(2)
    except (ControlError, ValueError) as error:
        click.echo(f"dynaview: {error}", err=True)
        sys.exit(1)
    kept += daemon.workers
    tune()
    try:
        if server is not None:
            server.open(declaration, daemon.control)
        daemon.start()
        log.info("following %d views; the control store is %s", len(views or declaration.views), daemon.control.name)
        daemon.wait()
        log.info("stopping")
    finally:
        _end(server, serving)
        daemon.stop()
        if told is not None:
            told.close()
    if daemon.threads.crashed.is_set() or serving.crashed.is_set():
        sys.exit(1)
    if fail_on_gap and daemon.gaps:
        for view, reason in sorted(daemon.gaps.items()):
            log.error("ended because of a gap: view %s: %s", view, reason)
        sys.exit(GAP_CODE)
    log.info("stopped")


def _served(declaration: Declaration, listening: socket.socket) -> Server:
    """The server, which only who asks for it pays for: it takes a tenth of what a start takes."""
    from dynaview.views.http.guard import TOKEN_VARIABLE
    from dynaview.views.http.health import Limits
    from dynaview.views.http.server import serve

    return serve(declaration, listening, Limits(), os.environ.get(TOKEN_VARIABLE))


def _waiting(server: Server) -> OnError:
    """Lets the server say what a start waits for."""
    return lambda error, times: server.wait_for_control(error)


def _end(server: Server | None, serving: Threads) -> None:
    if server is not None:
        server.stop()
        serving.join(5.0)


def _become_parent(workers: int, options: Sequence[str], listening: socket.socket | None) -> NoReturn:
    """Go on as a small process (see `dynaview.views.workers.supervisor`) that runs this command so many times. A socket
    for HTTP is theirs together: each answers for all. So are the pages that they have read. A signal that has come is
    obeyed, and one that comes on the way is the parent's."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    if signals.ENDED.is_set():
        sys.exit(0)
    kept = [str(make_file())]
    options = [*options, "--pages", *kept]
    if listening is not None:
        listening.set_inheritable(True)
        kept.append(str(listening.fileno()))
        options = [*options, "--http-socket", kept[-1]]
    parent = ["-P", "-m", "dynaview.views.workers.supervisor", str(workers), *kept, "--", "run", *options]
    os.execv(sys.executable, [sys.executable, *parent])


def _listening(address: Address | None, inherited: int | None) -> socket.socket | None:
    """The socket for HTTP: the parent's, where several workers share one."""
    if inherited is not None:
        return socket.socket(fileno=inherited)
    try:
        return None if address is None else address.listen()
    except OSError as error:
        click.echo(f"dynaview: {error}", err=True)
        sys.exit(2)


def _end_with(lifeline: int) -> None:
    """End this process in good order as soon as its parent is gone: nothing is ever written to the pipe."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)

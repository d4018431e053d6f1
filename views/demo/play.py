"""The play: servers, table, daemon, changes, comparison; and everything away again."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid

from dynaview.local import servers
from dynaview.projections.declaration import Declaration, ViewDeclaration
from dynaview.projections.rows import OpenSearchOptions, PostgresOptions
from dynaview.sinks.connect import connect
from dynaview.sinks.port import SinkError, Target
from dynaview.sources.table import open_table
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.load import load
from dynaview.views.demo.arrivals import Watch
from dynaview.views.demo.daemon import DaemonProcess
from dynaview.views.demo.screen import Picture, Screen, ViewPicture
from dynaview.views.demo.shop import Shop
from dynaview.views.demo.table import Table
from dynaview.views.status import all_status
from dynaview.views.verify.compare import Comparison, compare

KEY = ("pk", "sk")
STORES = {"redis": "Redis", "opensearch": "OpenSearch", "postgres": "Postgres"}

_LOOK_EVERY = 0.05
_STATUS_EVERY = 0.5
_TOLD = 8.0
"""Seconds for which it is said that the daemon was killed."""
_CATCH_UP = 60.0
"""Seconds within which the views have to be in step after the last change."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user may choose."""

    seconds: float = 30.0
    """How long changes are written."""
    rate: float = 15.0
    """Changes a second."""
    seed: int = 1
    crash: bool = True
    """Whether the daemon is killed half-way and started again."""


def play(console: Console, directory: Path, settings: Settings, seen: Callable[[Stage], None] | None = None) -> bool:
    """Run the whole demo with its files in `directory`; whether every view equalled the table at the end.

    `seen` is called with the stage before the comparison (tests). Raises
    `LocalServerError`, `TableError`, `SinkError`, `SourceError` and `ControlError`.
    """
    servers.prepare(servers.NAMES, console)
    with ExitStack() as stack:
        with _waiting(console, "Starting DynamoDB Local, Valkey, PostgreSQL and OpenSearch on this machine"):
            running = stack.enter_context(servers.started(servers.NAMES, directory / "servers", console))
        places = ", ".join(f"{server.title} {_at(server.url)}" for server in running.values())
        console.print(f"  {places}", highlight=False, soft_wrap=True)
        stack.enter_context(environment({name: server.url for name, server in running.items()}))
        os.environ["CONTROL_URL"] = f"sqlite:///{directory / 'control.db'}"
        stage = stack.enter_context(closing(Stage(directory)))
        shop = Shop(settings.seed)
        for event in shop.opening():
            stage.table.write(event)
        daemon = DaemonProcess(directory / "daemon", stage.file, stage.declaration, stage.control)
        stack.callback(daemon.stop)
        with _waiting(console, f"Table shop has {len(shop.items())} items. Starting dynaview run -f {stage.file.name}"):
            daemon.start()
        console.print(f"{len(stage.views)} views are filled. From here on they follow the table's stream.")
        picture = perform(console, stage, shop, settings, daemon)
        with _waiting(console, "Waiting until every view is in step"):
            stage.wait_until_in_step(time.time(), daemon)
        if seen is not None:
            seen(stage)
        fine = summarize(console, stage, picture)
        with _waiting(console, "Cleaning up"):
            stack.close()
        return fine


class Stage:
    """The table, the declaration and a handle on every view's store."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "shop.yaml"
        shutil.copyfile(str(files("dynaview.views.demo") / "shop.yaml"), self.file)
        self.declaration: Declaration = load([self.file], os.environ)
        (source,) = self.declaration.sources.values()
        self.table = Table(source.table)
        self.control = ControlStore(self.declaration.control)
        self._reader = open_table(source)
        self._sinks = {name: connect(sink) for name, sink in self.declaration.sinks.items()}
        self.views: dict[str, ViewDeclaration] = dict(self.declaration.views)

    def close(self) -> None:
        """Give back connections."""
        for sink in self._sinks.values():
            sink.close()
        self.control.close()
        self.table.close()

    def target(self, view: ViewDeclaration) -> Target:
        """The live generation of a view."""
        record = next((record for record in self.control.views() if record.name == view.name), None)
        return self._sinks[view.sink].open(view.layout, 1 if record is None else record.generation)

    def store(self, view: ViewDeclaration) -> str:
        """The name of a view's store, for people."""
        return STORES[self.declaration.sinks[view.sink].kind]

    def wait_until_in_step(self, moment: float, daemon: DaemonProcess) -> None:
        """Wait until every view holds all changes up to then. Raises `LocalServerError`."""
        until = time.monotonic() + _CATCH_UP
        for name in self.views:
            self.control.set_awaited(name, moment)
        while behind := self._behind(moment):
            if not daemon.running:
                raise daemon.failure("ended by itself")
            if time.monotonic() > until:
                raise daemon.failure(f"did not catch up within {_CATCH_UP:.0f} s with {', '.join(behind)}")
            time.sleep(0.1)

    def _behind(self, moment: float) -> list[str]:
        marks = {view["view"]: view["watermark"] for view in all_status(self.control)}
        return [name for name in self.views if (marks.get(name) or 0.0) < moment]

    def compare(self) -> Iterator[Comparison]:
        """Compare each view with a scan of the table. Raises `SourceError` and `SinkError`."""
        for view in self.views.values():
            yield compare(view, self._reader, self.target(view))


def perform(console: Console, stage: Stage, shop: Shop, settings: Settings, daemon: DaemonProcess) -> Picture:
    """Write changes for some time and show what becomes of them. Raises `LocalServerError` and
    `TableError`."""
    targets = {name: stage.target(view) for name, view in stage.views.items()}
    watches = {name: Watch(view, targets[name], KEY) for name, view in stage.views.items()}
    picture = Picture(
        settings.seconds,
        {name: ViewPicture(name, stage.store(view), _place(view)) for name, view in stage.views.items()},
    )
    screen = Screen(console, picture)
    began = time.monotonic()
    crash_at = began + settings.seconds / 2 if settings.crash else None
    next_write = next_status = told_until = began
    with screen.block():
        while (now := time.monotonic()) < began + settings.seconds:
            picture.elapsed = now - began
            if crash_at is not None and now >= crash_at:
                crash_at = None
                daemon.kill()
                daemon.launch()
                picture.said.append("** the daemon was killed (SIGKILL) and is started again **")
                picture.phase, told_until = "writing on, the daemon was killed and is started again", now + _TOLD
            elif now >= told_until:
                picture.phase = "writing"
            while next_write <= now:
                next_write += 1 / settings.rate
                event = shop.event()
                stage.table.write(event)
                picture.written[event.kind] += 1
                picture.said.append(event.said)
                for watch in watches.values():
                    watch.expect(event, time.monotonic())
            if now >= next_status:
                next_status = now + _STATUS_EVERY
                if not daemon.running:
                    raise daemon.failure("ended by itself")
                _look_at_status(stage, picture, targets)
            _look_at_rows(picture, watches)
            screen.update()
            time.sleep(_LOOK_EVERY)
        picture.elapsed, picture.phase = settings.seconds, "written"
        _look_at_status(stage, picture, targets)
        screen.update()
    return picture


def summarize(console: Console, stage: Stage, picture: Picture) -> bool:
    """Compare every view with the table and say what was found; whether all are equal and all counts add up."""
    grid = Grid(box=None, pad_edge=False)
    for name in ("view", "kept in"):
        grid.add_column(name, no_wrap=True)
    for name in ("rows", "missing", "extra", "different", "changes"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("", no_wrap=True)
    status = {view["view"]: view for view in all_status(stage.control)}
    fine = True
    differences: list[str] = []
    for found in stage.compare():
        counts, balanced = status[found.view]["counts"], status[found.view]["balanced"]
        equal = found.equal and balanced and not counts["dead_lettered"]
        fine = fine and equal
        numbers = (found.rows, len(found.missing), len(found.extra), len(found.different), counts["read"])
        verdict = "[green]OK[/]" if equal else "[red]DIFFERS[/]"
        store = stage.store(stage.views[found.view])
        grid.add_row(found.view, store, *(f"{number:,}" for number in numbers), verdict)
        differences += _differences(found)
        if counts["dead_lettered"]:
            differences.append(f"  {found.view}: {counts['dead_lettered']} changes could not be applied (dead letters)")
        if not balanced:
            differences.append(f"  {found.view}: read is not applied + stale + unmatched + dead: {counts}")
    console.print(f"\nAfter {picture.total} changes, each view compared with a scan of the table:", highlight=False)
    console.print(grid)
    for line in differences:
        console.print(line, style="red", markup=False, highlight=False)
    console.print("[green]OK[/]: every view equals the table." if fine else "[red]Not every view equals the table.[/]")
    return fine


@contextmanager
def environment(urls: Mapping[str, str]) -> Iterator[None]:
    """The process' environment pointed to the local servers, away from any account of the user's, and back."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(servers.environment(urls))
    os.environ.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _look_at_status(stage: Stage, picture: Picture, targets: Mapping[str, Target]) -> None:
    for status in all_status(stage.control):
        view = picture.views.get(status["view"])
        if view is not None:
            view.state, view.applied = status["state"], status["counts"]["applied"]
            with _tolerant():
                view.rows = targets[view.name].count()


def _look_at_rows(picture: Picture, watches: Mapping[str, Watch]) -> None:
    for name, watch in watches.items():
        view = picture.views[name]
        with _tolerant():
            view.last = watch.look(time.monotonic()) or view.last
        view.lag, view.median = watch.lag(time.monotonic()), watch.median


@contextmanager
def _waiting(console: Console, what: str) -> Iterator[None]:
    """Say what takes a while, with something that moves where there is a terminal."""
    if console.is_terminal:
        with console.status(f"{what} …"):
            yield
        console.print(f"{what}.", highlight=False)
    else:
        console.print(f"{what} …", highlight=False)
        yield


@contextmanager
def _tolerant() -> Iterator[None]:
    """Looking on must not end the show: what cannot be read at this moment is read at the next."""
    try:
        yield
    except SinkError:
        return


def _differences(found: Comparison) -> list[str]:
    kinds = (("missing", found.missing), ("too many", found.extra), ("different", found.different))
    return [f"  {found.view}: {kind}: {key}" for kind, keys in kinds for key in keys[:5]]


def _place(view: ViewDeclaration) -> str:
    options = view.layout.options
    if isinstance(options, OpenSearchOptions):
        return f"index {options.index}"
    if isinstance(options, PostgresOptions):
        return f"table {options.table}"
    return str(options.type)


def _at(url: str) -> str:
    return "on a socket" if url.startswith("postgres") else f"on {url.rpartition('//')[2].partition('/')[0]}"

"""Verifying declared views: their stores and tables opened, what was asked for done, a report for each."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from dynaview.projections.compiler.compiler import compile_view, owner
from dynaview.projections.declaration import Declaration, ViewDeclaration
from dynaview.projections.projection import ViewType, shape_of
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.connect import connect
from dynaview.sinks.port import Sink, SinkError, Target
from dynaview.sources.errors import SourceError
from dynaview.sources.filters import scan_filter
from dynaview.sources.port import Key, TableDescription, TableReader
from dynaview.sources.table import open_table
from dynaview.views.control.errors import ControlError
from dynaview.views.control.records import ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.declarations.row_keys import row_key
from dynaview.views.reasons import rebuild_hint
from dynaview.views.retry import Retrier, Stop
from dynaview.views.verify.caught_up import CaughtUp
from dynaview.views.verify.findings import Report, VerifyError
from dynaview.views.verify.limits import Limits
from dynaview.views.verify.origins import item_key_of, item_of, item_of_row
from dynaview.views.verify.repair import Repairs
from dynaview.views.verify.selection import Listed, Named, named_rows
from dynaview.views.verify.subject import Subject
from dynaview.views.verify.verifier import Verification

FULL_IMAGES: ViewType = "NEW_AND_OLD_IMAGES"


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the views is verified: all of them where nothing else is said."""

    sample: float | None = None
    """A share of the items, above 0 and up to 1."""
    keys: Sequence[str] = ()
    """Row keys and item keys as people write them."""
    since: float | None = None
    """Items that were changed then or later; seconds since 1970."""
    listed: Mapping[str, Listed] = field(default_factory=dict)
    """What an earlier verification found, by view."""
    seconds: float = 60.0
    """Seconds in which what stands in the way has to heal by itself, and a view to catch up."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Opened:
    """A view of one table, ready to be verified."""

    declared: ViewDeclaration
    record: ViewRecord
    target: Target


def ready(control: ControlStore, view: ViewDeclaration, table: str, repairing: bool = False) -> ViewRecord:
    """The view's record, where it can be verified (and, if `repairing`, repaired).

    Raises `VerifyError`, `ControlUnavailable`.
    """
    name, record = view.name, control.view(view.name)
    if record is None:
        raise VerifyError(f"{name} was never started: start dynaview run")
    if record.fingerprint != fingerprint(view, table):
        raise VerifyError(f"the declaration ({view.at}) is not the one that built the view; {rebuild_hint(name)}")
    if record.state.lasts:
        raise VerifyError(f"{name} cannot be verified, its state is {record.state}: {record.reason}")
    if not record.filled:
        raise VerifyError(f"the first fill of {name} is not complete; dynaview status shows how far it is")
    if repairing and record.generation not in record.write_order:
        raise VerifyError(f"{name} is being rebuilt, which repairs all that a repair would")
    return record


def prepare(
    opened: Sequence[Opened],
    table: TableReader,
    control: ControlStore,
    retrier: Retrier,
    *,
    limits: Limits | None = None,
    repairs: Repairs | None = None,
    notice: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] = lambda items, of: None,
) -> Verification:
    """The verification of some views of one table. Raises `SourceError`."""
    description = retrier.insist(table.describe)
    projections = [compile_view(each.declared) for each in opened]
    shape = shape_of(projections, description.key)
    subjects = []
    for each, projection in zip(opened, projections, strict=True):
        bound = projection.bind(shape, description.key, description.view_type or FULL_IMAGES)
        name, target = each.declared.name, each.target
        caught_up = CaughtUp(control, each.record, retrier, notice, repairing=repairs is not None)
        subject = Subject(name, bound, target, caught_up, control.dead_letters)
        if repairs is not None:
            subject = dataclasses.replace(subject, found=repairs.repairer(name, target, retrier))
        subjects.append(subject)
    only = scan_filter(each.declared.match for each in opened)
    return Verification(table, subjects, shape, retrier=retrier, limits=limits, only=only, progress=progress)


def verify_declared(
    declaration: Declaration,
    control: ControlStore,
    names: Sequence[str],
    asked: Asked,
    *,
    repairs: Repairs | None = None,
    notice: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] = lambda items, of: None,
    open_source: Callable[[str], TableReader] | None = None,
    stop: threading.Event | None = None,
) -> list[Report]:
    """Verify these views, those of one table by one scan. A view that cannot be verified has a report that says why.

    Raises `VerifyError` for keys that are none, and `Stopped` once `stop` is set. `open_source` gives the table of a
    declared source, for tests.
    """
    reports: dict[str, Report] = {}
    with ExitStack() as stack:
        stores: dict[str, Sink] = {}
        by_source: dict[str, list[Opened]] = {}
        for name in dict.fromkeys(names):
            view = declaration.views[name]
            try:
                record = ready(control, view, declaration.sources[view.source].table, repairs is not None)
                if view.sink not in stores:
                    stores[view.sink] = connect(declaration.sinks[view.sink])
                    stack.callback(stores[view.sink].close)
                target = stores[view.sink].open(view.layout, record.generation)
            except (VerifyError, SinkError, ControlError, ValueError) as error:
                reports[name] = Report(name, 0, error=str(error))
                continue
            by_source.setdefault(view.source, []).append(Opened(view, record, target))
        for source, opened in by_source.items():
            retrier = Retrier(
                None if stop is None else Stop(stop), on_error=partial(_tell, notice), seconds=asked.seconds
            )
            try:
                table = open_source(source) if open_source else open_table(declaration.sources[source])
                made = prepare(
                    opened,
                    table,
                    control,
                    retrier,
                    limits=asked.limits,
                    repairs=repairs,
                    notice=notice,
                    progress=progress,
                )
                done = _perform(made, opened, retrier.insist(table.describe), asked)
            except (SourceError, SinkError, ControlError) as error:
                done = [Report(each.declared.name, each.record.generation, error=str(error)) for each in opened]
            for each, report in zip(opened, done, strict=True):
                reports[report.view] = dataclasses.replace(report, fingerprint=each.record.fingerprint)
    return [reports[name] for name in dict.fromkeys(names)]


def _tell(notice: Callable[[str], None], error: Exception, times: int) -> None:
    """Say what is waited for, once it has come twice in a row."""
    if times == 2:
        notice(str(error))


def _perform(made: Verification, opened: Sequence[Opened], table: TableDescription, asked: Asked) -> list[Report]:
    if asked.listed:
        return _again(made, opened, table, asked.listed)
    if asked.keys:
        keys, rows = named_by_people(asked.keys, opened, table)
        return made.items(keys, rows)
    if asked.since is not None:
        return made.since(asked.since)
    return made.whole() if asked.sample is None else made.sample(asked.sample)


def _again(
    made: Verification, opened: Sequence[Opened], table: TableDescription, listed: Mapping[str, Listed]
) -> list[Report]:
    keys: list[Key] = []
    rows: list[tuple[str, Key, Write]] = []
    named: dict[str, list[Named]] = {}
    for each in opened:
        name, found = each.declared.name, listed[each.declared.name]
        if (found.fingerprint, found.generation) != (each.record.fingerprint, each.record.generation):
            raise VerifyError(f"{name} was rebuilt or declared anew since the file was written: verify again")
        named[name] = []
        for row in named_rows(found, each.declared, table.key):
            if row.item is None or row.kind == "owner":
                named[name].append(row)
            else:
                keys.append(row.item)
                rows.append((name, row.item, Write(row.key, None, 0, row.owner)))
    return made.items(keys, rows, named)


def named_by_people(
    written: Sequence[str], opened: Sequence[Opened], table: TableDescription
) -> tuple[list[Key], list[tuple[str, Key, Write]]]:
    """The items that people mean by item keys and row keys, and the rows as `Verification.items` takes them. Raises
    `VerifyError`."""
    keys: list[Key] = []
    rows: list[tuple[str, Key, Write]] = []
    for text in written:
        if text.lstrip().startswith("{"):
            try:
                keys.append(item_key_of(text, table.key))
            except ValueError as error:
                raise VerifyError(f"{text}: {error}") from None
            continue
        for each in opened:
            view = each.declared
            try:
                row = row_key(view.layout, text)
            except ValueError as error:
                raise VerifyError(f"{text}: {error}") from None
            item, by = _item_of(each, row, table.key)
            if item is None:
                example = "{" + ", ".join(f'"{name}": "…"' for name in table.key) + "}"
                raise VerifyError(
                    f"{text}: this is no row key of {view.name} that tells its item; give the item's key, as {example}"
                )
            keys.append(item)
            rows.append((view.name, item, Write(row, None, 0, by)))
    return keys, rows


def _item_of(each: Opened, row: RowKey, names: tuple[str, ...]) -> tuple[Key | None, str]:
    """The item of a row and the owner that the row then has: as its key tells, or else as the row itself does."""
    if (item := item_of(each.declared, row, names)) is not None:
        return item, ""
    (stored,) = each.target.read([row])
    if stored is None or stored.content is None:
        return None, ""
    item = item_of_row(each.declared, row, stored.content, names)
    return (item, stored.owner) if item is not None and owner(item) == stored.owner else (None, "")

"""Replaying dead letters: the item of each is read again, and its rows are made what it asks for now.

What a letter kept is of the past: the item may be gone, or right again, or no item of the view. So the item is read
first, strongly consistent, and whatever it does not ask for any more has been superseded. What it asks for and does not
stand is written where nothing has changed since the look: under the change's own version where the letter's change is
what the item still asks for, else by compare-and-set. Rows that the letter's images name and the item does not ask for
are removed likewise. So a replay needs no trust in what a letter says, brings nothing back, and loses to any change.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from dynaview.projections.attributes import Image, Shape, item_key
from dynaview.projections.changes import SCANNED, Body, Change
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import Declaration, ViewDeclaration
from dynaview.projections.projection import Bound, ProjectionError, shape_of
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.connect import connect
from dynaview.sinks.port import APPLIED, ConditionalWrite, Outcome, Rejected, Stored, Target
from dynaview.sources.errors import BadPage
from dynaview.sources.port import Key, TableReader
from dynaview.sources.table import open_table
from dynaview.views.control.dead_letters import DeadLetterStore
from dynaview.views.control.records import DeadLetter, DeadLetterFilter, KeptLetter
from dynaview.views.control.store import ControlStore
from dynaview.views.dead_letters import LetterContent, LetterReader, key_text
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.reasons import rebuild_hint
from dynaview.views.retry import Retrier

Result: TypeAlias = Literal["applied", "stale", "unmatched", "rejected", "gone", "needed"]

MEANINGS: dict[Result, str] = {
    "applied": "the row is in the view now",
    "stale": "superseded: the item or its row is newer",
    "unmatched": "the item does not belong to the view",
    "rejected": "still rejected, and kept",
    "gone": "settled or discarded by somebody else meanwhile",
    "needed": "kept: the view is not what the item asks for, see dynaview dead-letters replay",
}

Mode: TypeAlias = Literal["replay", "settle", "prune"]
"""replay: the rows of the items become what these ask for. settle: that is done only where an item is still in the
state that the letter kept, so nothing is shown before the changes that came before it; where it is in another one, the
letter stays until its change has come. prune: nothing is written to the store at all."""

TOGETHER = 100
"""Changes whose items are read together (one BatchGetItem)."""

_UNSTORABLE = (ValueError, TypeError, ArithmeticError)
"""What `Target.content` raises for content that its store cannot hold."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one change. `letters` are all that were chosen of it; `reason` says why it is still kept."""

    letters: Sequence[KeptLetter]
    result: Result
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Now:
    """An item as it is: the rows that it asks for, or why none can be made (`trouble`)."""

    stands: bool
    asked: Mapping[RowKey, Write] = field(default_factory=dict)
    trouble: str = ""
    is_read: bool = True
    """False: it could not even be read, so nothing is known of it."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """A letter's change, and the rows that it has to do with."""

    letters: Sequence[KeptLetter]
    content: LetterContent
    asks: Mapping[RowKey, Write] | None
    """What the letter's own state asks for; None where no row can be made of it."""
    named: Mapping[RowKey, str]
    """The keys of rows that its item may have had, as its images and its key tell, and how these name it."""

    @property
    def name(self) -> str:
        return item_key(self.content.key)


class Replay:
    """Replays letters of one view. Safe beside the running daemon, and beside another replay."""

    def __init__(self, box: DeadLetterStore, bound: Bound, shape: Shape, table: TableReader, target: Target) -> None:
        """Reads the table's description. `bound` is fitted to `shape`. Raises `SourceError`."""
        self._box = box
        self._bound = bound
        self._shape = shape
        self._table = table
        self._target = target
        self._reader = LetterReader(shape, table.describe().key)

    def run(self, letters: Iterable[KeptLetter], mode: Mode = "replay") -> Iterator[Replayed]:
        """Replay the changes of these letters, which come oldest first; each is settled as its result is given.

        Letters of one change are one: it is applied as a whole. Where the mode does not allow to write what would have
        to be, they are kept ("needed"). Raises `SourceError`, `SinkError` and `ControlUnavailable`; what was not yet
        replayed is kept, and replaying twice does no harm.
        """
        waiting = iter(letters)
        while some := list(itertools.islice(waiting, TOGETHER)):
            changes: dict[tuple[str, int, int, str, str], list[KeptLetter]] = {}
            for kept in some:
                changes.setdefault(kept.letter.origin, []).append(kept)
            yield from self._some([*changes.values()], mode)

    def freed(self, letters: Iterable[KeptLetter]) -> list[KeptLetter]:
        """Those of letters that lost a row to another item which has none under these keys any more. Reads the store
        only. Raises `SinkError`."""
        asks: list[tuple[KeptLetter, Mapping[RowKey, Write]]] = []
        for kept in letters:
            content = self._reader.read(kept.letter)
            if not isinstance(content, str):
                asks.append((kept, self._pending([kept], content).asks or {}))
        keys = dict.fromkeys(key for _, asked in asks for key in asked)
        rows = dict(zip(keys, self._target.read([*keys], contents=False), strict=True)) if keys else {}
        return [
            kept for kept, asked in asks if not any(_is_of_another(write, rows[key]) for key, write in asked.items())
        ]

    def _some(self, changes: Sequence[list[KeptLetter]], mode: Mode) -> Iterator[Replayed]:
        pending: list[_Pending] = []
        for letters in changes:
            content = self._reader.read(letters[0].letter)
            if isinstance(content, str):
                yield self._rejected(letters, "unreadable", content, mode)
            else:
                pending.append(self._pending(letters, content))
        now = self._look({each.name: each.content.key for each in pending})
        keys = dict.fromkeys(key for each in pending for key in (*each.named, *now[each.name].asked))
        rows = dict(zip(keys, self._target.read([*keys]), strict=True)) if keys else {}
        due = {
            each.name: each.content.key
            for each in pending
            if now[each.name].is_read and self._due(each, now[each.name], rows)
        }
        again = {} if mode == "prune" else self._look(due)
        for each in pending:
            yield self._settle(each, now[each.name], again.get(each.name), rows, mode)

    # What a letter and an item ask for

    def _pending(self, letters: Sequence[KeptLetter], content: LetterContent) -> _Pending:
        asks: dict[RowKey, Write] | None = None if content.trouble else {}
        if content.new is not None:
            try:
                asks = {each.key: each for each in self._bound.inserts(content.new)}
            except ProjectionError:
                asks = None
        named = {each.key: each.owner for each in (asks or {}).values()}
        for image in (content.new, content.old):
            named |= {each.key: each.owner for each in leavings(self._bound, content.key, image)}
        return _Pending(letters, content, asks, named)

    def _look(self, keys: Mapping[str, Key]) -> dict[str, _Now]:
        names = [*keys]
        return {name: self._asked(image) for name, image in zip(names, self._images([*keys.values()]), strict=True)}

    def _images(self, keys: Sequence[Key]) -> list[Image | BadPage | None]:
        """The items now; where one cannot be read, why: it keeps no other one from being read."""
        if not keys:
            return []
        try:
            return [*self._table.get(keys, self._shape)]
        except BadPage as error:
            if len(keys) == 1:
                return [error]
        half = len(keys) // 2
        return self._images(keys[:half]) + self._images(keys[half:])

    def _asked(self, image: Image | BadPage | None) -> _Now:
        if image is None:
            return _Now(stands=False)
        if isinstance(image, BadPage):
            return _Now(stands=True, trouble=image.what, is_read=False)
        try:
            return _Now(True, {each.key: each for each in self._bound.inserts(image)})
        except ProjectionError as error:
            return _Now(stands=True, trouble=str(error))

    def _due(self, each: _Pending, now: _Now, rows: Mapping[RowKey, Stored | None]) -> list[Write]:
        """What has to be written so that the rows are what the item asks for."""
        due = [write for write in now.asked.values() if not self._is_right(write, rows[write.key])]
        for key, owner in each.named.items():
            row = rows[key]
            if key not in now.asked and row is not None and row.content is not None and row.owner == owner:
                due.append(Write(key, None, SCANNED, owner))
        return due

    def _is_right(self, write: Write, row: Stored | None) -> bool:
        if row is None or row.content is None or (write.owner and row.owner != write.owner):
            return False
        try:
            return bool(self._target.content(write) == row.content)
        except _UNSTORABLE:
            return False

    # What becomes of it

    def _settle(
        self,
        each: _Pending,
        now: _Now,
        again: _Now | None,
        rows: Mapping[RowKey, Stored | None],
        mode: Mode,
    ) -> Replayed:
        if not now.is_read:
            return self._rejected(each.letters, each.letters[0].letter.kind, now.trouble, mode)
        due = self._due(each, now, rows)
        if due and (mode == "prune" or (mode == "settle" and not _is_as_kept(each, now))):
            return Replayed(each.letters, "needed", MEANINGS["needed"])
        if due and again != now:  # a change came meanwhile, which the stream brings
            return self._settled(each.letters, "stale")
        outcomes = self._write(each, due, rows)
        if now.trouble:
            if each.asks is not None:  # its state could be applied: the item's is another one, with its own letter
                return self._settled(each.letters, "stale")
            kind = each.letters[0].letter.kind if each.content.trouble else "projection"
            return self._rejected(each.letters, kind, now.trouble, mode)
        rejected = [
            replace(each.letters[0].letter, row_key=key_text(one.key), kind=outcome.kind.value, reason=outcome.reason)
            for one, outcome in zip(due, outcomes, strict=True)
            if isinstance(outcome, Rejected) and one.values is not None
        ]
        if rejected and mode == "settle":  # as ever; nobody reads a new reason every few minutes
            return Replayed(each.letters, "needed", rejected[0].reason)
        if rejected:
            return self._renewed(each.letters, rejected)
        if any(outcome is APPLIED for outcome in outcomes):
            return self._settled(each.letters, "applied")
        return self._settled(each.letters, "unmatched" if now.stands and not now.asked else "stale")

    def _write(self, each: _Pending, due: Sequence[Write], rows: Mapping[RowKey, Stored | None]) -> list[Outcome]:
        """Write what is due: under the letter's version where the item still asks for what it asks, and nothing newer
        of the item stands; else where nothing has changed since it was seen."""
        version = each.content.version
        outcomes: dict[RowKey, Outcome] = {}
        guarded: list[Write] = []
        conditional: list[ConditionalWrite] = []
        for write in due:
            row, asks = rows[write.key], (each.asks or {}).get(write.key)
            is_newest = row is None or row.version < version or (row.content is None and row.owner != write.owner)
            if version != SCANNED and asks is not None and asks.values == write.values and is_newest:
                guarded.append(Write(write.key, write.values, version, write.owner))
            else:
                conditional.append(ConditionalWrite(write, row))
        if guarded:
            outcomes |= dict(zip((one.key for one in guarded), self._target.write(guarded), strict=True))
        if conditional:
            written = self._target.write_if_unchanged(conditional)
            outcomes |= dict(zip((one.write.key for one in conditional), written, strict=True))
        return [outcomes[write.key] for write in due]

    def _settled(self, letters: Sequence[KeptLetter], result: Literal["applied", "stale", "unmatched"]) -> Replayed:
        return Replayed(letters, result if self._box.settle(letters[0].letter, result) else "gone")

    def _rejected(self, letters: Sequence[KeptLetter], kind: str, reason: str, mode: Mode) -> Replayed:
        if mode != "replay":
            return Replayed(letters, "needed", reason)
        return self._renewed(letters, [replace(letters[0].letter, row_key="", kind=kind, reason=reason)])

    def _renewed(self, letters: Sequence[KeptLetter], rejected: Sequence[DeadLetter]) -> Replayed:
        if not self._box.renew(rejected):
            return Replayed(letters, "gone")
        return Replayed(letters, "rejected", rejected[0].reason)


def _is_as_kept(each: _Pending, now: _Now) -> bool:
    """Whether the item asks for what the letter's state does."""
    if each.asks is None or each.asks.keys() != now.asked.keys():
        return False
    return all(write.values == now.asked[key].values for key, write in each.asks.items())


def _is_of_another(write: Write, row: Stored | None) -> bool:
    return row is not None and row.content is not None and row.owner != write.owner


def leavings(bound: Bound, key: Key, image: Image | None) -> list[Write]:
    """Deletes of the rows that the item `key` had in a state (None: as far as its key tells)."""
    body: Body[Image] = Body(sequence="0", key=key, old=image)
    try:
        return bound.writes(Change("REMOVE", body), SCANNED)
    except ProjectionError as error:
        return list(error.asked)


class ReplayRefused(Exception):
    """The letters of a view cannot be tried as things stand; the text says why and what to do."""


@contextmanager
def opened_replay(
    declaration: Declaration, control: ControlStore, name: str, mode: Mode, retrier: Retrier
) -> Iterator[Replay]:
    """The replay of a view, with its store open for as long as the block lasts.

    Raises `ReplayRefused`, and `SinkError`, `SourceError` and `ControlError` where these do not answer in time.
    """
    view, record = declaration.views.get(name), control.view(name)
    if view is None or record is None:
        raise ReplayRefused(
            f"{name}: the view is not declared, so its dead letters cannot be replayed; discard removes them"
        )
    if record.paused is not None and mode == "replay":
        raise ReplayRefused(f"{name} is paused: dynaview resume {name} first")
    source = declaration.sources[view.source]
    if record.fingerprint != fingerprint(view, source.table):
        raise ReplayRefused(
            f"{name}: the declaration ({view.at}) is not the one that built the view; {rebuild_hint(name)}"
        )
    with closing(connect(declaration.sinks[view.sink])) as sink:
        table = open_table(source)
        target = sink.open(view.layout, record.generation)
        yield retrier.insist(lambda: replay_of(view, control.dead_letters, table, target))


def pages_of(control: ControlStore, choice: DeadLetterFilter) -> Iterator[list[KeptLetter]]:
    """The chosen letters, `TOGETHER` at a time."""
    last = 0
    while page := control.dead_letters.find(choice, TOGETHER, last):
        last = page[-1].id
        yield page


def views_of(control: ControlStore, choice: DeadLetterFilter) -> list[str]:
    """The views that have some of the chosen letters, by name."""
    if choice.ids:
        return sorted({kept.letter.view for kept in control.dead_letters.find(choice)})
    return [choice.view] if choice.view is not None else sorted(control.dead_letters.by_view())


def replay_of(view: ViewDeclaration, box: DeadLetterStore, table: TableReader, target: Target) -> Replay:
    """The replay of a declared view. Raises `SourceError`."""
    description = table.describe()
    projection = compile_view(view)
    shape = shape_of([projection], description.key)
    bound = projection.bind(shape, description.key, description.view_type or "NEW_AND_OLD_IMAGES")
    return Replay(box, bound, shape, table, target)

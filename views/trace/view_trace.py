"""Tracing one item through one view: what it is, which rows it asks for, what stands, and what fixes a difference."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dynaview.projections.attributes import Attr, item_key
from dynaview.projections.changes import SCANNED, Body, Change
from dynaview.projections.compiler.compiler import owner
from dynaview.projections.compiler.trial import SHAPE, Trial, fields_of
from dynaview.projections.declaration import ViewDeclaration
from dynaview.projections.projection import ProjectionError
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import Stored, Target
from dynaview.sources.port import Key
from dynaview.views.control.records import DeadLetterFilter, Generation, KeptLetter, ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.dead_letters import LetterReader, item_text
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.states import ViewState
from dynaview.views.status import ALIVE
from dynaview.views.trace.records import Letter, RowTrace, RowVerdict, Standing, ViewTrace
from dynaview.views.verify.agreement import Agreement, is_of
from dynaview.views.verify.findings import differing

_UNSTORABLE = (ValueError, TypeError, ArithmeticError)
"""What `Target.content` raises for content that its store cannot hold."""


@dataclass(frozen=True, slots=True)
class Traced:
    """An item as it was read: its key, the image (None: there is none), and when, in seconds since 1970."""

    key: Key
    image: dict[str, Attr] | None
    read: float


class Tracer:
    """Traces items through one view."""

    def __init__(
        self,
        view: ViewDeclaration,
        table: str,
        key: tuple[str, ...],
        control: ControlStore | None,
        open_target: Callable[[int], Target],
        deep: bool = False,
    ) -> None:
        """`table` and `key` are the name and the key attributes of its table; `control` is None where no control store
        has been made yet. With `deep`, all rows of the view are
        looked through for those of the item."""
        self.view = view
        self._fingerprint = fingerprint(view, table)
        self._trial = Trial(view, key)
        self._unfiltered = Trial(self._trial.unfiltered(), key)
        self._key = key
        self._control = control
        self._open = open_target
        self._deep = deep

    def trace(self, item: Traced, caught_up: Callable[[float], bool] = lambda read: False) -> ViewTrace:
        """What became of the item. Raises `SinkError`, `ControlUnavailable`.

        `caught_up` waits until the view has seen what was written up to a time, and says whether it has; it is asked
        only where rows differ.
        """
        found = ViewTrace(self.view.name, self.view.source, self.view.sink)
        writes = self._judge_item(item, found)
        control = self._control
        record = None if control is None else control.view(self.view.name)
        if control is None or record is None:
            found.verdict, found.do = "not started", "dynaview run starts it"
            return found
        found.letters = [_letter(kept) for kept in self._kept(control, item)]
        self._standing(record, found)
        self._rows(item, writes, control, record, found)
        complete = False
        if found.wrong and not record.state.lasts and self._runs(record) and (complete := caught_up(item.read)):
            record = control.view(self.view.name) or record
            self._standing(record, found)
            self._rows(item, writes, control, record, found)
        self._conclude(item, record, found, complete)
        return found

    def _judge_item(self, item: Traced, found: ViewTrace) -> list[Write]:
        """What the item is to the view; the writes that it asks for."""
        if item.image is None:
            found.result, found.reason = "absent", "the table has no such item"
            return []
        state = self._trial.state(item.image)
        found.result, found.reason = state.result, state.reason
        if not state.rows:
            return []
        try:
            writes = self._trial.bound.inserts(item.image)
        except ProjectionError as error:
            found.result, found.reason = "dead-letter", str(error)
            return []
        found.owner = writes[0].owner
        return writes

    def _kept(self, control: ControlStore, item: Traced) -> list[KeptLetter]:
        return control.dead_letters.find(DeadLetterFilter(view=self.view.name, key=item_text(item.key)))

    def _standing(self, record: ViewRecord, found: ViewTrace) -> None:
        now = time.time()
        running = self._runs(record)
        found.state = record.state if running or record.state.lasts else ViewState.STOPPED
        found.generation = record.generation
        found.watermark = record.watermark
        found.lag = None if record.watermark is None else max(0.0, now - record.watermark)

    def _runs(self, record: ViewRecord) -> bool:
        return time.time() - record.seen < ALIVE

    def _rows(
        self, item: Traced, writes: Sequence[Write], control: ControlStore, record: ViewRecord, found: ViewTrace
    ) -> None:
        """Look at every row key that the item has or may have had, in every generation that stands."""
        asked = {write.key: write for write in writes}
        keys = dict.fromkeys([*asked, *self._earlier_keys(item, control)])
        by = self._owner(item)
        looked: dict[RowKey, list[Standing]] = {}
        found.notes = []
        for generation in self._generations(control, record):
            target = self._open(generation.generation)
            some = dict(keys)
            if self._deep and by:
                some |= dict.fromkeys(row.key for row in target.rows_of([by]))
            judged = generation.fingerprint == self._fingerprint
            if not judged:
                found.notes.append(
                    f"generation {generation.generation} ({generation.role}) was built by another declaration: "
                    "its rows are shown, not judged"
                )
            agreement = Agreement(self.view.layout)
            for key, stored in zip(some, target.read([*some]) if some else [], strict=True):
                write = asked.get(key) or Write(key, None, SCANNED, by)
                standing = self._stands(generation, target, agreement, write, stored, judged)
                looked.setdefault(key, []).append(standing)
        if by and not self._deep and found.result not in ("rows", "unmatched"):
            found.notes.append("rows of earlier states that nothing names any more are only found with --deep")
        found.rows = []
        for key, standings in looked.items():
            wanted = asked.get(key)
            if wanted is None and all(each.stands == "nothing" for each in standings):
                continue
            values = None if wanted is None or wanted.values is None else fields_of(self.view, wanted.values)
            fault = "" if wanted is None else self._open(record.generation).fault(wanted) or ""
            found.rows.append(RowTrace(key, values, standings, fault))

    def _generations(self, control: ControlStore, record: ViewRecord) -> list[Generation]:
        known = list(control.generations(self.view.name))
        return sorted(known, key=lambda each: (each.role != "live", each.generation)) or [
            Generation(self.view.name, record.generation, record.fingerprint, "", "live", False, record.filled, 0.0)
        ]

    def _owner(self, item: Traced) -> str:
        """The item as rows name it; empty where rows of this view name nobody."""
        if self._trial.owned:
            try:
                return owner(item.key)
            except ProjectionError:
                return ""
        return ""

    def _earlier_keys(self, item: Traced, control: ControlStore) -> list[RowKey]:
        """Keys of rows that the item may have had: by its key alone, were it not filtered, and as its letters tell."""
        change: Change[dict[str, Attr]] = Change("REMOVE", Body("0", item.key))
        found = _keys(self._trial, change)
        states = [item.image]
        reader = LetterReader(SHAPE, self._key)
        for kept in self._kept(control, item):
            content = reader.read(kept.letter)
            if not isinstance(content, str):
                states += [content.new, content.old]
        for state in states:
            if state is not None:
                found += _keys(self._unfiltered, Change("REMOVE", Body("0", item.key, 0.0, None, state)))
        return found

    def _stands(
        self,
        generation: Generation,
        target: Target,
        agreement: Agreement,
        write: Write,
        stored: Stored | None,
        judged: bool,
    ) -> Standing:
        verdict, fields = _verdict(target, agreement, write, stored) if judged else ("not judged", ())
        if stored is None:
            return Standing(generation.generation, generation.role, "nothing", verdict)
        return Standing(
            generation.generation,
            generation.role,
            "tombstone" if stored.content is None else "row",
            verdict,
            stored.version,
            stored.owner,
            stored.generation,
            fields,
            stored.content,
        )

    def _conclude(self, item: Traced, record: ViewRecord, found: ViewTrace, complete: bool) -> None:
        """What the view's rows come to, and the command that fixes it."""
        name, key = self.view.name, item_key(item.key)
        faults = [row.fault for row in found.rows if row.fault]
        if record.state.lasts:
            found.verdict, found.do = "stopped", record.reason or f"its state is {record.state}: dynaview status"
        elif record.fingerprint != self._fingerprint:
            found.verdict = "stopped" if found.state == ViewState.STOPPED else "wrong" if found.wrong else "right"
            found.notes.append(
                f"the declaration ({self.view.at}) is not the one that built the view: dynaview plan {name}"
            )
        elif found.letters or found.result == "dead-letter" or faults:
            found.verdict = "dead-lettered"
            ids = " ".join(str(letter.id) for letter in found.letters)
            found.do = (
                f"fix the item or the declaration, then dynaview dead-letters replay {ids}"
                if ids
                else "fix the item or the declaration"
            )
        elif not found.wrong:
            found.verdict = "right"
        elif not self._runs(record):
            found.verdict, found.do = "stopped", "no daemon runs for it: dynaview run"
        elif not record.filled:
            found.verdict, found.do = "behind", "its first fill is not complete: dynaview status shows how far it is"
        elif not complete:
            found.verdict, found.do = "behind", f"dynaview wait {name}, then trace again"
        else:
            found.verdict = "wrong"
            found.do = (
                f"dynaview verify {name} --key {shlex.quote(key)} --json > found.json; "
                f"dynaview repair {name} --from-verify found.json"
            )


def _letter(kept: KeptLetter) -> Letter:
    letter = kept.letter
    return Letter(kept.id, letter.kind, letter.reason, letter.version, kept.created, letter.row_key)


def _keys(trial: Trial, change: Change[dict[str, Attr]]) -> list[RowKey]:
    try:
        return [write.key for write in trial.bound.writes(change, SCANNED)]
    except ProjectionError as error:
        return [write.key for write in error.asked]


def _verdict(
    target: Target, agreement: Agreement, write: Write, stored: Stored | None
) -> tuple[RowVerdict, Sequence[str]]:
    """Whether a row is as its item asks."""
    try:
        content = target.content(write)
    except _UNSTORABLE:
        return ("right" if stored is None or stored.content is None else "extra"), ()
    if write.values is None:
        mine = stored is not None and stored.content is not None and is_of(write, stored)
        return ("extra" if mine else "right"), ()
    if agreement.is_right(write, content, stored):
        return "right", ()
    if stored is None or stored.content is None:
        return "missing", ()
    if not is_of(write, stored):
        return "owner", ()
    return "different", differing(content, stored.content)

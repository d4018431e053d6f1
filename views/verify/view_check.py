"""Verifying a view: every row held against what its item asks for, beside the stream and without false alarms.

A check of one view has three parts, in this order:

1. `ViewCheck.list_store`: all rows of the store are listed, before anything of the table is read. So a row that is made
   later can never be taken for an orphan.
2. `ViewCheck.look`, for each page of a strongly consistent scan: each item's rows are made as the pipeline makes them.
   A row that was listed as its item asks for it is right. Every other one is read again now, and is a mismatch where it
   still differs. Mismatches are judged apart (`_judge`), in this order: look at the row; read the item; wait until the
   watermark has passed that read; look at the row again. Only a row that is the very same at both looks (version,
   owner, generation, content) and not what the item asked for in between counts. For every change up to that read is in
   the view then, and a change that has come since would have changed the row; so nothing that the stream does or will
   do explains the difference. A row that is not the same is judged again, some rounds long.
3. `ViewCheck.finish`: rows that were listed and that no item wants. Once the watermark has passed the end of the scan
   they are listed again; one that stands in the very state of the first listing is extra. Had an item come to ask for
   it or ceased to, a change would have written the row or left a tombstone.

An item of which no row can be made, or whose row the store cannot hold, asks for none: what stands of it is extra. A
row that is missing because the store or a function refused the very state that its item is in has a dead letter, and is
told apart. Rows that changed at every look are told as a number. Each finding carries what was seen, so that a repair
can write where nothing has changed since.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dynaview.projections.attributes import Image, item_key
from dynaview.projections.projection import ProjectionError
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import Stored
from dynaview.sources.port import Key
from dynaview.views.replay import leavings
from dynaview.views.verify.agreement import Agreement, is_of
from dynaview.views.verify.explained import Explained
from dynaview.views.verify.findings import (
    CONFLICT,
    REMOVE_FOREIGN,
    TOO_MANY,
    UNKNOWN_OWNER,
    Finding,
    Kind,
    Report,
    differing,
)
from dynaview.views.verify.items import ItemReader
from dynaview.views.verify.limits import Limits
from dynaview.views.verify.listed_rows import ListedRows, list_rows
from dynaview.views.verify.mismatches import Mismatch, Mismatches
from dynaview.views.verify.subject import Subject

ROUNDS = 5
"""How often a row that keeps changing is looked at."""

CONTESTED = 10_000
"""Rows of another item's that are remembered until the end of the scan."""

_UNSTORABLE = (ValueError, TypeError, ArithmeticError)
"""What `Target.content` raises for content that its store cannot hold."""


@dataclass(slots=True)
class _Counts:
    """What one look adds to the report."""

    items: int = 0
    rows: int = 0
    dead_lettered: int = 0
    wanted: list[tuple[Key, Write, Any]] = field(default_factory=list)
    unasked: list[Mismatch] = field(default_factory=list)
    """Rows that items had before no row could be made of them."""


class ViewCheck:
    """The verification of one view in its parts; `verify` puts them together."""

    def __init__(
        self,
        subject: Subject,
        items: ItemReader,
        key: tuple[str, ...],
        limits: Limits,
    ) -> None:
        """`key` are the names of the table's key attributes, `limits` are the verification's."""
        self.subject = subject
        self.report = Report(subject.view, subject.target.generation, begun=time.time())
        self._items = items
        self._retrier = items.retrier
        self._limits = limits
        self._most = limits.read
        self._explained = Explained(subject, items.shape, key)
        self.failed: Exception | None = None
        """What ended the check before it was done."""
        self._listed: ListedRows | None = None
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._mismatches = Mismatches(items.retrier.stop, lambda: self.failed is not None, limits.waiting)
        self._contested: dict[RowKey, Key] = {}
        self._told_foreign: set[RowKey] = set()
        self._taken: list[Mismatch] = []
        """Rows of another item's that were told, to be looked at once more."""
        self._agreement = Agreement(subject.target.layout)

    # The store

    def list_store(self) -> None:
        """Enter every row that the store lists. Raises `SinkError`, `Stopped`."""
        self._listed = list_rows(self.subject.target, self._retrier)

    # The table

    def look(self, items: Sequence[tuple[Key, Image]], unreadable: int = 0) -> None:
        """Hold items that have just been read against their rows; from any thread. Waits while too many mismatches do.

        Raises `SinkError`, `Stopped`.
        """
        counts = _Counts(len(items), dead_lettered=unreadable)
        for key, image in items:
            self._look(key, image, counts)
        for start in range(0, len(counts.wanted), self._most):
            part = counts.wanted[start : start + self._most]
            rows = self._read([write.key for _, write, _ in part])
            for (key, write, content), stored in zip(part, rows, strict=True):
                if self._agreement.is_right(write, content, stored):
                    self._want(write.key)
                else:
                    self._mismatches.put(Mismatch(key, write.key, write.owner, stored))
        with self._lock:
            self.report.items += counts.items
            self.report.rows += counts.rows
            self.report.dead_lettered += counts.dead_lettered
        self._put_standing(counts.unasked)

    def _look(self, key: Key, image: Image, counts: _Counts) -> None:
        try:
            writes = self.subject.bound.inserts(image)
        except ProjectionError:
            counts.dead_lettered += 1
            counts.unasked += [
                Mismatch(key, each.key, each.owner, None) for each in leavings(self.subject.bound, key, image)
            ]
            return
        listed_rows, target = self._listed, self.subject.target
        for write in writes:
            counts.rows += 1
            try:
                if (
                    listed_rows is not None
                    and (canonical := target.canonical(write))
                    and listed_rows.meet(write.key, canonical)
                ):
                    continue
                content = target.content(write)
            except _UNSTORABLE:
                counts.dead_lettered += 1
                counts.unasked.append(Mismatch(key, write.key, write.owner, None))
                continue
            counts.wanted.append((key, write, content))

    def look_at_rows(self, left: Sequence[tuple[Key, Write]]) -> None:
        """Judge rows that their items may not ask for (any more); `left` as `leavings` makes them."""
        for start in range(0, len(left), self._most):
            mismatches = [
                Mismatch(key, write.key, write.owner, None) for key, write in left[start : start + self._most]
            ]
            asked = self._asked(mismatches)
            self._put_standing([each for each in mismatches if each.key not in asked[item_key(each.item)]])

    def _put_standing(self, mismatches: Sequence[Mismatch]) -> None:
        """Let those be judged whose rows stand, of items that ask for none."""
        for start in range(0, len(mismatches), self._most):
            part = mismatches[start : start + self._most]
            for mismatch, stored in zip(part, self._read([each.key for each in part]), strict=True):
                if stored is not None and stored.content is not None and mismatch.owner in ("", stored.owner):
                    mismatch.seen = stored
                    self._mismatches.put(mismatch)

    # Judging

    def judge(self) -> None:
        """Judge mismatches until `end` is called: the body of a thread."""
        self._mismatches.judged(self._judge)

    def end(self) -> None:
        """Nothing more will be looked at."""
        self._mismatches.put(None)

    def _judge(self, mismatches: Sequence[Mismatch]) -> list[Mismatch]:
        """Judge mismatches whose rows were looked at before; those that are to be judged again."""
        asked = self._asked(mismatches)
        self.subject.caught_up(time.time())
        # Before the last look: a letter may be settled at any time.
        self._retrier.insist(lambda: self._explained.load([mismatch.item for mismatch in mismatches]))
        rows: list[Stored | None] = []
        for start in range(0, len(mismatches), self._most):
            rows += self._read([mismatch.key for mismatch in mismatches[start : start + self._most]])
        again: list[Mismatch] = []
        findings: list[Finding] = []
        with self._lock:
            for mismatch, row in zip(mismatches, rows, strict=True):
                write = asked[item_key(mismatch.item)].get(mismatch.key)
                if (found := self._verdict(mismatch, write, row, again)) is not None:
                    findings.append(found)
        self.tell(findings)
        return again

    def _verdict(
        self, mismatch: Mismatch, write: Write | None, row: Stored | None, again: list[Mismatch]
    ) -> Finding | None:
        """What is found of a mismatch whose watermark has passed. `write` is what its item asked for, `row` the second
        look."""
        if write is None:
            return self._unasked(mismatch, row, again)
        try:
            content = self.subject.target.content(write)
        except _UNSTORABLE:
            return self._unasked(mismatch, row, again)
        if self._agreement.is_right(write, content, row):
            self.report.stale += row != mismatch.seen  # a repaired row is as it was seen
            self._want(mismatch.key)
            return None
        if row != mismatch.seen:
            self._once_more(mismatch, row, again)
            return None
        if row is None or row.content is None:
            return self._missing(write, row, mismatch.item, content)
        if not is_of(write, row):
            return self._of_another(write, row, mismatch.item, content)
        if content is None:  # it has expired, and stands
            return self._finding("extra", write, row, mismatch.item, None)
        self._want(mismatch.key)
        return self._finding("different", write, row, mismatch.item, content, differing(content, row.content))

    def _missing(self, write: Write, row: Stored | None, item: Key, content: Any) -> Finding | None:
        if self._explained.row(item, write, row):
            return self._dead_lettered(write, row, item, content)
        if self.subject.target.fault(write) is not None:  # a rebuild would give no row either
            self.report.dead_lettered += 1
            return None
        return self._finding("missing", write, row, item, content)

    def _unasked(self, mismatch: Mismatch, row: Stored | None, again: list[Mismatch]) -> Finding | None:
        """The item does not ask for the row (any more)."""
        if row is None or row.content is None or mismatch.owner not in ("", row.owner):
            return None
        if row != mismatch.seen:
            self._once_more(mismatch, row, again)
            return None
        self._want(mismatch.key)
        return self._finding("extra", Write(row.key, None, 0, row.owner), row, mismatch.item, None)

    def _once_more(self, mismatch: Mismatch, row: Stored | None, again: list[Mismatch]) -> None:
        mismatch.seen = row
        mismatch.rounds += 1
        if mismatch.rounds < ROUNDS:
            again.append(mismatch)
        else:
            self.report.changing += 1
            self._want(mismatch.key)

    def _of_another(self, write: Write, row: Stored, item: Key, content: Any) -> Finding | None:
        """The row belongs to another item. Whether that one asks for it as well shows when all of the table is read."""
        if self._explained.row(item, write, row):
            return self._dead_lettered(write, row, item, content)
        if self._listed is None:
            return self._finding("owner", write, row, item, content, stuck=UNKNOWN_OWNER)
        if len(self._contested) >= CONTESTED:
            return self._finding("owner", write, row, item, content, stuck=TOO_MANY)
        self._contested[write.key] = item
        return None

    def _finding(
        self,
        kind: Kind,
        write: Write,
        row: Stored | None,
        item: Key | None,
        content: Any,
        fields: tuple[str, ...] = (),
        stuck: str = "",
    ) -> Finding:
        return Finding(self.subject.view, kind, write, row, item, content, fields, stuck)

    def _dead_lettered(self, write: Write, row: Stored | None, item: Key, content: Any) -> Finding:
        stuck = f"replay it: dynaview dead-letters replay --view {self.subject.view}"
        return self._finding("dead-lettered", write, row, item, content, stuck=stuck)

    # The end

    def finish(self) -> None:
        """Tell the rows that no item wants, once all of the table was looked at and all mismatches are judged."""
        listed_rows = self._listed
        if listed_rows is not None and (listed_rows.orphans or self._contested):
            self.subject.caught_up(time.time())
            self._retrier.insist(lambda: self._explained.load([*self._contested.values()]))
            self._retrier.insist(lambda: self._orphans(listed_rows))
            self._conflicts(listed_rows)
        self._look_again()
        if listed_rows is not None:
            self._retrier.insist(self._foreign)
        if self._agreement.expires_alone:
            self.report.note("its rows expire by themselves, so rows that do not stand are not judged")
        self.report.seconds = time.time() - self.report.begun

    def _orphans(self, listed_rows: ListedRows) -> None:
        found: dict[RowKey, Stored] = {}
        for stored in self.subject.target.rows():
            if listed_rows.is_orphan(stored):
                found[stored.key] = stored
            if len(found) >= self._most:
                self.tell(self._extra(listed_rows, found))
                found = {}
        self.tell(self._extra(listed_rows, found))

    def _extra(self, listed_rows: ListedRows, listed: dict[RowKey, Stored]) -> list[Finding]:
        """What is found of rows that nothing wants, listed after the watermark had passed the end of the scan."""
        findings: list[Finding] = []
        contested = [Mismatch(self._contested[key], key, "", None) for key in listed if key in self._contested]
        asked = self._asked(contested)
        for key, row in zip(listed, self._read([*listed]), strict=True):
            if row is None or row.content is None or not listed_rows.is_orphan(row):
                continue
            listed_rows.want(key)
            item = self._contested.pop(key, None)
            write = None if item is None else asked[item_key(item)].get(key)
            if write is not None:
                content = self.subject.target.content(write)
                findings.append(self._finding("owner", write, row, item, content))
            else:
                findings.append(self._finding("extra", Write(key, None, 0, row.owner), row, None, None))
        return findings

    def _foreign(self) -> None:
        """What somebody put where rows of the view could stand. No row of dynaview's, so nothing waits for it."""
        for foreign in self.subject.target.foreign():
            if foreign.key not in self._told_foreign:
                self._told_foreign.add(foreign.key)
                stuck = f"{foreign.what} that dynaview did not put there: {REMOVE_FOREIGN}"
                self.tell([self._finding("foreign", Write(foreign.key, None, 0), None, None, None, stuck=stuck)])

    def _conflicts(self, listed_rows: ListedRows) -> None:
        """Rows of another item's which that item wants too; of the others the owner has changed meanwhile."""
        keys = [*self._contested]
        for start in range(0, len(keys), self._most):
            part = keys[start : start + self._most]
            asked = self._asked([Mismatch(self._contested[key], key, "", None) for key in part])
            findings = []
            for key, row in zip(part, self._read(part), strict=True):
                item = self._contested[key]
                write = asked[item_key(item)].get(key)
                if write is None or row is None or row.content is None or is_of(write, row):
                    continue
                if listed_rows.is_wanted(key):
                    content = self.subject.target.content(write)
                    findings.append(self._finding("owner", write, row, item, content, stuck=CONFLICT))
                else:
                    self.report.changing += 1
            self.tell(findings)

    def _look_again(self) -> None:
        """Judge rows once more that were another item's and, where somebody has repaired them, are their item's now: as
        long as they were not, a change of their item was refused, and none of its versions stood against the repair."""
        taken, self._taken = self._taken, []
        rows = self._read([mismatch.key for mismatch in taken])
        again: list[Mismatch] = []
        for mismatch, row in zip(taken, rows, strict=True):
            if row is not None and row.content is not None and row.owner == mismatch.owner:
                mismatch.seen = row
                again.append(mismatch)
        while again:
            again = self._judge(again)

    # What all parts use

    def _asked(self, mismatches: Sequence[Mismatch]) -> dict[str, Mapping[RowKey, Write]]:
        return self._items.asked(self.subject.bound, [mismatch.item for mismatch in mismatches])

    def _read(self, keys: Sequence[RowKey]) -> list[Stored | None]:
        return self._retrier.insist(lambda: self.subject.target.read(keys)) if keys else []

    def _want(self, key: RowKey) -> None:
        if self._listed is not None:
            self._listed.want(key)

    def tell(self, findings: Sequence[Finding]) -> None:
        """Count and list findings, and let the subject hear them."""
        if not findings:
            return
        with self._lock:
            for finding in findings:
                self.report.count(finding.kind)
                if finding.kind == "owner" and not finding.stuck and finding.item is not None:
                    self._taken.append(Mismatch(finding.item, finding.key, finding.write.owner, None))
                if len(self.report.listed) < self._limits.listed:
                    self.report.listed.append(finding)
        with self._telling:
            self.subject.found(findings)

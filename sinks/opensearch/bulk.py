"""Guarded writes: decide, send in bulk, look again at what others changed meanwhile, until every write is settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from dynaview.projections.columns import Columns
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.opensearch.client import Connection, path
from dynaview.sinks.opensearch.errors import Answered, ItemError, passes, rejection
from dynaview.sinks.opensearch.guard import Memory, Odds, Position, Verdict, certain, decide, resulting, unchanged
from dynaview.sinks.opensearch.limits import LIMITS, Limits
from dynaview.sinks.opensearch.lookups import look
from dynaview.sinks.opensearch.values import Control, Documents, Unstorable, key, keys, version_of
from dynaview.sinks.port import (
    APPLIED,
    STALE,
    ConditionalWrite,
    Outcome,
    Rejected,
    RejectedKind,
    SinkError,
    SinkUnavailable,
    exceptions,
)

_CONFLICT = 409
_TOO_LARGE = 413


class _Item(msgspec.Struct, gc=False):
    """What became of one operation of a bulk request."""

    status: int
    sequence: int = msgspec.field(name="_seq_no", default=-1)
    term: int = msgspec.field(name="_primary_term", default=-1)
    error: ItemError | None = None


class _Entry(msgspec.Struct, gc=False):
    create: _Item | None = None
    index: _Item | None = None
    delete: _Item | None = None


class _BulkAnswer(msgspec.Struct):
    items: list[_Entry] = []


_bulk_answer = msgspec.json.Decoder(_BulkAnswer)
_BULK_PARAMETERS = {
    "require_alias": "true",
    "filter_path": "items.*.status,items.*._seq_no,items.*._primary_term,items.*.error",
}


class Bulk:
    """Writes to one index through its door (`mapping.Mark`). Safe to use from several threads."""

    def __init__(
        self,
        connection: Connection,
        documents: Documents,
        door: str,
        index: str,
        readers: str,
        limits: Limits = LIMITS,
    ) -> None:
        self.memory = Memory()
        self.door = door
        self._odds = Odds()
        self._connection = connection
        self._documents = documents
        self._readers = readers
        self._limits = limits
        self._doing = f"writing to {index}"

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        """One outcome a write, as `dynaview.sinks.port` asks. Raises `SinkError`."""
        return self._write(_Batch(writes))

    def write_columns(self, columns: Columns) -> dict[int, Outcome]:
        """`write`, of columns: what did not become APPLIED. Raises `SinkError`."""
        batch = _Batch(columns.writes())
        for at, body in enumerate(self._documents.encode_columns(columns) or ()):
            if len(body) <= self._limits.request_bytes:
                batch.bodies[at] = body
        return exceptions(self._write(batch))

    def _write(self, batch: _Batch) -> list[Outcome]:
        batch.positions = self.memory.recall(batch.keys)
        pending = [at for at, name in enumerate(batch.names) if name]
        unknown = [at for at in pending if batch.positions[at] is None]
        looked = bool(unknown) and self._odds.look_first()
        if looked:
            self._look(batch, unknown)
        for turn in range(self._limits.rounds):
            puts, doubtful = batch.decided(pending)
            conflicts = self._put(batch, puts)
            if turn == 0 and unknown:
                there = [at for at in unknown if batch.positions[at]] if looked else set(unknown) & set(conflicts)
                self._odds.learn(len(there), len(unknown))
            pending = doubtful + conflicts
            if not pending:
                return batch.settled()
            self._look(batch, pending)
        raise SinkUnavailable(f"other writers kept changing the same rows while {self._doing}")

    def write_if_unchanged(self, conditional_writes: Sequence[ConditionalWrite], generation: int) -> list[Outcome]:
        """One outcome a conditional write, as `dynaview.sinks.port` asks. Raises `SinkError`."""
        batch = _Batch([resulting(conditional) for conditional in conditional_writes])
        batch.positions = [None] * len(conditional_writes)
        pending = [at for at, name in enumerate(batch.names) if name]
        if len(set(batch.keys)) < len(batch.keys):
            raise ValueError("one batch holds a row key twice")
        self._look(batch, pending)
        puts = []
        for at in pending:
            if unchanged(conditional_writes[at].seen, generation, batch.positions[at]):
                puts.append(at)
            else:
                batch.outcomes[at] = STALE
        lost = self._put(batch, puts)
        for at in lost:
            batch.outcomes[at] = STALE
        self.memory.forget([batch.keys[at] for at in lost])
        return batch.settled()

    def remove_tombstones(self, seen: Mapping[str, int]) -> int:
        """Remove tombstones that are still as they were seen, by their sequence numbers; how many were."""
        removed = 0
        keys, most = [*seen], self._limits.looks
        for start in range(0, len(keys), most):
            batch = _Batch([Write(key, None, 0) for key in keys[start : start + most]])
            batch.positions = [None] * len(batch.writes)
            self._look(batch, [*range(len(batch.writes))])
            found = [
                (name, at)
                for key, name, at in zip(batch.keys, batch.names, batch.positions, strict=True)
                if at is not None and not at.live and at.sequence == seen[str(key)]
            ]
            lines = [
                b'{"delete":{"_id":%b,"if_seq_no":%d,"if_primary_term":%d}}\n' % (name, at.sequence, at.term)
                for name, at in found
            ]
            self.memory.forget(batch.keys)
            if not lines:
                continue
            for entry in self._sent(lines):
                if entry.delete is None:
                    raise self._connection.unreadable(self._doing)
                if entry.delete.error is None:
                    removed += 1
                elif entry.delete.status != _CONFLICT:
                    raise self._failed(entry.delete.status, entry.delete.error)
        return removed

    def _look(self, batch: _Batch, pending: list[int]) -> None:
        """Bring the positions of `pending` up to date, past any refresh."""
        most = self._limits.looks
        for start in range(0, len(pending), most):
            part = pending[start : start + most]
            names = [batch.names[at] for at in part]
            found = look(self._connection, self.door, names, self._doing, self._readers)
            for at, one in zip(part, found, strict=True):
                if one.error is not None:
                    raise self._failed(0, one.error)
                control = one.control or Control()
                batch.positions[at] = (
                    Position(version_of(control.version), control.owner, not control.deleted, one.sequence, one.term)
                    if one.found
                    else None
                )
            batch.fresh.update(part)
        seen = {batch.writes[at].key: position for at in pending if (position := batch.positions[at]) is not None}
        self.memory.remember(seen)

    def _put(self, batch: _Batch, puts: list[int]) -> list[int]:
        """Send the writes `puts`, each on condition that its position still holds; which of them it did not."""
        conflicts: list[int] = []
        lines: list[bytes] = []
        sent: list[int] = []
        size = 0
        bodies, positions, names = batch.bodies, batch.positions, batch.names
        most_bytes, most_writes = self._limits.request_bytes, self._limits.request_writes
        for at in puts:
            body = bodies[at] or self._body(batch, at)
            if not body:
                continue
            position = positions[at]
            if position is None:
                line = b'{"create":{"_id":%b}}\n%b\n' % (names[at], body)
            else:
                line = b'{"index":{"_id":%b,"if_seq_no":%d,"if_primary_term":%d}}\n%b\n' % (
                    names[at],
                    position.sequence,
                    position.term,
                    body,
                )
            size += len(line)
            if (size > most_bytes or len(sent) >= most_writes) and sent:
                conflicts += self._send(batch, sent, lines)
                lines, sent, size = [], [], len(line)
            lines.append(line)
            sent.append(at)
        if sent:
            conflicts += self._send(batch, sent, lines)
        return conflicts

    def _body(self, batch: _Batch, at: int) -> bytes:
        """The document, or nothing where it cannot be stored (then its outcome stands)."""
        try:
            body = self._documents.encode(batch.writes[at], self._milliseconds)
        except Unstorable as error:
            batch.outcomes[at] = Rejected(str(error))
            return b""
        if len(body) > self._limits.request_bytes:
            batch.outcomes[at] = _too_large(len(body))
            return b""
        batch.bodies[at] = body
        return body

    def _send(self, batch: _Batch, sent: list[int], lines: list[bytes]) -> list[int]:
        """One bulk request; which of its writes met another position than theirs. Settles the others."""
        try:
            entries = self._sent(lines)
        except Answered as error:
            if error.status != _TOO_LARGE:
                raise
            # A proxy allows less than we do; nothing of the request was applied.
            if len(sent) == 1:
                batch.outcomes[sent[0]] = _too_large(len(lines[0]))
                return []
            half = len(sent) // 2
            return self._send(batch, sent[:half], lines[:half]) + self._send(batch, sent[half:], lines[half:])
        return self._settle(batch, sent, entries)

    def _sent(self, lines: list[bytes]) -> list[_Entry]:
        """What became of each operation of one bulk request."""
        answer = self._connection.send(
            "POST",
            path(self.door, "_bulk"),
            params=_BULK_PARAMETERS,
            body=b"".join(lines),
            doing=self._doing,
            index=self._readers,
        )
        try:
            entries = _bulk_answer.decode(answer).items
        except (msgspec.DecodeError, ValueError):
            raise self._connection.unreadable(self._doing) from None
        if len(entries) != len(lines):
            raise self._connection.unreadable(self._doing)
        return entries

    def _settle(self, batch: _Batch, sent: list[int], entries: list[_Entry]) -> list[int]:
        conflicts: list[int] = []
        failure: SinkError | None = None
        positions: dict[RowKey, Position] = {}
        writes, outcomes = batch.writes, batch.outcomes
        for at, entry in zip(sent, entries, strict=True):
            item = entry.create or entry.index
            if item is None:
                raise self._connection.unreadable(self._doing)
            if item.error is None:
                write = writes[at]
                outcomes[at] = APPLIED
                positions[write.key] = Position(
                    write.version, write.owner, write.values is not None, item.sequence, item.term
                )
            elif item.status == _CONFLICT:
                conflicts.append(at)
            elif not passes(item.status, item.error.type) and _of_content(item):
                outcomes[at] = rejection(item.error)
            else:
                # What cannot be healed by sending again goes first: it needs somebody.
                found = self._failed(item.status, item.error)
                if failure is None or isinstance(failure, SinkUnavailable):
                    failure = found
        self.memory.remember(positions)
        if failure is not None:
            raise failure
        return conflicts

    def _failed(self, status: int, error: ItemError) -> SinkError:
        return self._connection.failed(status, error.type, self._doing, self._readers)

    def _milliseconds(self) -> int:
        return self._connection.milliseconds(self._readers)


class _Batch:
    """The writes of one call, side by side with what is known about each."""

    __slots__ = ("bodies", "fresh", "keys", "names", "outcomes", "positions", "writes")

    def __init__(self, writes: Sequence[Write]) -> None:
        self.writes = writes
        self.outcomes: list[Outcome | None] = [None] * len(writes)
        self.keys: list[RowKey] = [write.key for write in writes]
        self.names = self._names()
        """The document ids as JSON; empty where the key cannot be one."""
        self.bodies: list[bytes | None] = [None] * len(writes)
        self.positions: list[Position | None] = []
        """What is believed to stand there; None for nothing."""
        self.fresh: set[int] = set()
        """Whose positions were looked up, not remembered."""

    def _names(self) -> list[bytes]:
        try:
            return keys(self.keys)
        except Unstorable:
            return [self._name(at) for at in range(len(self.keys))]

    def _name(self, at: int) -> bytes:
        try:
            return key(self.keys[at])
        except Unstorable as error:
            self.outcomes[at] = Rejected(str(error))
            return b""

    def decided(self, pending: list[int]) -> tuple[list[int], list[int]]:
        """Which writes to send, and which positions to look up before they can be refused. Settles the refused."""
        puts: list[int] = []
        doubtful: list[int] = []
        writes, positions = self.writes, self.positions
        for at in pending:
            position = positions[at]
            if position is None:
                puts.append(at)
                continue
            write = writes[at]
            verdict = decide(write, position)
            if verdict is Verdict.PUT:
                puts.append(at)
            elif at not in self.fresh and not certain(write, position):
                doubtful.append(at)
            elif verdict is Verdict.STALE:
                self.outcomes[at] = STALE
            else:
                self.outcomes[at] = Rejected(
                    f"row {write.key!r} belongs to item {position.owner or '(unnamed)'}, "
                    f"so item {write.owner} cannot have it",
                    RejectedKind.OWNER,
                )
        return puts, doubtful

    def settled(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome is not None]


def _of_content(item: _Item) -> bool:
    """Whether an error is about the document: not about rights, nor about the index."""
    return item.status not in (401, 403, 404)


def _too_large(size: int) -> Rejected:
    return Rejected(f"the document of {size} bytes is longer than one request to OpenSearch may be")


def fault(documents: Documents, write: Write, limits: Limits = LIMITS) -> str | None:
    """See `dynaview.sinks.port.Target.fault`."""
    try:
        key(write.key)
        size = len(documents.encode(write, lambda: 0))
    except Unstorable as error:
        return str(error)
    return _too_large(size).reason if size > limits.request_bytes else None

"""Applying a batch: the guarded statement, and the way to the writes that Postgres cannot hold.

The usual batch is one statement. Where its content is refused, each write is first held against its columns here,
which costs no statement and names the column; what is left is found by halving, so that a bad write among a thousand
costs about twenty statements and no neighbour.

Where a unique index refuses, the batch is written again as rows that wait (`waiting`), and those of them whose values
are free in the end are shown, all in one transaction: rows of a batch may hand values round as they like.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

from dynaview.projections.columns import Columns
from dynaview.projections.rows import RowKey, Rule, Write
from dynaview.sinks.port import (
    APPLIED,
    STALE,
    ConditionalWrite,
    Outcome,
    Rejected,
    RejectedKind,
    SinkUnavailable,
    Stored,
    exceptions,
)
from dynaview.sinks.postgres import literals
from dynaview.sinks.postgres.client import Connections, Mode
from dynaview.sinks.postgres.columns import OrderedColumns
from dynaview.sinks.postgres.errors import REPEATED_KEY, UNIQUE, ContentError, reason_of
from dynaview.sinks.postgres.generation import Schema
from dynaview.sinks.postgres.statements import Statements
from dynaview.sinks.postgres.values import Column
from dynaview.sinks.postgres.waiting import CLASH, Waiting

_NO_LITERAL = (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What writing a value down raises where it is not of its column's type."""

_ATTEMPTS = 5
"""How often a value may be taken by another transaction while a row that waits for it is being shown."""

_TWICE = "one batch holds a row key twice"


class Guard:
    """Applies batches to one generation's table. Safe to use from several threads."""

    def __init__(
        self,
        connections: Connections,
        schema: Schema,
        generation: int,
        statements: Statements,
        places: Sequence[int | None],
        waiting: Waiting,
    ) -> None:
        """`places`: for each column, where `Write.values` has it (None: it comes from the key)."""
        self._connections = connections
        self._schema = schema
        self._generation = generation
        self._statements = statements
        self._columns = statements.columns
        self._keys = len(statements.keys)
        self._places = tuple(place for place in places if place is not None)
        self._width = len(self._columns)
        self._right = schema.write_right(connections.role, generation)
        self._unique = schema.unique_indexes(generation)
        """The columns of each declared one, by its name."""
        self._waiting = waiting
        columns = "; ".join(", ".join(columns) for columns in self._unique.values())
        self._clash = Rejected(f"column {columns}: {CLASH}", RejectedKind.UNIQUE)

    def apply(self, writes: Sequence[Write]) -> list[Outcome]:
        """One outcome for each write. Raises `SinkError`; ValueError where a row key comes twice."""
        batch = _Batch(writes)
        order = _order([write.key for write in writes])
        rules = [write.rule for write in writes]
        if rules.count(rules[0]) == len(rules):
            self._apply(batch, order)
        else:
            for rule in Rule:
                self._apply(batch, [number for number in order if rules[number] is rule])
        self._settle(batch)
        return batch.outcomes

    def apply_columns(self, columns: Columns) -> dict[int, Outcome]:
        """The outcomes that are not APPLIED, by place. Raises as `apply`."""
        writes = OrderedColumns(columns, _order([*columns.keys, *columns.gone]))
        try:
            keys, values = writes.keys(), writes.values(self._width)
            if len(keys) != self._keys or len(values) != self._width:
                raise ValueError
            given = [*keys, *(values[place] for place in self._places)]
            arrays = [column.encode(one) for column, one in zip(self._columns, given, strict=True)]
            arrays.append(literals.plain(writes.versions()))
            if columns.gone:
                arrays.append(literals.plain(writes.deletes()))
            outcomes = self._send(writes, arrays, [], owners=False, deletes=bool(columns.gone), hidden=False)
        except (ContentError, *_NO_LITERAL):
            # Nothing of it was applied: which row is at fault is found row by row.
            return exceptions(self.apply(columns.writes()))
        return {writes.order[at]: outcome for at, outcome in exceptions(outcomes).items()}

    def write_if_unchanged(self, conditional_writes: Sequence[ConditionalWrite]) -> list[Outcome]:
        """One outcome for each of them. Raises as `apply`."""
        batch = _Batch(
            [_resulting(conditional) for conditional in conditional_writes],
            [conditional.seen for conditional in conditional_writes],
        )
        keys = [conditional.write.key for conditional in conditional_writes]
        if len(set(keys)) < len(keys):
            raise ValueError(_TWICE)
        # What was seen in another generation's table does not stand in this one.
        possible = [seen is None or seen.generation == self._generation for seen in batch.seen or ()]
        self._apply(batch, [number for number in _order(keys) if possible[number]])
        self._settle(batch)
        return batch.outcomes

    def _apply(self, batch: _Batch, positions: list[int]) -> None:
        """Apply those of one rule, or, where they have to be unchanged, all."""
        if not positions:
            return
        writes = [batch.writes[number] for number in positions]
        seen = None if batch.seen is None else [batch.seen[number] for number in positions]
        try:
            parameters, owners, deletes = self._parameters(writes, everything=seen is not None)
        except _NO_LITERAL:
            self._sift(batch, positions, None)
            return
        looks = [] if seen is None else _looks(seen)
        try:
            try:
                outcomes = self._send(writes, parameters, looks, owners, deletes, hidden=False)
            except ContentError as error:
                if error.state != UNIQUE or error.constraint not in self._unique:
                    raise
                outcomes = self._send_hidden(writes, parameters, looks, owners, deletes)
            batch.take(positions, outcomes)
        except ContentError as error:
            if error.state == REPEATED_KEY:
                raise ValueError(_TWICE) from None
            self._sift(batch, positions, error)

    def _parameters(self, writes: Sequence[Write], everything: bool) -> tuple[list[str], bool, bool]:
        """The arrays of a batch, whether they name owners, and whether they tell which writes are deletes: where some
        write does or is, or, for `everything`, always."""
        keys = list(zip(*[write.key for write in writes], strict=True))
        rows: list[Any] = [write.values for write in writes]
        try:
            values, flags = list(zip(*rows, strict=True)), None
        except TypeError:
            flags = [row is None for row in rows]
            nothing = (None,) * self._width
            values = list(zip(*[nothing if row is None else row for row in rows], strict=True))
        if len(keys) != self._keys or len(values) != self._width:
            raise ValueError
        given = [*keys, *(values[place] for place in self._places)]
        arrays = [column.encode(one) for column, one in zip(self._columns, given, strict=True)]
        arrays.append(literals.plain([write.version for write in writes]))
        owners = [write.owner for write in writes]
        owned = everything or owners.count("") < len(owners)
        if everything and flags is None:
            flags = [False] * len(writes)
        if owned:
            arrays.append(literals.texts(owners))
        if flags is not None:
            arrays.append(literals.plain(flags))
        return arrays, owned, flags is not None

    def _send(
        self,
        writes: Sequence[Write],
        parameters: list[str],
        looks: list[str],
        owners: bool,
        deletes: bool,
        hidden: bool,
    ) -> list[Outcome]:
        """One transaction. `looks`: of conditional writes what was seen, else empty. `hidden`: as rows that wait."""
        size = len(writes)
        conditional = bool(looks)
        if conditional:
            statement = self._statements.write_if_unchanged(hidden)
        else:
            statement = self._statements.write(writes[0].rule, owners, deletes, hidden)
        keys = parameters[: self._keys]
        with self._connections.transaction(self._right, Mode.WRITE) as connection:
            applied = connection.execute(statement, parameters + looks).rowcount
            if not conditional and applied == size and not hidden:
                self._waiting.show(connection)
                return [APPLIED] * size
            if not conditional and not applied and not owners and not self._unique:
                return [STALE] * size
            looked = connection.execute(self._statements.look(), keys).fetchall()
            outcomes: list[Outcome] = [STALE] * size
            for number, written, live, waits, version, owner in looked:
                write = writes[number - 1]
                theirs = write.owner and write.owner != owner
                if written:
                    outcomes[number - 1] = APPLIED
                elif write.values is None or conditional:
                    continue
                elif live and theirs:
                    outcomes[number - 1] = Rejected(
                        f"row {write.key!r} belongs to item {owner}, so item {write.owner} cannot have it",
                        RejectedKind.OWNER,
                    )
                elif waits and not theirs and version == write.version:
                    outcomes[number - 1] = self._clash  # the same again
            if self._waiting.show(connection) or hidden:
                looked = connection.execute(self._statements.look(), keys).fetchall()
                for number, _, live, waits, *_ in looked:
                    if outcomes[number - 1] is APPLIED and waits:
                        outcomes[number - 1] = self._clash
                    elif outcomes[number - 1] is self._clash and live:
                        outcomes[number - 1] = APPLIED
        return outcomes

    def _send_hidden(
        self, writes: Sequence[Write], parameters: list[str], looks: list[str], owners: bool, deletes: bool
    ) -> list[Outcome]:
        """`_send`, where a unique index refused it."""
        for _ in range(_ATTEMPTS):
            try:
                return self._send(writes, parameters, looks, owners, deletes, hidden=True)
            except ContentError as error:
                # Another transaction took a value between the look and the showing, and will be seen now.
                if error.state != UNIQUE or error.constraint not in self._unique:
                    raise
        raise SinkUnavailable(
            f"others keep taking values of a unique index of {self._schema.shown(self._schema.readers)}"
        )

    # Content that Postgres refuses

    def _sift(self, batch: _Batch, positions: list[int], error: ContentError | None) -> None:
        """Find the writes at fault. `error` is Postgres's, or None where the batch could not even be written down."""
        good = []
        for number in positions:
            fault = self.fault(batch.writes[number])
            if fault is None:
                good.append(number)
            else:
                batch.outcomes[number] = Rejected(fault)
        if len(good) < len(positions):
            if good:
                self._apply(batch, good)
        elif len(good) > 1:
            half = len(good) // 2
            self._apply(batch, good[:half])
            self._apply(batch, good[half:])
        else:
            reason = "a value that cannot be written down for its column" if error is None else self._reason(error)
            batch.outcomes[good[0]] = Rejected(reason)

    def fault(self, write: Write) -> str | None:
        """Why Postgres could not hold the write, as far as its columns know."""
        key = write.key if isinstance(write.key, tuple) else ()
        if len(key) != self._keys:
            return f"a row key of {len(key)} values, not {self._keys}"
        for column, value in zip(self._columns, key, strict=False):
            fault = "a key value that is missing" if value is None else column.fault(value)
            if fault is not None:
                return _said(column, fault)
        if write.values is None:
            return None
        if len(write.values) != self._width:
            return f"a row of {len(write.values)} values, not {self._width}"
        values = tuple(write.values)
        for column, place in zip(self._columns[self._keys :], self._places, strict=True):
            fault = None if values[place] is None else column.fault(values[place])
            if fault is not None:
                return _said(column, fault)
        return None

    def _reason(self, error: ContentError) -> str:
        reason = reason_of(error)
        columns = self._schema.index_columns(self._generation, error.constraint) if error.constraint else ()
        return f"column {', '.join(columns)}: {reason}" if columns else reason

    def _settle(self, batch: _Batch) -> None:
        """Where a batch was taken apart, a row that had to wait in one part may have been shown by another."""
        waited = [at for at, one in enumerate(batch.outcomes) if one is self._clash]
        if not waited or APPLIED not in batch.outcomes:
            return
        writes = [batch.writes[at] for at in waited]
        keys = [
            column.encode(one)
            for column, one in zip(self._columns, zip(*[w.key for w in writes], strict=True), strict=False)
        ]
        with self._connections.transaction(self._right) as connection:
            looked = connection.execute(self._statements.look(), keys).fetchall()
        for number, _, live, _, version, owner in looked:
            write = writes[number - 1]
            if live and version == write.version and owner == write.owner:
                batch.outcomes[waited[number - 1]] = APPLIED


class _Batch:
    """Writes, and what became of them so far."""

    __slots__ = ("outcomes", "seen", "writes")

    def __init__(self, writes: Sequence[Write], seen: Sequence[Stored | None] | None = None) -> None:
        self.writes = writes
        self.seen = seen
        """For conditional writes: what has to stand there."""
        self.outcomes: list[Outcome] = [*repeat(STALE, len(writes))]

    def take(self, positions: Sequence[int], outcomes: list[Outcome]) -> None:
        if len(outcomes) == len(self.outcomes) == outcomes.count(outcomes[0]):
            # As nearly always: one and the same for the whole batch.
            self.outcomes = outcomes
            return
        for number, outcome in zip(positions, outcomes, strict=True):
            self.outcomes[number] = outcome


def _resulting(conditional: ConditionalWrite) -> Write:
    """What a conditional write writes, with the version that the row will have."""
    write, seen = conditional.write, conditional.seen
    version = seen.version if seen is not None and seen.owner == write.owner else 0
    return Write(write.key, write.values, version, write.owner)


def _looks(seen: Sequence[Stored | None]) -> list[str]:
    """The arrays of what was seen."""
    return [
        literals.plain([None if one is None else one.version for one in seen]),
        literals.texts([None if one is None else one.owner for one in seen]),
        literals.plain([None if one is None else one.content is not None for one in seen]),
    ]


def _order(keys: Sequence[RowKey]) -> list[int]:
    """Positions by key: two writers that lock the same rows in the same order cannot deadlock."""
    try:
        return sorted(range(len(keys)), key=keys.__getitem__)
    except TypeError:
        # Keys of mixed types; some will be rejected.
        return sorted(range(len(keys)), key=lambda number: repr(keys[number]))


def _said(column: Column, fault: str) -> str:
    return f"column {column.name} ({column.sql}) cannot hold {fault}"

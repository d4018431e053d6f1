"""Rows as the scripts take them, packed into calls that block the server for moments only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeAlias, TypeVar

import msgspec

from dynaview.projections.columns import Columns
from dynaview.projections.rows import RowKey, Rule, Write
from dynaview.sinks.port import APPLIED, ConditionalWrite, Outcome, Rejected, Stored, exceptions
from dynaview.sinks.redis.columns import HashColumns
from dynaview.sinks.redis.names import companion
from dynaview.sinks.redis.values import Content, Unstorable

ROWS_A_CALL = 100
"""Rows that one script call decides on: few enough that others are served in between, many enough to pay."""

BYTES_A_CALL = 1 << 20
"""Calls beyond this are cut in two: a script blocks the server."""

NO_UNICODE = "text that is no valid Unicode: a lone surrogate"

Row: TypeAlias = "list[Any]"
"""A write, conditional or not, as the scripts take it, see `lua`."""

_Asked = TypeVar("_Asked", Write, ConditionalWrite)

_LATER = "-"
"""What was seen that no row can be."""

pack = msgspec.msgpack.Encoder().encode


class Packer:
    """Packs the writes of one generation of one view."""

    def __init__(self, content: Content, generation: int) -> None:
        self._content = content
        self._generation = generation
        self.row: Callable[[Write], Row] = self._member_row if content.type in ("set", "sorted_set") else self._key_row
        """Of a write. Raises `Unstorable`."""
        self._columns = HashColumns(content) if content.type == "hash" and content.names is not None else None

    def column_calls(
        self, columns: Columns, groups: Iterable[Sequence[int]], outcomes: dict[int, Outcome]
    ) -> Iterator[tuple[Sequence[int], bytes]]:
        """As `calls`, of columns: rows that have to be looked at by themselves are packed one by one."""
        packed_columns = self._columns
        if packed_columns is None:
            found: list[Outcome] = [APPLIED] * len(columns)
            yield from self.calls(columns.writes(), groups, self.row, found)
            outcomes |= exceptions(found)
            return
        for group in groups:
            packed = packed_columns.packed(columns, group)
            if packed is not None and len(packed) <= BYTES_A_CALL:
                yield group, packed
                continue
            found = [APPLIED] * len(group)
            writes = [columns[place] for place in group]
            for indexes, call in self.calls(writes, [range(len(group))], self.row, found):
                yield [group[index] for index in indexes], call
            outcomes |= {group[index]: outcome for index, outcome in exceptions(found).items()}

    def calls(
        self,
        asked: Sequence[_Asked],
        groups: Iterable[Sequence[int]],
        build: Callable[[_Asked], Row],
        outcomes: list[Outcome],
    ) -> Iterator[tuple[list[int], bytes]]:
        """The script calls for `asked`, one or more for each of `groups`, which are places that one call may take
        together; each with the places of its rows. Marks what cannot be sent as rejected."""
        for group in groups:
            indexes: list[int] = []
            rows: list[Row] = []
            for index in group:
                try:
                    rows.append(build(asked[index]))
                    indexes.append(index)
                except Unstorable as error:
                    outcomes[index] = Rejected(str(error))
                except UnicodeEncodeError:
                    outcomes[index] = Rejected(NO_UNICODE)
            yield from self._packed(indexes, rows, outcomes)

    def _packed(
        self, indexes: list[int], rows: list[Row], outcomes: list[Outcome]
    ) -> Iterator[tuple[list[int], bytes]]:
        if not rows:
            return
        try:
            call = pack([*chain.from_iterable(rows)])
        except UnicodeEncodeError:
            kept = [place for place, row in enumerate(rows) if _is_unicode(row)]
            for place in set(range(len(rows))).difference(kept):
                outcomes[indexes[place]] = Rejected(NO_UNICODE)
            yield from self._packed([indexes[place] for place in kept], [rows[place] for place in kept], outcomes)
            return
        if len(call) > BYTES_A_CALL and len(rows) > 1:
            half = len(rows) // 2
            yield from self._packed(indexes[:half], rows[:half], outcomes)
            yield from self._packed(indexes[half:], rows[half:], outcomes)
            return
        yield indexes, call

    def _key_row(self, write: Write) -> Row:
        """A row of a hash or string."""
        key, content = str(write.key), self._content
        if write.values is None:
            return [key, str(write.version), _extra(write, key, None), 0]
        at = content.expires_at(write) if content.options.expire_field else None
        cells = content.cells(write) if content.type == "hash" else [content.document(write)]
        return [key, str(write.version), _extra(write, key, at), len(cells), *cells]

    def _member_row(self, write: Write) -> Row:
        key, member = pair(write.key)
        row = [key, str(write.version), _extra(write, key, None), 1, member]
        if self._content.type == "sorted_set" and write.values is not None:
            row[3:] = [2, member, self._content.score(write)]
        return row

    def conditional_row(self, conditional: ConditionalWrite) -> Row:
        write, seen = conditional.write, conditional.seen
        row = self.row(write)
        row[1] = str(seen.version) if seen is not None and seen.owner == write.owner else "0"
        row[2] = looked = _look(seen, self._generation)
        key = row[0]
        deletes = write.values is None
        at = self._content.expires_at(write)
        if write.owner or deletes or at is not None or "}" in key:
            row[2] = deletes, write.owner, companion(key) if "}" in key else None, at, looked
        return row


def _extra(write: Write, key: str, at: int | None) -> Any:
    """What only some writes carry, see `lua`."""
    deletes = write.values is None
    if write.owner or write.rule is Rule.ABSENT or at is not None or "}" in key:
        beside = companion(key) if "}" in key else None
        return deletes, write.rule is Rule.ABSENT, write.owner, beside, at
    return int(deletes)


def _look(seen: Stored | None, generation: int) -> str:
    """What was seen, for a conditional write by that generation, see `lua`."""
    if seen is None:
        return ""
    if seen.generation > generation:
        return _LATER
    mark = "T" if seen.content is None else "L"
    if seen.owner:
        return f"{mark}{seen.version} {seen.generation} {seen.owner}"
    return f"{mark}{seen.version}" if seen.generation == 1 else f"{mark}{seen.version} {seen.generation}"


def _is_unicode(row: Row) -> bool:
    try:
        pack(row)
    except UnicodeEncodeError:
        return False
    return True


def pair(key: RowKey) -> tuple[str, str]:
    if isinstance(key, str) or len(key) != 2:
        raise ValueError("a row of a set is addressed by key and member")
    return key[0], key[1]

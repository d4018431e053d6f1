"""Columns as the scripts of hashes take them: the cells of many rows at once, the same as `Content.cells` writes them
row by row."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from dynaview.projections.columns import Columns
from dynaview.projections.rows import RowKey
from dynaview.sinks.redis.names import companion
from dynaview.sinks.redis.values import Cell, Content, Unstorable

_Cells: TypeAlias = "Sequence[Cell | None]"
_Convert: TypeAlias = Callable[[Sequence[Any]], _Cells]

_HEAD: Final = 4
"""Cells of a row before its names and values: key, version, extra and how many follow, see `lua`."""

_BOOLEANS: Final = {True: "true", False: "false", None: None}

_pack = msgspec.msgpack.Encoder().encode


class HashColumns:
    """Packs the columns of one view of hashes with declared fields."""

    def __init__(self, content: Content) -> None:
        assert content.type == "hash"
        assert content.names is not None
        self._content = content
        self._row: list[Any] = [None, None, 0, 2 * len(content.names)]
        for name in content.names:
            self._row += [name, None]
        by_place = dict(content.plan)
        self._converters = [
            _converter(field_type, by_place.get(2 * at + 1)) for at, field_type in enumerate(content.field_types)
        ]

    def packed(self, columns: Columns, places: Sequence[int]) -> bytes | None:
        """The rows of these places, in ascending order, for one call; None where some cannot be sent, so that each has
        to be looked at."""
        upserts = len(columns.keys)
        cut = bisect_left(places, upserts)
        try:
            cells = self._upserts(columns, places[:cut]) if cut else []
            if cut < len(places):
                cells += self._deletes(columns, [place - upserts for place in places[cut:]])
            return _pack(cells)
        except (Unstorable, UnicodeEncodeError):
            return None

    def _upserts(self, columns: Columns, places: Sequence[int]) -> list[Any]:
        width = len(self._row)
        keys = _picked(columns.keys, places)
        cells = self._row * len(keys)
        cells[0::width] = keys
        cells[1::width] = map(str, _picked(columns.versions, places))
        holes = False
        for at, (convert, column) in enumerate(zip(self._converters, columns.values, strict=False)):
            some = _picked(column, places)
            made = some if convert is None else convert(some)
            holes = holes or _has_holes(made)
            cells[_HEAD + 1 + 2 * at :: width] = made
        if self._content.options.expire_field:
            for row, (key, moment) in enumerate(zip(keys, _picked(columns.values[-1], places), strict=True)):
                ends = self._content.milliseconds(moment)
                if ends is not None:
                    cells[row * width + 2] = _extra(key, deletes=False, ends=ends)
        if _any_named_apart(keys):
            for row, key in enumerate(keys):
                if "}" in key and not cells[row * width + 2]:
                    cells[row * width + 2] = _extra(key, deletes=False, ends=None)
        return _without_holes(cells, width) if holes else cells

    @staticmethod
    def _deletes(columns: Columns, places: Sequence[int]) -> list[Any]:
        keys = _picked(columns.gone, places)
        cells: list[Any] = [None, None, 1, 0] * len(keys)
        cells[0::_HEAD] = keys
        cells[1::_HEAD] = map(str, _picked(columns.gone_versions, places))
        if _any_named_apart(keys):
            for row, key in enumerate(keys):
                if "}" in key:
                    cells[row * _HEAD + 2] = _extra(key, deletes=True, ends=None)
        return cells


def _picked(column: Sequence[Any], places: Sequence[int]) -> Sequence[Any]:
    if isinstance(places, range):
        return column[places.start : places.stop]
    return [column[place] for place in places]


def _any_named_apart(keys: Sequence[RowKey]) -> bool:
    """Whether the companion of some key is not called after it in the usual way."""
    return "}" in "".join(keys)  # type: ignore[arg-type] # those of hashes are text


def _extra(key: Any, *, deletes: bool, ends: int | None) -> tuple[Any, ...]:
    return deletes, False, "", companion(key) if "}" in key else None, ends


def _has_holes(cells: _Cells) -> bool:
    try:
        "".join(cells)  # type: ignore[arg-type] # the fastest way to see that all is text
    except TypeError:
        return None in cells
    return False


def _without_holes(cells: list[Any], width: int) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(cells), width):
        row = cells[start : start + width]
        if None in row:
            there = [cell for at in range(_HEAD, width, 2) if row[at + 1] is not None for cell in row[at : at + 2]]
            found += [*row[: _HEAD - 1], len(there), *there]
        else:
            found += row
    return found


def _converter(field_type: str, convert: Callable[[Any], Cell] | None) -> _Convert | None:
    """What makes a column of cells; None where its values are cells. `convert` makes one."""
    if convert is None:
        return None
    if field_type == "boolean":
        return lambda column: [*map(_BOOLEANS.__getitem__, column)]
    if field_type in ("integer", "bigint", "decimal"):
        return lambda column: _numbers(column, convert)
    return lambda column: _one_by_one(column, convert)


def _numbers(column: Sequence[Any], convert: Callable[[Any], Cell]) -> _Cells:
    """Decimals of rows have the form in which `str` writes them plainly, but for those with an exponent."""
    texts = [*map(str, column)]
    together = "".join(texts)
    return _one_by_one(column, convert) if "E" in together or "N" in together else texts


def _one_by_one(column: Iterable[Any], convert: Callable[[Any], Cell]) -> _Cells:
    return [None if value is None else convert(value) for value in column]

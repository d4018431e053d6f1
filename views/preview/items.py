"""Items in hand: from files as people and AWS's tools write them, and from the table itself."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from dynaview.projections.attributes import Attr, AttributeValueError, attribute, value
from dynaview.projections.compiler.trial import SHAPE
from dynaview.sources.port import Key, ScanFilter, TableReader

STDIN = "-"

LARGEST = 64 * 1024 * 1024
"""Bytes of a file that is one JSON text; a file with one item a line may be of any size."""

PAGES = 16
"""Pages of 1 MB that are read of a table, at the most, in search of items."""

_TYPES = frozenset({"S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"})


class ItemsError(ValueError):
    """Something that was to be an item and is none. Says where, what and what to write."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item. `image` is as `SHAPE` keeps it; None where DynamoDB's answer for it could not be read (`broken` says
    why)."""

    origin: str
    """Where it is from, for people: ``orders.jsonl:3``, ``table shop``."""
    image: dict[str, Attr] | None
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """Items of a table."""

    items: Sequence[Item]
    units: float
    """Read capacity units that it cost."""
    more: bool
    """Whether the table has more."""


def from_file(path: Path) -> Iterator[Item]:
    """The items of a file (``-``: of standard input), as they are read.

    A file holds one item, a list of items, or one a line; plain JSON or DynamoDB JSON, alone or as the AWS tools wrap
    it (``{"Item": …}``, ``{"Items": […]}``, a line of an export). With ``.gz`` at its end it is decompressed.
    Raises `ItemsError`.
    """
    for origin, read in _texts(path):
        yield from _items(origin, read)


def changes_from_file(path: Path) -> Iterator[tuple[Item | None, Item | None]]:
    """The changes of a file: ``{"old": item, "new": item}`` each, either of them null or left out. Raises
    `ItemsError`."""
    for origin, read in _texts(path):
        entries = enumerate(read) if isinstance(read, list) else [(None, read)]
        for index, entry in entries:
            place = origin if index is None else f"{origin}[{index}]"
            if not isinstance(entry, dict) or not entry or not set(entry) <= {"old", "new"}:
                raise ItemsError(f'{place}: a change is {{"old": item or null, "new": item or null}}')
            old, new = (_state(place, entry.get(name)) for name in ("old", "new"))
            if old is None and new is None:
                raise ItemsError(f"{place}: a change has an old item, a new one, or both")
            yield old, new


def written(text: str) -> Item | None:
    """One state of an item as people give it: JSON itself, a file, or ``null`` for none. Raises `ItemsError`."""
    if text.lstrip().startswith("{"):
        found = [*_items("the item given", _json("the item given", text))]
    elif text.strip() in ("null", "none"):
        return None
    else:
        found = [*from_file(Path(text))]
    if len(found) != 1:
        raise ItemsError(f"{text}: one item is wanted, found {len(found)}")
    return found[0]


def of_table(table: TableReader, limit: int, only: ScanFilter | None, segments: int = 1) -> Sample:
    """Up to `limit` items of a table, by as few pages of a scan as it takes, and never more than `PAGES`; from so many
    places of the table at once. Raises `SourceError`."""
    found: list[Item] = []
    spare: list[Item] = []
    units, pages = 0.0, 0
    scans = [table.scan(segment, segments, None, SHAPE, only) for segment in range(segments)]
    origin = f"table {table.name}"
    while scans and len(found) + len(spare) < limit and pages < PAGES:
        share = -(-(limit - len(found) - len(spare)) // len(scans))
        for scan in [*scans]:
            page = next(scan)  # there is always one: the last has no position
            pages += 1
            units += page.consumed
            some = [Item(origin, image) for image in page.images]
            some += [Item(origin, None, broken.reason) for broken in page.broken]
            found += some[:share]
            spare += some[share:]
            if page.position is None:
                scans.remove(scan)
    found += spare
    return Sample(found[:limit], units, bool(scans) or len(found) > limit)


def of_key(table: TableReader, key: Key) -> Item | None:
    """The item under `key`, strongly consistent; None where there is none. Raises `SourceError`."""
    (image,) = table.get([key], SHAPE)
    return None if image is None else Item(f"table {table.name}", image)


def image_of(read: Mapping[str, Any]) -> dict[str, Attr]:
    """An image of an item in DynamoDB JSON or plain JSON; numbers are Decimal or int. Raises ValueError, with what is
    wrong."""
    if read and all(isinstance(each, dict) and len(each) == 1 and set(each) <= _TYPES for each in read.values()):
        try:
            image = msgspec.convert(dict(read), dict[str, Attr])
        except msgspec.ValidationError as error:
            raise ValueError(f"this is not DynamoDB JSON: {error}") from None
    else:
        image = {name: attribute(plain) for name, plain in read.items()}
    for name, attr in image.items():
        try:
            value(attr)
        except (AttributeValueError, UnicodeEncodeError) as error:
            raise ValueError(f"{name}: {error}") from None
    return image


def _texts(path: Path) -> Iterator[tuple[str, Any]]:
    """The JSON texts of a file: all of it, or line by line."""
    name = "standard input" if str(path) == STDIN else str(path)
    try:
        lines = _lines(path)
        number, first = next(((at, line) for at, line in enumerate(lines, 1) if line.strip()), (0, ""))
        if not first:
            raise ItemsError(f"{name}: there is nothing in it: give an item, a list of items, or one item a line")
        if _is_whole(first):
            yield f"{name}:{number}", _json(f"{name}:{number}", first)
            for at, line in enumerate(lines, number + 1):
                if line.strip():
                    yield f"{name}:{at}", _json(f"{name}:{at}", line)
        else:
            yield name, _json(name, _rest(name, first, lines))
    except UnicodeDecodeError:
        raise ItemsError(f"{name}: not a text file in UTF-8") from None
    except (gzip.BadGzipFile, EOFError):
        raise ItemsError(f"{name}: the file is damaged, or not compressed") from None
    except OSError as error:
        raise ItemsError(f"{name}: can't be read: {error.strerror or type(error).__name__}") from None


def _lines(path: Path) -> Iterator[str]:
    if str(path) == STDIN:
        yield from sys.stdin
    elif path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8-sig") as file:
            yield from file
    else:
        with path.open(encoding="utf-8-sig") as file:
            yield from file


def _rest(name: str, first: str, lines: Iterator[str]) -> str:
    parts, size = [first], len(first)
    for line in lines:
        size += len(line)
        if size > LARGEST:
            raise ItemsError(f"{name}: more than {LARGEST // 2**20} MB in one JSON text: write one item a line")
        parts.append(line)
    return "".join(parts)


def _is_whole(line: str) -> bool:
    """Whether a line is a JSON text by itself. (A list's first line is not, unless it is all of it.)"""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _json(origin: str, text: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse)
    except RecursionError:
        raise ItemsError(f"{origin}: nested too deeply") from None
    except json.JSONDecodeError as error:
        place = f" in line {error.lineno}" if error.lineno > 1 else ""
        raise ItemsError(f"{origin}: not JSON: {error.msg}{place}, column {error.colno}") from None
    except ValueError as error:
        raise ItemsError(f"{origin}: {error}") from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _items(origin: str, read: Any) -> Iterator[Item]:
    if isinstance(read, dict) and isinstance(read.get("Items"), list):
        read = read["Items"]
    if isinstance(read, list):
        for index, each in enumerate(read):
            yield _item(f"{origin}[{index}]", each)
    else:
        yield _item(origin, read)


def _state(origin: str, read: Any) -> Item | None:
    return None if read is None else _item(origin, read)


def _item(origin: str, read: Any) -> Item:
    if isinstance(read, dict) and read.keys() == {"Item"}:
        read = read["Item"]
    if not isinstance(read, dict) or not read:
        raise ItemsError(f"{origin}: an item is a JSON object with its attributes")
    try:
        return Item(origin, image_of(read))
    except RecursionError:
        raise ItemsError(f"{origin}: nested too deeply") from None
    except ValueError as error:
        raise ItemsError(f"{origin}: {error}") from None

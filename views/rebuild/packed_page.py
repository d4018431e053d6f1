"""What a page leaves waiting, packed: some hundred bytes a row instead of some thousand.

A rebuild in place can write what it has scanned only seconds later, so the rows that wait set its pace. They are kept
in this process alone and unpacked by it.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from dynaview.projections.attributes import Attr
from dynaview.projections.rows import Write
from dynaview.sinks.port import Stored
from dynaview.sources.port import Broken, ScanPage


class Observed(msgspec.Struct, frozen=True, gc=False):
    """A write that an item of a page asks for, and what stood under its key after the page was read."""

    place: int
    write: Write
    seen: Stored | None


_lines = msgspec.json.Encoder().encode_lines
_key = msgspec.json.Decoder(dict[str, Attr])


@dataclass(frozen=True, slots=True)
class PackedPage:
    """Rows that wait, with the keys and the images of their page."""

    rows: bytes
    keys: bytes
    images: bytes
    broken: list[Broken]

    @classmethod
    def of(cls, page: ScanPage[Any], due: Sequence[Observed]) -> PackedPage:
        """Pack them. What was seen keeps whether it had content, not which."""
        rows = [(looked.place, *_fields(looked.write), _seen(looked.seen)) for looked in due]
        return cls(pickle.dumps(rows, pickle.HIGHEST_PROTOCOL), _lines(page.keys), _lines(page.images), page.broken)

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.rows) + len(self.keys) + len(self.images)

    def due(self) -> list[Observed]:
        """The rows."""
        rows = pickle.loads(self.rows)
        return [
            Observed(place, Write(key, values, version, owner, rule), None if seen is None else Stored(key, *seen))
            for place, key, values, version, owner, rule, seen in rows
        ]

    def page(self) -> ScanPage[Any]:
        """The page again, with images that are JSON as it came."""
        keys = [_key.decode(line) for line in self.keys.splitlines()]
        images = [msgspec.Raw(line) for line in self.images.splitlines()]
        return ScanPage(images, keys, self.broken, None, 0.0)


def _fields(write: Write) -> tuple[Any, ...]:
    return write.key, write.values, write.version, write.owner, write.rule


def _seen(row: Stored | None) -> tuple[int, str, int, bool | None] | None:
    return None if row is None else (row.version, row.owner, row.generation, None if row.content is None else True)

"""Canonical bytes: rows as bytes that are the same only where the rows are, so that millions are compared by their
hashes.

They are made of a row's owner and content. The same bytes mean the same owner and an equal content; equal
contents mostly have one (1.5 and 1.50 do not, nor has what somebody has put in another form). So a row whose canonical
bytes is not the expected one is read, and its content compared.

Stores make canonical bytes of what they send as it comes, without taking it apart. What is here is for rows of which
that cannot be done.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import isfinite
from typing import Any

import msgspec

from dynaview.sinks.port import CanonicalRows, Stored, state_of

PAGE = 1000
"""Rows in a page of `listed`."""

_encode = msgspec.json.Encoder(order="deterministic", decimal_format="number", enc_hook=str).encode


def plain(owner: str, content: Any) -> bytes:
    """The canonical bytes of any content as `Stored` has it."""
    if type(content) is bytes:
        return owned(owner, b"b" + content)
    try:
        encoded = _encode(content)
        if b"null" not in encoded or _finite(content):
            return owned(owner, b"j" + encoded)
    except (TypeError, ValueError, UnicodeEncodeError, OverflowError, RecursionError):
        pass
    return owned(owner, b"r" + repr(content).encode(errors="surrogatepass"))


def _finite(value: Any) -> bool:
    """Whether JSON has all floats in `value`; msgspec writes others as null."""
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    return not isinstance(value, list | tuple) or all(map(_finite, value))


def owned(owner: str, canonical: bytes) -> bytes:
    """The canonical bytes of a row of `owner`, from that of the same row without one, which never begins with a
    digit."""
    return b"%d:%b%b" % (len(owner), owner.encode(errors="surrogatepass"), canonical) if owner else canonical


def listed(rows: Iterator[Stored]) -> Iterator[CanonicalRows]:
    """Pages of plain canonical bytes."""
    while page := [*islice(rows, PAGE)]:
        yield CanonicalRows(
            [row.key for row in page],
            [state_of(row.version, row.generation, row.owner) for row in page],
            [plain(row.owner, row.content) for row in page],
        )

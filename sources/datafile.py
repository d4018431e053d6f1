"""One data file of an export as lines: decompressed piece by piece, and known to be whole only at its end."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator

from dynaview.sources.errors import BadExport
from dynaview.sources.manifest import DataFile
from dynaview.sources.storage import PIECE, Storage

LONGEST = 32 * 1024 * 1024
"""Bytes of a line. An item has at most 400 KB, which as JSON (a list of NULLs is the worst) and with an old image
beside it comes to about 6 MB."""


class _Hashed(io.RawIOBase):
    """Pieces as a stream that also counts the MD5 of what went through."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = memoryview(b"")
        self._md5 = hashlib.md5(usedforsecurity=False)

    @property
    def md5(self) -> str:
        return base64.b64encode(self._md5.digest()).decode()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: any writable buffer; BufferedReader gives a memoryview
        if not self._rest:
            piece = next(self._pieces, b"")
            self._md5.update(piece)
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def lines(storage: Storage, file: DataFile, longest: int = LONGEST) -> Iterator[bytes]:
    """The lines of a data file, without line ends; empty ones do not count.

    Only who reads on to the end knows that they are all: then the file fits its checksum and has as many lines as the
    manifest says. Raises `BadExport`, and whatever the storage raises.
    """
    place = storage.place(file.name)
    raw = _Hashed(storage.pieces(file.name))
    count = 0
    try:
        with (
            gzip.GzipFile(fileobj=io.BufferedReader(raw, PIECE)) as unpacked,
            io.BufferedReader(unpacked, PIECE) as text,
        ):
            while line := text.readline(longest + 1):
                if len(line) > longest:
                    raise BadExport(place, f"holds a line of more than {longest} bytes, which is no item")
                if line := line.strip():
                    count += 1
                    yield line
    except EOFError as error:
        raise BadExport(place, "the file is cut short", _AGAIN) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise BadExport(place, f"the file is damaged, or not compressed ({error})", _AGAIN) from error
    if file.md5 is not None and file.md5 != raw.md5:
        raise BadExport(place, "the file does not fit its checksum", _AGAIN)
    if count != file.items:
        raise BadExport(place, f"the file holds {count} items, its manifest says {file.items}", _AGAIN)


_AGAIN = "copy the file once more from where the export was made"

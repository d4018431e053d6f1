"""Canonical bytes of documents: of what dynaview writes and OpenSearch keeps, all that stands behind the version."""

from __future__ import annotations

from dynaview.projections.rows import Write
from dynaview.sinks.opensearch.values import HEAD, Documents

_OWNED = b'","_o":'


def canonical(documents: Documents, write: Write) -> bytes:
    """What `canonical_of` would cut off the document of an upsert. Raises `Unstorable`."""
    return documents.encode(Write(write.key, write.values, 0, write.owner), _never)[len(HEAD) + 1 :]


def canonical_of(source: bytes) -> tuple[str, bytes] | None:
    """The version of a document as dynaview writes one without an owner, and its canonical bytes: all that stands
    behind the version. None for any other document."""
    end = source.find(b'"', len(HEAD))
    version = source[len(HEAD) : end]
    if not (source.startswith(HEAD) and version.isdigit() and (version == b"0" or version[:1] != b"0")):
        return None
    rest = source[end:]
    return None if rest.startswith(_OWNED) else (version.decode(), rest)


def owned_canonical(source: bytes) -> bytes:
    """The canonical bytes of a document with an owner, or of one that dynaview did not write."""
    return source[source.find(b'"', len(HEAD)) :] if source.startswith(HEAD) else source


def _never() -> int:
    raise AssertionError("an upsert has no time")

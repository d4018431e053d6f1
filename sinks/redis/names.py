"""Names of the keys that dynaview keeps beside its rows, and how a view's keys are found again.

A row's version cannot always stand in the row: a tombstone has no row, a string no room. It then stands in a
*companion*: a key of its own in the same cluster slot, so that one script may touch both. Redis hashes what stands
between the first ``{`` and the first ``}`` after it, or, where that is nothing, the whole key; so the companion of

========================  ============  ====================================================================
a key                     is called     because
========================  ============  ====================================================================
with a hash tag           ``_v:KEY``    the tag stays the first one
without ``}``             ``_v{KEY}``   the tag is the whole key
else (``a}b``, ``{}x``)   ``_v#{N}KEY`` no tag can hold the ``}``: N is a number that hashes to the same slot
========================  ============  ====================================================================

Sets and sorted sets hold many rows in one key: their companion is a hash from member to version, and a tombstone is a
key of its own (``_t`` instead of ``_v``, then the member and its length), because only keys can expire by themselves.

One key more stands beside a view's rows, whatever their type: it holds their highest generation and is called after the
key template, ``_g{customer:*:card}``, because rows stay the same ones when their view is called otherwise.
"""

from __future__ import annotations

import re
from functools import cache

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from dynaview.projections.rows import RowKey

COMPANIONS = "_v[:{#]*"
"""Glob of all companions."""

TOMBSTONES = "_t[:{#]*"
"""Glob of all tombstones of members."""

GENERATIONS = "_g[:{#]*"
"""Glob of the keys of all families."""

_WILD = re.compile(r"\\(.)|(\*)", re.DOTALL)
_OWN = re.compile(r"_[vt](?::(?P<tagged>.*)|\{(?P<plain>[^}]*)\}|#\{\d+\}(?P<odd>.*))", re.DOTALL)
_BESIDE = re.compile(r"_[vtg][:{#]", re.DOTALL)
_TAG = re.compile(r"[^{]*\{[^}]+\}", re.DOTALL)
_GLOB = re.compile(r"([*?\[\]\\^-])")


def companion(key: str, prefix: str = "_v") -> str:
    """The name of the key that holds the version of the row under `key`. Different keys have different companions."""
    if "}" not in key:
        return f"{prefix}{{{key}}}"
    if _TAG.match(key):
        return f"{prefix}:{key}"
    return f"{prefix}#{{{_numbers()[key_slot(key.encode())]}}}{key}"


def name_of(key: RowKey) -> str:
    """The name of the key under which a row stands: of a set, without the member."""
    return key if isinstance(key, str) else key[0]


def tombstone(key: str, member: str) -> str:
    """The name of the tombstone of `member` in the set under `key`."""
    return f"{companion(key, '_t')}{member}:{len(member.encode())}"


def is_beside(key: str) -> bool:
    """Whether `key` is called like a companion, tombstone or view's generation and so is nobody's row."""
    return _BESIDE.match(key) is not None


def row_of(name: str) -> str | None:
    """The row's key of a companion, or None where `name` is not one."""
    found = _OWN.fullmatch(name)
    if found is None:
        return None
    key: str | None = found["tagged"] or found["plain"] or found["odd"]
    return key if key and companion(key) == name else None


def member_of(name: str) -> tuple[str, str] | None:
    """The (key, member) of a member's tombstone, or None where `name` is not one."""
    start, _, length = name.rpartition(":")
    if not length.isdecimal():
        return None
    raw = start.encode()
    cut = len(raw) - int(length)
    if cut < 0:
        return None
    key = row_of("_v" + raw[2:cut].decode(errors="replace"))
    member = raw[cut:].decode(errors="replace")
    return (key, member) if key is not None and tombstone(key, member) == name else None


class Family:
    """The keys that one key template can make: literal texts with anything between them."""

    def __init__(self, literals: tuple[str, ...]) -> None:
        self.literals = literals
        self.glob = "*".join(_GLOB.sub(r"\\\1", text) for text in literals)
        """For ``SCAN … MATCH``."""
        self._pattern = re.compile(".*".join(map(re.escape, literals)), re.DOTALL)

    def __contains__(self, key: str) -> bool:
        return self._pattern.fullmatch(key) is not None


def highest(family: Family) -> str:
    """The name of the key that holds the highest generation of a family's rows. Different families have different
    ones."""
    return companion(family.glob, "_g")


def family_of(name: str) -> tuple[str, ...] | None:
    """The literals of the template whose highest generation stands in the key `name`; None where it is no such key."""
    glob = row_of(f"_v{name[2:]}") if name.startswith("_g") else None
    if glob is None:
        return None
    # Escaped characters stand for themselves; a * that is not escaped, for anything.
    marked = _WILD.sub(lambda found: found[1] if found[1] is not None else "\0", glob)
    return tuple(marked.split("\0"))


@cache
def _numbers() -> dict[int, int]:
    """For every cluster slot a number whose text hashes to it."""
    numbers: dict[int, int] = {}
    number = 0
    while len(numbers) < REDIS_CLUSTER_HASH_SLOTS:
        numbers.setdefault(key_slot(str(number).encode()), number)
        number += 1
    return numbers

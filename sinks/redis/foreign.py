"""What stands under a view's key template and was not put there by dynaview: found, and removed on request.

A key is dynaview's own where a version stands in it or beside it, as the guard sees it (`guard`): a hash with a version
in its field ``_v``, a string with a live companion, a set with a companion hash, of which each member is ours that has
a version there. So a string or a member whose companion was evicted or removed by hand counts as foreign, and a key
into which somebody wrote a version in dynaview's form does not. Names that are no UTF-8, and names of the keys that
dynaview keeps beside rows, are never listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from dynaview.projections.rows import RowKey
from dynaview.sinks.port import Foreign
from dynaview.sinks.redis import lua
from dynaview.sinks.redis.client import Link
from dynaview.sinks.redis.names import companion, name_of
from dynaview.sinks.redis.scan import Scan

NAMES_A_CALL = 250
"""Keys or members that one script call looks at."""

_LOOK = (
    lua.PRELUDE
    + r"""
-- [type, remove, rows]; a row is [key, companion] or [key, companion, member]. Answers for each row the type of the
-- key where it is foreign, a member's as "member", and nothing otherwise.
local kind, remove, rows = unpack(cmsgpack.unpack(ARGV[1]), 1, 3)

local function is_ours(key, name)
  if kind == 'hash' then
    local held = call('HGET', key, '_v')
    return held and string.match(held, '^%d')
  elseif kind == 'string' then
    local mark = companion_at(name)
    return mark == 'L' or mark == 'E'
  end
  return call('TYPE', name).ok == 'hash'
end

local function has(key, member)
  if kind == 'zset' then return call('ZSCORE', key, member) end
  return call('SISMEMBER', key, member) == 1
end

local reply = {}
for i = 1, #rows do
  local key, name, member = unpack(rows[i], 1, 3)
  local found, stands = '', call('TYPE', key).ok
  if member then
    if stands == kind and has(key, member) and not typed(try('HGET', name, member)) then
      found = 'member'
      if remove then call(kind == 'zset' and 'ZREM' or 'SREM', key, member) end
    end
  elseif stands ~= 'none' and (stands ~= kind or not is_ours(key, name)) then
    found = stands
    if remove then call('DEL', key) end
  end
  reply[i] = found
end
return reply
"""
)

_CALLED = {"zset": "a sorted set", "member": "a member without a version"}

_pack = msgspec.msgpack.Encoder().encode


class Foreigners:
    """One view's. `kind` is the Redis type of its keys: ``hash``, ``string``, ``set`` or ``zset``."""

    def __init__(self, link: Link, scan: Scan, kind: str) -> None:
        self._link = link
        self._scan = scan
        self._kind = kind
        self._members = kind in ("set", "zset")

    def pages(self) -> Iterator[tuple[int, list[Foreign]]]:
        """By pages of SCAN: how many keys were looked at, and what is foreign of them and in them."""
        for keys in self._scan.keys(None):
            found = self._look(keys, remove=False)
            yield len(keys), [one for one in found if one is not None]
            if self._members:
                for key in (key for key, one in zip(keys, found, strict=True) if one is None):
                    for members in self._scan.members(key, self._kind):
                        pairs = [(key, member) for member in members]
                        yield 0, [one for one in self._look(pairs, remove=False) if one is not None]

    def remove(self, keys: Sequence[RowKey]) -> int:
        """Remove what of `keys` is foreign still; how many were."""
        return sum(one is not None for one in self._look(keys, remove=True))

    def _look(self, keys: Sequence[RowKey], remove: bool) -> list[Foreign | None]:
        found: list[Foreign | None] = [None] * len(keys)
        groups = list(self._link.groups([name_of(key) for key in keys], NAMES_A_CALL))
        calls = (
            (name_of(keys[group[0]]), (_pack([self._kind, remove, [_addressed(keys[place]) for place in group]]),))
            for group in groups
        )
        for group, types in zip(groups, self._link.run(_LOOK, calls), strict=True):
            for place, type in zip(group, types, strict=True):
                if type:
                    found[place] = Foreign(keys[place], self._called(type.decode()))
        return found

    def _called(self, type: str) -> str:
        if type == self._kind:
            return f"a {_CALLED.get(type, type).removeprefix('a ')} without a version"
        return _CALLED.get(type, f"a {type}")


def _addressed(key: RowKey) -> tuple[Any, ...]:
    if isinstance(key, str):
        return key, companion(key)
    name, member = key
    return name, companion(name), member

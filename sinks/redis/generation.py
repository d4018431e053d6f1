"""The highest generation of a view that was prepared in this database, in a key beside the view's rows.

Rows say which generation wrote them, but to find the highest all of them would have to be read. The key is called as
`names.highest` says and holds the number and the view's name as text. Only what looks like that is taken for ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import redis

from dynaview.sinks.port import SinkRefused
from dynaview.sinks.redis import lua
from dynaview.sinks.redis.client import Link
from dynaview.sinks.redis.names import GENERATIONS, Family, highest

_VALUE = re.compile(rb"(\d{1,18})(?: (.*))?", re.DOTALL)

_HELD = (
    lua.PRELUDE
    + r"""
local name, generation, view = ARGV[1], ARGV[2], ARGV[3]

-- The number and the view; false where there is none, nil where the key is not ours.
local function number()
  local text = typed(try('GET', name))
  if not text then return text end
  local digits, of = string.match(text, '^(%d+) (.*)$')
  digits, of = digits or string.match(text, '^%d+$'), of or ''
  if digits and #digits > 18 then return nil end
  return digits, of
end

local held, of = number()
"""
)

_LOOK = _HELD + "return { held == nil and 1 or 0, held or '0' }"

_LIFT = (
    _HELD
    + r"""
if held == nil then return 0 end
if held and (#held > #generation or (#held == #generation and held > generation)) then generation = held end
if held ~= generation or of ~= view then call('SET', name, generation .. ' ' .. view) end
return 1
"""
)

_FORGET = _HELD + "if held == generation then call('DEL', name) end"


def lift(link: Link, family: Family, generation: int, view: str) -> None:
    """Remember that `generation` of `view` was prepared; an earlier one changes no number. Atomic. Raises `SinkError`,
    that is `SinkRefused` where the key is not ours."""
    if not link.ask(_LIFT, highest(family), *_arguments(family, generation, view)):
        raise SinkRefused(taken(family))


def forget(link: Link, family: Family, generation: int) -> None:
    """Remove the key where it holds `generation`. Atomic. Raises `SinkError`."""
    link.ask(_FORGET, highest(family), *_arguments(family, generation))


def look(link: Link, family: Family) -> int | None:
    """The number that the key holds, 0 where there is no key, None where it is not ours. Raises `SinkError`."""
    foreign, held = link.ask(_LOOK, highest(family), *_arguments(family, 0))
    return None if foreign else int(held)


def names(link: Link) -> Iterator[str]:
    """The keys of all families in the database, by SCAN. Raises `SinkError`."""
    for server in link.everywhere():
        cursor = None
        while cursor != 0:
            cursor, found = server.call(partial(_scan, cursor or 0))
            for name in found:
                try:
                    yield name.decode()
                except UnicodeDecodeError:
                    continue


def _scan(cursor: int, client: redis.Redis) -> Any:
    return client.scan(cursor, match=GENERATIONS, count=5000, _type="string")


def read(link: Link, name: str) -> tuple[int, str] | None:
    """The number and the view that such a key holds; None where it is gone or not ours. Raises `SinkError`."""
    found = _VALUE.fullmatch(link.of(name).call(lambda client: client.get(name)) or b"")
    return None if found is None else (int(found[1]), (found[2] or b"").decode(errors="replace"))


def taken(family: Family) -> str:
    """What is wrong where the key is not ours."""
    name = highest(family)
    return f"key {name} was not created by dynaview, which keeps the generation of a view's keys there: remove it"


def _arguments(family: Family, generation: int, view: str = "") -> tuple[bytes, ...]:
    return highest(family).encode(), str(generation).encode(), view.encode()

"""The highest generation of a view that was prepared in this database, in a key beside the view's rows.

Rows say which generation wrote them, but to find the highest all of them would have to be read. The key is called as
`names.highest` says and holds the number as text. Only what looks like that is taken for ours.
"""

from __future__ import annotations

from dynaview.sinks.port import SinkRefused
from dynaview.sinks.redis import lua
from dynaview.sinks.redis.client import Link
from dynaview.sinks.redis.names import Family, highest

_HELD = (
    lua.PRELUDE
    + r"""
local name, generation = ARGV[1], ARGV[2]

-- The number; false where there is none, nil where the key is not ours.
local function number()
  local text = typed(try('GET', name))
  if text and (#text > 18 or not string.find(text, '^%d+$')) then return nil end
  return text
end

local held = number()
"""
)

_LOOK = _HELD + "return { held == nil and 1 or 0, held or '0' }"

_LIFT = (
    _HELD
    + r"""
if held == nil then return 0 end
if not held or #held < #generation or (#held == #generation and held < generation) then
  call('SET', name, generation)
end
return 1
"""
)

_FORGET = _HELD + "if held == generation then call('DEL', name) end"


def lift(link: Link, family: Family, generation: int) -> None:
    """Remember that `generation` was prepared; an earlier one changes nothing. Atomic. Raises `SinkError`, that is
    `SinkRefused` where the key is not ours."""
    (ours,) = link.run(_LIFT, [_arguments(family, generation)])
    if not ours:
        raise SinkRefused(taken(family))


def forget(link: Link, family: Family, generation: int) -> None:
    """Remove the key where it holds `generation`. Atomic. Raises `SinkError`."""
    for _ in link.run(_FORGET, [_arguments(family, generation)]):
        pass


def look(link: Link, family: Family) -> int | None:
    """The number that the key holds, 0 where there is no key, None where it is not ours. Raises `SinkError`."""
    ((foreign, held),) = link.run(_LOOK, [_arguments(family, 0)])
    return None if foreign else int(held)


def taken(family: Family) -> str:
    """What is wrong where the key is not ours."""
    name = highest(family)
    return f"key {name} was not created by dynaview, which keeps the generation of a view's keys there: remove it"


def _arguments(family: Family, generation: int) -> tuple[bytes, ...]:
    return highest(family).encode(), str(generation).encode()

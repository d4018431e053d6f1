"""Lua scripts that look at rows, and that forget them.

`READ_*` take ``[with values, rows]`` where a row is ``[key, companion, member]``, and answer an array a row: nothing,
or the version, generation and owner, then, where the row is live, its content.
"""

from __future__ import annotations

from dynaview.sinks.redis import lua

_READ = r"""
local full, rows = unpack(cmsgpack.unpack(ARGV[1]), 1, 2)
local reply = {}
for i = 1, #rows do
  local key, companion, member = unpack(rows[i], 1, 3)
  companion = companion or '_v{' .. key .. '}'
"""

_FOUND = r"""
  if held then
    local version, generation, owner = split(held)
    if live then
      reply[i] = { version, generation, owner, content }
    else
      reply[i] = { version, generation, owner }
    end
  else
    reply[i] = {}
  end
end
return reply
"""

READ_HASH = (
    lua.PRELUDE
    + _READ
    + r"""
  local held, content, mark = typed(try('HGET', key, '_v')), '', nil
  local live = held and string.match(held, '^%d')
  if not live then
    mark, held = companion_at(companion)
  elseif full then
    content = call('HGETALL', key)
  end
"""
    + _FOUND
)

READ_STRING = (
    lua.PRELUDE
    + _READ
    + r"""
  local mark, held = companion_at(companion)
  local content = typed(try('GET', key))
  local live = content and (mark == 'L' or mark == 'E')
  if mark == 'L' and not live then held = nil end
  if not full then content = '' end
"""
    + _FOUND
)


def _read_members(sorted_set: bool) -> str:
    return (
        lua.PRELUDE
        + f"local sorted = {str(sorted_set).lower()}\n"
        + lua.MEMBERS
        + _READ
        + r"""
  local tomb, mark
  companion, tomb = names_of(key, companion, member)
  local held = typed(try('HGET', companion, member))
  local live = held and is_member(key, member)
  local content = ''
  if not live then
    mark, held = companion_at(tomb)
  elseif sorted then
    content = call('ZSCORE', key, member)
  end
"""
        + _FOUND
    )


READ_SET = _read_members(sorted_set=False)
READ_SORTED_SET = _read_members(sorted_set=True)

FORGET = (
    lua.PRELUDE
    + r"""
-- [generation, names]: removes what that generation left: a row's hash (["H", key]), a companion and the string beside
-- it (["C", companion, key]), a member's tombstone (["C", tombstone]), a member (["M", key, companion, member]).
local generation, names = unpack(cmsgpack.unpack(ARGV[1]), 1, 2)
local removed = 0

local function ours(state)
  if not state then return false end
  local _, held = split(state)
  return held == generation
end

for i = 1, #names do
  local kind, name, other, member = unpack(names[i], 1, 4)
  if kind == 'H' then
    if ours(typed(try('HGET', name, '_v'))) then removed = removed + call('DEL', name) end
  elseif kind == 'C' then
    local mark, state = companion_at(name)
    if mark and ours(state) then
      if other and mark ~= 'T' and call('TYPE', other).ok == 'string' then call('DEL', other) end
      removed = removed + call('DEL', name)
    end
  elseif ours(typed(try('HGET', other, member))) then
    local type = call('TYPE', name).ok
    if type == 'zset' then call('ZREM', name, member) elseif type == 'set' then call('SREM', name, member) end
    removed = removed + call('HDEL', other, member)
  end
end
return removed
"""
)

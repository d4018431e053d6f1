"""Lua scripts that look at rows, and that forget them.

`READ_*` take ``[with values, rows]`` where a row is ``[key, companion, member]``, and answer an array a row: nothing,
or the version, generation and owner, then, where the row is live, its content.

`LIST_HASH` takes a cursor of SCAN and ``[glob, count, names]``, and answers the next cursor and then three texts a live
row: its key, its state, and the MessagePack array of an empty text and the fields of these names (false for one that is
missing); an empty text instead where the hash has other fields than these.

`COUNT_HASH` takes a cursor of SCAN and ``[glob, count, generation]``, and answers the next cursor, how many live rows
the page has, and then key and state of each that an earlier generation wrote.
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

LIST_HASH = (
    lua.PRELUDE
    + r"""
local glob, count, names = unpack(cmsgpack.unpack(ARGV[2]), 1, 3)
local page = call('SCAN', ARGV[1], 'MATCH', glob, 'COUNT', count, 'TYPE', 'hash')
local reply, n, whole = { page[1] }, 1, #names + 1
local match, pack = string.match, cmsgpack.pack
for _, key in ipairs(page[2]) do
  local cells = typed(try('HMGET', key, '_v', unpack(names)))
  local held = cells and cells[1]
  if held and match(held, '^%d') then
    local there = whole
    for i = 2, whole do
      if not cells[i] then there = there - 1 end
    end
    local content = ''
    if call('HLEN', key) == there then
      cells[1] = ''
      content = pack(cells)
    end
    reply[n + 1], reply[n + 2], reply[n + 3] = key, held, content
    n = n + 3
  end
end
return reply
"""
)

COUNT_HASH = (
    lua.PRELUDE
    + r"""
local glob, count, generation = unpack(cmsgpack.unpack(ARGV[2]), 1, 3)
local page = call('SCAN', ARGV[1], 'MATCH', glob, 'COUNT', count, 'TYPE', 'hash')
local reply, n, live = { page[1] }, 2, 0
local match = string.match
for _, key in ipairs(page[2]) do
  local held = not match(key, '^_[vtg][:{#]') and typed(try('HGET', key, '_v'))
  if held and match(held, '^%d') then
    live = live + 1
    local _, written = split(held)
    if tonumber(written) < generation then
      reply[n + 1], reply[n + 2] = key, held
      n = n + 2
    end
  end
end
reply[2] = live
return reply
"""
)

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

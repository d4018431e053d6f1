"""The guard of Redis: Lua scripts that decide on and write many rows in one call.

Scripts take MessagePack arrays as arguments, and no declared keys. The rows of a call follow each other in one flat
array, from which Lua reads value by value, because tables cost more than the writes: ``key, version, extra, count`` and
then `count` cells: of a hash its names and values in turns, of a string its text, of a set the member, of a sorted set
member and score. `extra` is 0 for an ordinary upsert, 1 for an ordinary delete, and ``[deletes, absent, owner,
companion, expires at]`` otherwise (companion: where it is not ``_v{key}``; milliseconds since 1970).

A row's *state* is the text ``version``, ``version generation`` or ``version generation owner``; generation 1 is left
out where it can be. Versions are compared by length, then byte by byte, never as Lua numbers, which are doubles.

A companion holds its state behind a mark: ``L`` a live row, ``E`` a row that expires (after that it is a tombstone),
``T`` a tombstone. `WRITE_*` answer an array: first one letter a row, then the owners met, one for each ``O``:

- ``A`` applied, ``S`` stale
- ``O`` the live row belongs to another item
- ``T`` taken: what stands there was not made by dynaview, and stays as it is

Scripts read before they write, write the row before its companion, and let errors of the store end them: sending the
batch again then completes it.
"""

from __future__ import annotations

TOMBSTONE_HOURS = 25

_PRELUDE = (
    """
local call, try = redis.call, redis.pcall
local TOMBSTONE = """
    + str(TOMBSTONE_HOURS * 3600 * 1000)
    + r"""

-- The answer, or nil where another type stands there. Any other error ends the script.
local function typed(answer)
  if type(answer) == 'table' and answer.err then
    if string.sub(answer.err, 1, 9) ~= 'WRONGTYPE' then error(answer) end
    return nil
  end
  return answer
end

local function split(state)
  local version, generation, owner = string.match(state, '^(%d+) ?(%d*) ?(.*)$')
  if generation == '' then generation = '1' end
  return version, generation, owner
end

-- Mark and state of a companion; false where there is none, nil where the key is not ours.
local function companion_at(name)
  local text = typed(try('GET', name))
  if not text then return text end
  local mark, state = string.match(text, '^([LET])(%d.*)$')
  return mark, state
end
"""
)

_GUARD = r"""
local generation, lasts, expiring, complete = unpack(cmsgpack.unpack(ARGV[1]), 1, 4)
local rows, at_cell = ARGV[2], ({ [220] = 3, [221] = 5 })[string.byte(ARGV[2])] or 1
local codes, reply, taken = {}, {''}, 0
local unpack_limit = cmsgpack.unpack_limit

local function moved(to, ...)
  at_cell = to
  return ...
end

-- The next `n` values of `rows`.
local function take(n)
  taken = taken + n
  return moved(unpack_limit(rows, n, at_cell))
end

local function compare(a, b)
  if a == b then return 0 end
  if #a ~= #b then return #a < #b and -1 or 1 end
  return a < b and -1 or 1
end

-- The letter for a write, and the owner it met.
local function verdict(held, live, version, owner, deletes, absent)
  if not held then return 'A' end
  if owner == '' and not absent and generation == '1' and not string.find(held, ' ', 1, true) then
    if #version ~= #held then return #version > #held and 'A' or 'S' end
    return version > held and 'A' or 'S'
  end
  local held_version, held_generation, held_owner = split(held)
  if not held_version then return 'T' end
  if owner ~= '' and owner ~= held_owner then
    if live then
      if deletes then return 'S' end
      return 'O', held_owner
    end
    if deletes or absent then return 'S' end
    return 'A'
  end
  if absent then return 'S' end
  local by_version, by_generation = compare(version, held_version), compare(generation, held_generation)
  if by_version < 0 or by_generation < 0 or by_version + by_generation == 0 then return 'S' end
  return 'A'
end

local function state_of(version, owner)
  if owner ~= '' then return version .. ' ' .. generation .. ' ' .. owner end
  if generation ~= '1' then return version .. ' ' .. generation end
  return version
end

local now
-- Milliseconds that the row has left to live; nil for ever.
local function left_of(at)
  if lasts > 0 then return lasts end
  if not at then return nil end
  if not now then
    local time = call('TIME')
    now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  end
  return at - now
end

local function bury(name, state)
  call('SET', name, 'T' .. state, 'PX', TOMBSTONE)
end

-- A row that expires leaves its version behind for as long as a tombstone.
local function leave(name, state, left)
  call('SET', name, 'E' .. state, 'PX', math.max(left, 0) + TOMBSTONE)
end
"""

_EACH = r"""
local i = 0
while at_cell ~= -1 do
  local key, version, extra, count = take(4)
  i, taken = i + 1, 0
"""

_EXTRA = r"""
  local deletes, absent, owner, companion, at = extra == 1, false, '', nil, nil
  if type(extra) == 'table' then deletes, absent, owner, companion, at = unpack(extra, 1, 5) end
"""

_ANSWER = r"""
  if taken < count then take(count - taken) end
  codes[i] = code
  if met then reply[#reply + 1] = met end
end
reply[1] = table.concat(codes)
return reply
"""

WRITE_HASH = (
    _PRELUDE
    + _GUARD
    + r"""
-- Rows of the first generation that neither expire nor name an owner: their states are plain versions.
local plain = generation == '1' and not expiring
local filling = false
local find = string.find

local function put(key, state, count)
  if count == 0 then
    call('HSET', key, '_v', state)
    return
  end
  call('HSET', key, '_v', state, take(math.min(count, 4000)))
  while taken < count do call('HSET', key, take(math.min(count - taken, 4000))) end
end

-- Remove the fields that the row no longer has.
local function tidy(key, count, at)
  if call('HLEN', key) * 2 == count + 2 then return end
  local kept = { _v = true }
  for _ = 1, count, 2 do
    local field
    at, field = unpack_limit(rows, 2, at)
    kept[field] = true
  end
  for _, field in ipairs(call('HKEYS', key)) do
    if not kept[field] then call('HDEL', key, field) end
  end
end

-- The whole guard, for every kind of write.
local function guarded(held, key, version, extra, count)
  local at_first = at_cell
"""
    + _EXTRA
    + r"""
  companion = companion or '_v{' .. key .. '}'
  local live, foreign, mark = true, false, false
  if not held or not find(held, '^%d') then
    live, held = false, false
    if call('EXISTS', key, companion) > 0 then
      foreign = call('EXISTS', key) == 1
      mark, held = companion_at(companion)
      if mark == nil then return 'T' end
    end
  end
  if foreign and not deletes then return 'T' end
  local code, met = verdict(held, live, version, owner, deletes, absent)
  if code ~= 'A' then return code, met end
  local state = state_of(version, owner)
  if deletes then
    bury(companion, state)
    if live then call('DEL', key) end
    return code
  end
  local left = left_of(at)
  if left and left <= 0 then
    if live then call('DEL', key) end
    leave(companion, state, left)
    return code
  end
  put(key, state, count)
  if live then
    tidy(key, count, at_first)
    if not left then call('PERSIST', key) end
  end
  if left then
    call('PEXPIRE', key, left)
    leave(companion, state, left)
  elseif mark or live then
    call('DEL', companion)
  end
  return code
end
"""
    + _EACH
    + r"""
  local code, met
  local held = nil
  if plain and extra == 0 then
    -- The same decisions in line, for the writes that come by the thousand. New rows come together, as updates do: the
    -- first question is the one that settled the row before.
    if filling and call('EXISTS', key, '_v{' .. key .. '}') > 0 then filling = false end
    if not filling then
      held = try('HGET', key, '_v')
      filling = held == false and call('EXISTS', key, '_v{' .. key .. '}') == 0
    end
    if filling then
      put(key, version, count)
      code = 'A'
    elseif type(held) == 'string' and not find(held, '[^0-9]') then
      local longer = #version - #held
      if longer > 0 or (longer == 0 and version > held) then
        local at_first = at_cell
        put(key, version, count)
        if count < complete then tidy(key, count, at_first) end
        code = 'A'
      else
        code = 'S'
      end
    end
  else
    held = try('HGET', key, '_v')
  end
  if not code then code, met = guarded(typed(held), key, version, extra, count) end
"""
    + _ANSWER
)

WRITE_STRING = (
    _PRELUDE
    + _GUARD
    + _EACH
    + _EXTRA
    + r"""
  companion = companion or '_v{' .. key .. '}'
  local mark, held = companion_at(companion)
  local kind = call('TYPE', key).ok
  local live = kind == 'string' and (mark == 'L' or mark == 'E')
  local foreign = kind ~= 'none' and not live
  if kind == 'none' and mark == 'L' then held = nil end
  local code, met
  if mark == nil then
    code = 'T'
  else
    code, met = verdict(held, live, version, owner, deletes, absent)
    if foreign and not deletes then code, met = 'T', nil end
  end
  if code == 'A' then
    local state = state_of(version, owner)
    local left = nil
    if not deletes then left = left_of(at) end
    if deletes then
      bury(companion, state)
      if live then call('DEL', key) end
    elseif left and left <= 0 then
      if live then call('DEL', key) end
      leave(companion, state, left)
    elseif left then
      call('SET', key, (take(1)), 'PX', left)
      leave(companion, state, left)
    else
      call('SET', key, (take(1)))
      call('SET', companion, 'L' .. state)
    end
  end
"""
    + _ANSWER
)

_MEMBERS = r"""
-- Whether `member` is in the set; nil where another type stands there.
local function is_member(key, member)
  local answer = typed(try(sorted and 'ZSCORE' or 'SISMEMBER', key, member))
  if answer == nil then return nil end
  return answer and answer ~= 0
end

local function names_of(key, companion, member)
  companion = companion or '_v{' .. key .. '}'
  return companion, '_t' .. string.sub(companion, 3) .. member .. ':' .. #member
end
"""


def _write_members(sorted_set: bool) -> str:
    return (
        _PRELUDE
        + _GUARD
        + f"local sorted = {str(sorted_set).lower()}\n"
        + _MEMBERS
        + _EACH
        + _EXTRA
        + r"""
  local member, tomb = take(1), nil
  companion, tomb = names_of(key, companion, member)
  local held, inside = typed(try('HGET', companion, member)), is_member(key, member)
  local live, foreign, mark = held and inside, inside == nil, false
  if held == nil then
    mark = nil
  elseif not live then
    mark, held = companion_at(tomb)
    foreign = foreign or inside or (call('EXISTS', companion) == 0 and call('EXISTS', key) == 1)
  end
  local code, met
  if mark == nil then
    code = 'T'
  else
    code, met = verdict(held, live, version, owner, deletes, absent)
    if foreign and not deletes then code, met = 'T', nil end
  end
  if code == 'A' then
    local state = state_of(version, owner)
    if deletes then
      bury(tomb, state)
      if live then
        call(sorted and 'ZREM' or 'SREM', key, member)
        call('HDEL', companion, member)
      end
    else
      if sorted then
        call('ZADD', key, (take(1)), member)
      else
        call('SADD', key, member)
      end
      call('HSET', companion, member, state)
      if mark then call('DEL', tomb) end
    end
  end
"""
        + _ANSWER
    )


WRITE_SET = _write_members(sorted_set=False)
WRITE_SORTED_SET = _write_members(sorted_set=True)

# Reading: [with values, rows] where a row is [key, companion, member]. Answers an array a row: nothing, or the version,
# generation and owner, then, where the row is live, its content.

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
    _PRELUDE
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
    _PRELUDE
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
        _PRELUDE
        + f"local sorted = {str(sorted_set).lower()}\n"
        + _MEMBERS
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
    _PRELUDE
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

"""The guard of Redis, and what else its Lua scripts share; `scripts` and `lookups` are made of these parts.

Scripts take MessagePack arrays as arguments, and no declared keys. The rows of a call follow each other in one flat
array, from which Lua reads value by value, because tables cost more than the writes: ``key, version, extra, count`` and
then `count` cells: of a hash its names and values in turns, of a string its text, of a set the member, of a sorted set
member and score. `extra` is 0 for an ordinary upsert, 1 for an ordinary delete, and ``[deletes, absent, owner,
companion, expires at]`` otherwise (companion: where it is not ``_v{key}``; milliseconds since 1970).

A row's *state* is the text ``version``, ``version generation`` or ``version generation owner``; generation 1 is left
out where it can be. Versions are compared by length, then byte by byte, never as Lua numbers, which are doubles.

A companion holds its state behind a mark: ``L`` a live row, ``E`` a row that expires (after that it is a tombstone),
``T`` a tombstone. `CONDITIONAL_*` write a row only where it stands as it was *seen*: nothing (empty), or ``L`` or
``T``, live or not, and its state. There `version` is the one that the row is to have, and `extra` what was seen, or
``[deletes, owner, companion, expires at, seen]``.

`WRITE_*` and `CONDITIONAL_*` answer an array: first one letter a row, then the owners met, one for each ``O``:

- ``A`` applied, ``S`` stale
- ``O`` the live row belongs to another item
- ``T`` taken: what stands there was not made by dynaview, and stays as it is

Scripts read before they write, write the row before its companion, and let errors of the store end them: sending the
batch again then completes it.
"""

from __future__ import annotations

TOMBSTONE_HOURS = 25

PRELUDE = (
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

ROWS = r"""
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

-- Let a live row expire: at its own moment to the millisecond, or a while after it was written.
local function expire(key, at, left)
  if lasts > 0 then call('PEXPIRE', key, left) else call('PEXPIREAT', key, string.format('%.0f', at)) end
end

local function bury(name, state)
  call('SET', name, 'T' .. state, 'PX', TOMBSTONE)
end

-- A row that expires leaves its version behind for as long as a tombstone.
local function leave(name, state, left)
  call('SET', name, 'E' .. state, 'PX', math.max(left, 0) + TOMBSTONE)
end
"""

GUARD = r"""
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
    if deletes or absent or compare(generation, held_generation) < 0 then return 'S' end
    return 'A'
  end
  if absent then return 'S' end
  local by_version, by_generation = compare(version, held_version), compare(generation, held_generation)
  if by_version < 0 or by_generation < 0 or by_version + by_generation == 0 then return 'S' end
  return 'A'
end
"""

FITS = r"""
-- A state as it is written, where a hand has written it in another way.
local function plainly(state)
  local version, generation, owner = split(state)
  if not version then return state end
  version = string.gsub(version, '^0+(%d)', '%1')
  if owner ~= '' then return version .. ' ' .. generation .. ' ' .. owner end
  return generation ~= '1' and version .. ' ' .. generation or version
end

-- The letter for a conditional write: whether what stands is what was seen.
local function fits(seen, held, live, foreign)
  if not held then
    if seen ~= '' then return 'S' end
  elseif string.sub(seen, 1, 1) ~= (live and 'L' or 'T') then
    return 'S'
  else
    local state = string.sub(seen, 2)
    if state ~= held and state ~= plainly(held) then return 'S' end
  end
  return foreign and 'T' or 'A'
end
"""

EACH = r"""
local i = 0
while at_cell ~= -1 do
  local key, version, extra, count = take(4)
  i, taken = i + 1, 0
"""

EXTRA = r"""
  local deletes, absent, owner, companion, at = extra == 1, false, '', nil, nil
  if type(extra) == 'table' then deletes, absent, owner, companion, at = unpack(extra, 1, 5) end
"""

CONDITIONAL_EXTRA = r"""
  local deletes, owner, companion, at, seen = false, '', nil, nil, extra
  if type(extra) == 'table' then deletes, owner, companion, at, seen = unpack(extra, 1, 5) end
"""

ANSWER = r"""
  if taken < count then take(count - taken) end
  codes[i] = code
  if met then reply[#reply + 1] = met end
end
reply[1] = table.concat(codes)
return reply
"""

MEMBERS = r"""
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

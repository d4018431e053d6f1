"""Lua scripts that decide on and write many rows in one call, by type of row; `lua` says what they take and answer."""

from __future__ import annotations

from dynaview.sinks.redis import lua

_HASH = r"""
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
"""

_HASH_LOOK = r"""
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
"""

_HASH_PUT = r"""
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
    expire(key, at, left)
    leave(companion, state, left)
  elseif mark or live then
    call('DEL', companion)
  end
  return code
end
"""

WRITE_HASH = (
    lua.PRELUDE
    + lua.ROWS
    + lua.GUARD
    + _HASH
    + r"""
-- Rows of the first generation that neither expire nor name an owner: their states are plain versions.
local plain = generation == '1' and not expiring
local filling = false

-- The whole guard, for every kind of write.
local function guarded(held, key, version, extra, count)
  local at_first = at_cell
"""
    + lua.EXTRA
    + _HASH_LOOK
    + r"""
  if foreign and not deletes then return 'T' end
  local code, met = verdict(held, live, version, owner, deletes, absent)
  if code ~= 'A' then return code, met end
"""
    + _HASH_PUT
    + lua.EACH
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
    + lua.ANSWER
)

CONDITIONAL_HASH = (
    lua.PRELUDE
    + lua.ROWS
    + lua.FITS
    + _HASH
    + r"""
local function conditional(held, key, version, extra, count)
  local at_first = at_cell
"""
    + lua.CONDITIONAL_EXTRA
    + _HASH_LOOK
    + r"""
  local code = fits(seen, held, live, foreign)
  if code ~= 'A' then return code end
"""
    + _HASH_PUT
    + lua.EACH
    + r"""
  local code, met = conditional(typed(try('HGET', key, '_v')), key, version, extra, count)
"""
    + lua.ANSWER
)

_STRING_LOOK = r"""
  companion = companion or '_v{' .. key .. '}'
  local mark, held = companion_at(companion)
  local kind = call('TYPE', key).ok
  local live = kind == 'string' and (mark == 'L' or mark == 'E')
  local foreign = kind ~= 'none' and not live
  if kind == 'none' and mark == 'L' then held = nil end
"""

_STRING_PUT = r"""
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
      call('SET', key, (take(1)))
      expire(key, at, left)
      leave(companion, state, left)
    else
      call('SET', key, (take(1)))
      call('SET', companion, 'L' .. state)
    end
  end
"""

WRITE_STRING = (
    lua.PRELUDE
    + lua.ROWS
    + lua.GUARD
    + lua.EACH
    + lua.EXTRA
    + _STRING_LOOK
    + r"""
  local code, met
  if mark == nil then
    code = 'T'
  else
    code, met = verdict(held, live, version, owner, deletes, absent)
    if foreign and not deletes then code, met = 'T', nil end
  end
"""
    + _STRING_PUT
    + lua.ANSWER
)

CONDITIONAL_STRING = (
    lua.PRELUDE
    + lua.ROWS
    + lua.FITS
    + lua.EACH
    + lua.CONDITIONAL_EXTRA
    + _STRING_LOOK
    + r"""
  local code, met = 'T', nil
  if mark == 'L' and not live then held = nil end
  if mark ~= nil then code = fits(seen, held, live, foreign) end
"""
    + _STRING_PUT
    + lua.ANSWER
)

_MEMBER_LOOK = r"""
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
"""

_MEMBER_PUT = r"""
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


def _sorted(sorted_set: bool) -> str:
    return f"local sorted = {str(sorted_set).lower()}\n"


def _write_members(sorted_set: bool) -> str:
    return (
        lua.PRELUDE
        + lua.ROWS
        + lua.GUARD
        + _sorted(sorted_set)
        + lua.MEMBERS
        + lua.EACH
        + lua.EXTRA
        + _MEMBER_LOOK
        + r"""
  local code, met
  if mark == nil then
    code = 'T'
  else
    code, met = verdict(held, live, version, owner, deletes, absent)
    if foreign and not deletes then code, met = 'T', nil end
  end
"""
        + _MEMBER_PUT
        + lua.ANSWER
    )


def _conditional_members(sorted_set: bool) -> str:
    return (
        lua.PRELUDE
        + lua.ROWS
        + lua.FITS
        + _sorted(sorted_set)
        + lua.MEMBERS
        + lua.EACH
        + lua.CONDITIONAL_EXTRA
        + _MEMBER_LOOK
        + r"""
  local code, met = 'T', nil
  if mark ~= nil then code = fits(seen, held, live, foreign) end
"""
        + _MEMBER_PUT
        + lua.ANSWER
    )


WRITE_SET = _write_members(sorted_set=False)
WRITE_SORTED_SET = _write_members(sorted_set=True)
CONDITIONAL_SET = _conditional_members(sorted_set=False)
CONDITIONAL_SORTED_SET = _conditional_members(sorted_set=True)

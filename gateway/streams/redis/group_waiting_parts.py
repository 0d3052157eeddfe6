"""What has yet to go out of a group whose shares take turns, in scripts: a bit for each offset.

``queues`` of ``group_turn_parts`` says in which order it goes out, and knows an offset only by its share.
Here is looked up whether one waits, which is the first, and what comes behind an offset. What follows one
another in the log is entered and taken out together, so a publication costs far less than
as a member of ``open``.

``waiting`` is a string; its first bit stands for the offset ``base`` of the state, -1 where there is no bit.
It begins anew where more than half of it is behind what waits. What is too far from its first bit is in
``open``, as is what waited when settings changed.
"""

from __future__ import annotations

WAITING = r"""
-- In a table and a block: a script has no more than 200 local variables.
local Waiting = {}
do
local g_waiting = KEYS[29]
-- How many bits there may be; how many bytes of nothing are not worth a new beginning.
local MOST, IDLE = 2 ^ 25, 1024
local widths, ones = {}, {}
for width = 1, 32 do widths[width], ones[width] = 'u' .. width, text(2 ^ width - 1) end
local taken = false
-- Sets the bits of offsets in order; of each run of them how many they are, and what was there.
local function write(offsets, waits)
  local wanted, size, runs_, place, base = {}, 0, {}, 1, state.base
  while place <= #offsets do
    local from, count = offsets[place], 1
    while count < 32 and offsets[place + count] == from + count do count = count + 1 end
    wanted[size + 1], wanted[size + 2], wanted[size + 3] = 'SET', widths[count], text(from - base)
    wanted[size + 4] = waits and ones[count] or '0'
    size, runs_[#runs_ + 1], place = size + 4, count, place + count
  end
  local before = {}
  for at = 1, size, 1000 do
    local told = redis.call('BITFIELD', g_waiting, unpack(wanted, at, math.min(size, at + 999)))
    for _, bits in ipairs(told) do before[#before + 1] = bits end
  end
  return runs_, before
end
local function within(offset)
  return state.base >= 0 and offset >= state.base and offset < state.base + MOST
end
-- Of offsets in order, those that have a place here from now on are the first so many.
local function enter(offsets)
  local count = #offsets
  if count == 0 then return 0 end
  if state.base < 0 then state.base = offsets[1] - offsets[1] % 8 end
  if not within(offsets[1]) then return 0 end
  if within(offsets[count]) then
    write(offsets, true)
    return count
  end
  local some = {}
  while within(offsets[#some + 1]) do some[#some + 1] = offsets[#some + 1] end
  write(some, true)
  return #some
end
-- Takes offsets in order out; those that may not have been here.
local function take(offsets)
  local others, near, count = {}, offsets, #offsets
  if count == 0 then return others end
  if not within(offsets[1]) or not within(offsets[count]) then
    near = {}
    for _, offset in ipairs(offsets) do
      local which = within(offset) and near or others
      which[#which + 1] = offset
    end
    if #near == 0 then return others end
  end
  taken = true
  local place = 0
  local runs_, before = write(near, false)
  for number, count in ipairs(runs_) do
    if before[number] ~= 2 ^ count - 1 then
      for at = place + 1, place + count do others[#others + 1] = near[at] end
    end
    place = place + count
  end
  return others
end
local function holds(offset)
  return within(offset) and redis.call('BITFIELD', g_waiting, 'GET', 'u1', text(offset - state.base))[1] == 1
end
-- Whether it was here.
local function drop(offset) return within(offset) and #take({offset}) == 0 end
-- The next so many from an offset on.
local function following(offset, count)
  local found, base = {}, state.base
  if base < 0 then return found end
  local at = math.floor(math.max(0, offset - base) / 8)
  while #found < count do
    local bit = redis.call('BITPOS', g_waiting, '1', text(at))
    if bit < 0 then break end
    at = math.floor(bit / 8)
    local some = redis.call('GETRANGE', g_waiting, text(at), text(at + 127))
    for place = 1, #some do
      local bits, next_ = string.byte(some, place), base + (at + place - 1) * 8
      for each = 7, 0, -1 do
        if bits >= 2 ^ each then
          bits = bits - 2 ^ each
          if next_ >= offset and #found < count then found[#found + 1] = next_ end
        end
        next_ = next_ + 1
      end
    end
    at = at + #some
  end
  return found
end
local function first_waiting()
  local bit = state.base < 0 and -1 or redis.call('BITPOS', g_waiting, '1')
  return bit >= 0 and state.base + bit or nil
end
local function count_waiting() return state.base < 0 and 0 or redis.call('BITCOUNT', g_waiting) end
local function forget_waiting()
  redis.call('UNLINK', g_waiting)
  state.base = -1
end
-- Forgets what is behind an offset.
local function cut(through)
  if state.base < 0 then return end
  taken = true
  if through < state.base then return forget_waiting() end
  local keep, size = through - state.base + 1, redis.call('STRLEN', g_waiting) * 8
  if keep >= size then return end
  local stop = math.floor(keep / 8)
  redis.call('SET', g_waiting, redis.call('GETRANGE', g_waiting, '0', text(stop)))
  local others = {}
  for bit = keep, stop * 8 + 7 do others[#others + 1] = state.base + bit end
  write(others, false)
end
-- Has it begin near the first that waits.
local function tell_waiting()
  if not taken or state.base < 0 then return end
  taken = false
  local bit = redis.call('BITPOS', g_waiting, '1')
  if bit < 0 then return forget_waiting() end
  local idle = math.floor(bit / 8)
  if idle >= IDLE and idle * 2 > redis.call('STRLEN', g_waiting) then
    redis.call('SET', g_waiting, redis.call('GETRANGE', g_waiting, text(idle), '-1'))
    state.base = state.base + idle * 8
  end
end
Waiting.enter = enter
Waiting.take = take
Waiting.holds = holds
Waiting.drop = drop
Waiting.following = following
Waiting.first = first_waiting
Waiting.count = count_waiting
Waiting.cut = cut
Waiting.tell = tell_waiting
end
"""

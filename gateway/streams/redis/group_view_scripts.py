"""What Redis tells of a group, and of its dead letters, in one step; and what is done with those."""

from __future__ import annotations

from gateway.streams.redis.group_laws import group_script

# ARGV also: how many of those that retention has passed were looked at before.
_FIGURES = r"""
local skipped = tonumber(ARGV[10])
if not begin() then return answer(0) end
local more = advance(1000)
if lay(250) then more = true end
if forget_old_letters(200) then more = true end
local found = {}
if not more then
  found = redis.call('ZRANGE', g_open, '-inf', '(' .. text(first), 'BYSCORE', 'LIMIT', skipped, 500)
end
local left = {}
for _, member in ipairs(found) do
  local offset = unpack8(member)
  local place = place_in_line(offset)
  if place then
    leave_line(offset, place)
    redis.call('ZREM', g_open, member)
    if delivery_of(offset) then put_delivery(offset, false) end
    if not purged_at(offset) then state.lost = state.lost + 1 end
  else
    left[#left + 1] = member
  end
end
for _, member in ipairs(left) do
  local offset = unpack8(member)
  local delivery = delivery_of(offset)
  if delivery and delivery[STATE] ~= 'r' then
    skipped = skipped + 1
  else
    leave_ready(offset, string.sub(member, 9))
    gone(offset)
  end
end
local passed = more and {} or Waiting.following(0, 500)
for _, offset in ipairs(passed) do
  -- It keeps its place in the queue of its share, and takes no turn.
  if offset < first then gone(offset) end
end
if #found == 500 or (passed[500] or first) < first then more = true end
settle()
local oldest_time = -1
local function look(entry)
  local publication = entry and genuine(entry)
  if publication and (oldest_time < 0 or publication.time < oldest_time) then
    oldest_time = publication.time
  end
end
local oldest_ones = Waiting.following(0, 10)
for _, member in ipairs(redis.call('ZRANGE', g_open, 0, 9)) do
  oldest_ones[#oldest_ones + 1] = unpack8(member)
end
table.sort(oldest_ones)
for place = 1, math.min(10, #oldest_ones) do
  look(redis.call('XRANGE', log, id(oldest_ones[place]), id(oldest_ones[place]))[1])
  if oldest_time >= 0 then break end
end
local sent_first = redis.call('ZRANGE', g_back, 0, 0)[1]
if sent_first then look(entry_of(tonumber(sent_first))) end
local together, bundled = {}, Runs.all()
for _, mark in ipairs(bundled) do
  local run = runs[mark]
  if run then
    local front = Runs.front_of(run)
    if front then
      local oldest_ = id(Runs.offset_in(run, front))
      look(redis.call('XRANGE', log, oldest_, oldest_)[1])
    end
    for place = 1, run.count do
      if run.places[place] == OPEN then
        local member = Runs.member_in(run, place)
        together[member] = (together[member] or 0) + 1
      end
    end
  end
end
answer(1, more and 1 or 0, skipped, redis.call('ZCARD', g_open) + Waiting.count() + state.bundled,
  redis.call('ZCARD', g_back),
  in_flight(), redis.call('ZCARD', g_due) - #bundled + state.bundled, redis.call('ZCARD', g_lines),
  redis.call('ZCARD', g_graves), state.redelivered,
  state.lost + tonumber(redis.call('HGET', groups, 'l:' .. name) or '0'), oldest_time, state.offered)
local at = '-'
for _ = 1, 10000 do
  local member = redis.call('ZRANGE', g_held, at, '+', 'BYLEX', 'LIMIT', 0, 1)[1]
  if not member then break end
  local prefix = string.sub(member, 1, #member - 8)
  local member_ = string.sub(prefix, 5)
  local count = redis.call('ZLEXCOUNT', g_held, '[' .. prefix, '(' .. prefix .. '\255')
  answer(member_, count + (together[member_] or 0))
  together[member_] = nil
  at = '[' .. prefix .. '\255'
end
for member, count in pairs(together) do answer(member, count) end
return head
"""

# What is said of one publication: its delivery, and the offset that it is parked behind.
_TELLING = r"""
-- What is in runs, as if each were by itself; for looking only, so behind all that is written.
local function look_into_runs(from, through)
  local offsets = {}
  for _, mark in ipairs(Runs.all()) do
    local run = runs[mark]
    for place = 1, run and run.count or 0 do
      local offset = Runs.offset_in(run, place)
      if run.places[place] == OPEN and offset >= from and offset <= through then
        deliveries[offset], offsets[#offsets + 1] = Runs.alone(run, place), offset
      end
    end
  end
  return offsets
end
local function behind_whom(offset)
  local member = place_in_line(offset)
  if not member then return -1 end
  local size = struct.unpack('>I4', member)
  return tonumber(place_of('k' .. string.sub(member, 5, 4 + size)) or '-1')
end
local function told_of(offset)
  local delivery = delivery_of(offset)
  if not delivery then return '', 0, 0, '', 0, '', behind_whom(offset) end
  return delivery[STATE], delivery[DUE], delivery[ATTEMPTS], delivery[MEMBER], delivery[SINCE],
    delivery[FAILURES], behind_whom(offset)
end
"""

# ARGV also: an offset.
_EXPLAIN = r"""
local offset = tonumber(ARGV[10])
if not begin() then return answer(0) end
local more = advance(1000)
if lay(250) then more = true end
settle()
local unfinished = #look_into_runs(offset, offset) == 1
  or Waiting.holds(offset) or redis.call('ZCOUNT', g_open, text(offset), text(offset)) == 1
  or redis.call('HEXISTS', g_sent, text(offset)) == 1
local before = 0
if state.share == '' then before = redis.call('ZCOUNT', g_ready, '-inf', '(' .. text(offset)) end
answer(1, more and 1 or 0, state.offered, unfinished and 1 or 0, before)
answer(told_of(offset))
local packed = redis.call('HGET', g_dead, text(offset))
local letter = packed and cmsgpack.unpack(packed) or {'', '', -1, '', 0, 0}
answer(letter[3], letter[4], letter[6])
local entry = entry_of(offset)
if entry then answer(entry[1], entry[2][2], entry[2][4]) end
return head
"""

# ARGV also: behind which offset, how many.
_BROWSE = r"""
local after, most_ = ARGV[10], tonumber(ARGV[11])
if not begin() then return answer(0) end
local more = advance(1000)
if lay(250) then more = true end
settle()
local offsets = look_into_runs(tonumber(after) + 1, math.huge)
for _, member in ipairs(redis.call('ZRANGE', g_open, '(' .. after, '+inf', 'BYSCORE', 'LIMIT', 0, most_)) do
  offsets[#offsets + 1] = unpack8(member)
end
for _, member in ipairs(redis.call('ZRANGE', g_back, '(' .. after, '+inf', 'BYSCORE', 'LIMIT', 0, most_)) do
  offsets[#offsets + 1] = tonumber(member)
end
for _, offset in ipairs(Waiting.following(tonumber(after) + 1, most_)) do offsets[#offsets + 1] = offset end
table.sort(offsets)
answer(1, more and 1 or 0, state.offered)
known_deliveries(offsets)
for place = 1, math.min(most_, #offsets) do answer(text(offsets[place]), told_of(offsets[place])) end
return head
"""

# ARGV also: 'newest' and before which burial, 'oldest' and behind which, 'these'; how many; the offsets.
_LETTERS = r"""
local what, place, most_ = ARGV[10], ARGV[11], tonumber(ARGV[12])
if not begin() then return answer(0) end
local listed = {}
if what == 'newest' then
  listed = redis.call('ZRANGE', g_graves, place, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, most_, 'WITHSCORES')
elseif what == 'oldest' then
  listed = redis.call('ZRANGE', g_graves, place, '+inf', 'BYSCORE', 'LIMIT', 0, most_, 'WITHSCORES')
else
  for at = 13, #ARGV do
    local score = redis.call('ZSCORE', g_graves, ARGV[at])
    if score then
      listed[#listed + 1] = ARGV[at]
      listed[#listed + 1] = score
    end
  end
end
answer(1)
for at = 1, #listed, 2 do
  local letter = redis.call('HGET', g_dead, listed[at])
  letter = letter and cmsgpack.unpack(letter)
  if letter and what == 'oldest' then
    answer(listed[at], listed[at + 1], topic_in(letter[2]) or '')
  elseif letter then
    answer(listed[at], listed[at + 1], unpack(letter))
  end
end
return head
"""

# ARGV also: 'redrive', 'discard' or 'look'; of each dead letter its offset, and when it failed last or ''.
_RESOLVE = r"""
local what, count = ARGV[10], 0
if not begin() then return answer(0) end
for at = 11, #ARGV, 2 do
  local offset, packed = tonumber(ARGV[at]), redis.call('HGET', g_dead, ARGV[at])
  if packed and ARGV[at + 1] ~= '' and cmsgpack.unpack(packed)[6] ~= tonumber(ARGV[at + 1]) then
    packed = false
  end
  if packed then
    count = count + 1
    if what == 'look' then -- it stays as it is
    elseif what == 'discard' then
      discard(offset)
    else
      local letter, delivery = cmsgpack.unpack(packed), delivery_of(offset)
      redis.call('HSET', g_sent, ARGV[at], cmsgpack.pack({letter[1], letter[2]}))
      redis.call('ZADD', g_back, ARGV[at], ARGV[at])
      state.back = state.back + 1
      -- It stays the first of its key, also where it has no place yet.
      if delivery and state.laying ~= -1 then hold(offset, delivery) end
      forget_letter(offset)
      if delivery then
        delivery[ATTEMPTS], delivery[FAILURES] = 0, ''
        make_ready(offset, delivery[SHARE])
      else
        local share, key = share_and_key(letter[2])
        new_delivery(offset, share)
        if not unlaid(offset) and not enter_line(offset, key, share) then make_ready(offset, share) end
      end
    end
  end
end
settle()
return answer(1, count)
"""

FIGURES = group_script(_FIGURES)
EXPLAIN = group_script(_TELLING, _EXPLAIN)
BROWSE = group_script(_TELLING, _BROWSE)
LETTERS = group_script(_LETTERS)
RESOLVE = group_script(_RESOLVE)

"""What Redis does in one step for a group of consumers.

Every script is bounded: what takes longer answers that there is more, and is called again. What is answered
begins as for every script of a stream, and goes on with 0 where there is no such group.
"""

from __future__ import annotations

from gateway.streams.redis.group_laws import group_script
from gateway.streams.redis.script_parts import script

# ARGV also: what names the leases of this call; a range of offsets in which nothing matches; how many bytes;
# the members, packed.
_TAKE = r"""
local mark, none_from, none_to, size = ARGV[10], tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
if not begin() then return answer(0) end
local members = cmsgpack.unpack(ARGV[14])
local more = advance(1000) and 1 or 0
local moved = progressed
if lay(250) then more = 1 end
local wanted = math.min(#members, tonumber(state.max_in_flight) - redis.call('ZCARD', g_held))
local fair, plain = state.share ~= '', state.share == '' and state.ordered ~= '1'
local given, looks, until_ = 0, 2000, now + tonumber(state.ack_wait)
local until_text = text(until_)
local found = {}
local function lease(offset, share, entry)
  entry = entry or entry_of(offset)
  if not entry then return gone(offset) end
  local delivery, member = delivery_of(offset) or new_delivery(offset, share), members[given + 1]
  state.fence = state.fence + 1
  if delivery[ATTEMPTS] > 0 then state.redelivered = state.redelivered + 1 end
  delivery[STATE], delivery[DUE], delivery[MEMBER] = 'l', until_, member
  delivery[FENCE], delivery[SINCE], delivery[MARK] = state.fence, now, mark
  put_delivery(offset, delivery)
  later('ZADD', g_due, until_text, pack8(offset))
  later('ZADD', g_held, '0', held_name(member, offset))
  given, size = given + 1, size - #entry[2][4]
  local at = #found
  found[at + 1], found[at + 2], found[at + 3] = entry[1], entry[2][2], entry[2][4]
  found[at + 4], found[at + 5] = state.fence, delivery[ATTEMPTS]
end
local function read_ahead()
  local at = math.max(state.offered + 1, first)
  local count = plain and state.filter == '#' and math.min(256, wanted - given) or 64
  if at > last then
    state.offered = math.max(state.offered, last)
    return
  end
  local entries = redis.call('XRANGE', log, id(at), '+', 'COUNT', count)
  looks = looks - #entries
  for _, entry in ipairs(entries) do
    if plain and (given >= wanted or size <= 0) then return end
    state.offered = leading(entry[1])
    -- Whether it is as it was written is looked at by whoever gets it.
    if shaped(entry) and wanted_topic(entry[2][4]) then
      deliveries[state.offered] = false
      local free, share = offer(state.offered, entry[2][2], entry[2][4])
      if free and plain then
        lease(state.offered, share, entry)
      elseif free then
        make_ready(state.offered, share)
      end
    end
  end
  if #entries < count then state.offered = last end
end
if state.offered + 1 >= none_from and state.offered < none_to then
  state.offered = math.min(none_to, last)
end
-- What a group knows is in memory: what is delayed or parked too, behind which others stand.
local function crowded() return redis.call('ZCARD', g_open) >= 1000000 end
-- Where shares take turns everything has to be known first, within reason.
if fair and more == 0 and wanted > 0 then
  while state.offered < last and not crowded() do
    if looks <= 0 then
      more = 1
      break
    end
    read_ahead()
    tell('ZADD', g_open)
  end
end
while more == 0 and given < wanted do
  local offset, share = take_next()
  if offset then
    lease(offset, share)
  elseif state.offered >= last or fair or crowded() then
    break
  elseif looks <= 0 then
    more = 2
  else
    read_ahead()
  end
  if size <= 0 and given < wanted then more = 1 end
end
tell('ZADD', g_due)
local due = redis.call('ZRANGE', g_due, 0, 0, 'WITHSCORES')[2]
progressed = moved and redis.call('ZCARD', g_ready) > 0
settle()
answer(1, more, due and tonumber(due) or -1, now, until_, state.offered, state.fence, state.life)
for _, each in ipairs(found) do head[#head + 1] = each end
return head
"""

# ARGV also: what happens, a time in ms or '', 1 for dead; offset, fence and life of each lease, packed.
_END = r"""
local what, wait, dead = ARGV[10], tonumber(ARGV[11]), ARGV[12] == '1'
if not begin() then return answer(0) end
advance(1000)
local full = redis.call('ZCARD', g_held) >= tonumber(state.max_in_flight)
local leases, offsets = cmsgpack.unpack(ARGV[13]), {}
for at = 1, #leases, 3 do offsets[#offsets + 1] = leases[at] end
known_deliveries(offsets)
answer(1)
for at = 1, #leases, 3 do
  local offset = leases[at]
  local delivery = leased(offset, leases[at + 1], leases[at + 2])
  if not delivery then -- it had run out
  elseif what == 'ack' then
    let_go(offset, delivery)
    finish(offset)
    progressed = progressed or full
  elseif what == 'nack' then
    fail(offset, delivery, 'nack', wait, dead)
  elseif what == 'extend' then
    delivery[DUE] = math.max(delivery[DUE], now + wait)
    put_delivery(offset, delivery)
    redis.call('ZADD', g_due, text(delivery[DUE]), pack8(offset))
  elseif what == 'back' then
    if delivery[ATTEMPTS] > 0 then state.redelivered = state.redelivered - 1 end
    give_back(offset, delivery)
  else
    -- Damaged, or nothing that a gateway wrote: then there was nothing to lose.
    local entry = entry_of(offset)
    let_go(offset, delivery)
    if entry and not genuine(entry) then finish(offset) else gone(offset) end
  end
  head[#head + 1] = delivery and 1 or 0
end
settle()
return head
"""

# ARGV also: what happens, a member, what names the leases that are meant or ''.
_LEAVE = r"""
local what, member, mark = ARGV[10], ARGV[11], ARGV[12]
if not begin() then return answer(0) end
advance(1000)
local most = mark == '' and 500 or 20000
local range = prefixed(member)
local found, offsets = redis.call('ZRANGE', g_held, '[' .. range, '(' .. range .. '\255', 'BYLEX',
  'LIMIT', 0, most), {}
for place, each in ipairs(found) do offsets[place] = unpack8(each, #each - 7) end
known_deliveries(offsets)
for _, offset in ipairs(offsets) do
  local delivery = delivery_of(offset)
  if not delivery then
    redis.call('ZREM', g_held, held_name(member, offset))
  elseif mark ~= '' and delivery[MARK] ~= mark then -- another call's
  elseif what == 'lose' then
    fail(offset, delivery, 'member lost')
  else
    -- Of leases that nobody was told of none was a repeat.
    if mark ~= '' and delivery[ATTEMPTS] > 0 then state.redelivered = state.redelivered - 1 end
    give_back(offset, delivery)
  end
end
settle()
return answer(1, #found == most and 1 or 0)
"""

# ARGV also: the configuration as JSON; where to start, 'new', 'earliest' or behind which offset; the epoch in
# which there was such a group already, or ''; and its settings, as the hash has them.
_PUT = r"""
local json, start, former = ARGV[10], ARGV[11], ARGV[12]
local fields = {}
for at = 13, #ARGV, 2 do fields[ARGV[at]] = ARGV[at + 1] end
local made = not begin()
local relay = not made and (state.ordered ~= fields.ordered or state.share ~= fields.share)
local function note_settings()
  redis.call('HSET', groups, 'c:' .. name, json, 'f:' .. name, fields.filter)
  redis.call('HSET', g_state, unpack(ARGV, 13))
end
if made then
  local floor = start == 'new' and last or tonumber(start) or 0
  -- What has come since the log lost it, it has missed.
  if former ~= '' then floor = math.min(floor, shared_with(former)) end
  floor = math.max(first - 1, floor)
  note_settings()
  redis.call('HSET', g_state, 'life', nonce, 'epoch', epoch, 'offered', text(math.min(floor, last)),
    'laying', '-1')
  redis.call('HDEL', groups, 'l:' .. name)
  begin()
elseif redis.call('HGET', groups, 'c:' .. name) ~= json then
  note_settings()
  for field, setting in pairs(fields) do state[field] = setting end
  state.wanted = levels_of(state.filter)
  if state.keep ~= '1' then redis.call('ZREM', floors, name) end
  if relay then lay_anew() end
  progressed = true
end
settle()
return answer(1, made and 1 or 0)
"""

_DELETE = r"""
local there = redis.call('HDEL', groups, 'c:' .. name, 'f:' .. name, 'l:' .. name)
redis.call('UNLINK', unpack(KEYS, 11, 23))
redis.call('ZREM', cursors, name)
redis.call('ZREM', floors, name)
redis.pcall(publish, news, '.')
return answer(there > 0 and 1 or 0)
"""

_GROUPS = r"""
local reply = {epoch, first, last, header, raised}
for _, each in ipairs(redis.call('HGETALL', KEYS[8])) do reply[#reply + 1] = each end
return reply
"""

_EXPIRE = r"""
if not begin() then return answer(0) end
local more = forget_old_letters(200)
settle()
return answer(1, more and 1 or 0)
"""

# ARGV also: a filter, before which offset; where this was: 'open', 'back' or 'dead', and behind which.
_PURGED = r"""
local filter, before, where, after = levels_of(ARGV[10]), tonumber(ARGV[11]), ARGV[12], ARGV[13]
if not begin() then return answer(0) end
local key, following = ({open = g_open, back = g_back, dead = g_graves})[where],
  ({open = 'back', back = 'dead'})[where] or ''
local found = redis.call('ZRANGE', key, '(' .. after, '+inf', 'BYSCORE', 'LIMIT', 0, 250, 'WITHSCORES')
local function meant(record)
  local topic = topic_in(record)
  return topic and matching(filter, levels_of(topic))
end
local function let_be(offset, share)
  local delivery, place = delivery_of(offset), place_in_line(offset)
  if place then
    leave_line(offset, place)
  elseif delivery and delivery[STATE] == 'l' then
    let_go(offset, delivery)
  elseif delivery and delivery[STATE] == 'd' then
    redis.call('ZREM', g_due, pack8(offset))
  else
    leave_ready(offset, share)
  end
  finish(offset)
end
for at = 1, #found, 2 do
  after = found[at + 1]
  if where == 'open' then
    local offset = unpack8(found[at])
    if purged_at(offset) then let_be(offset, string.sub(found[at], 9)) end
  else
    local offset = tonumber(found[at])
    if where == 'back' then
      local copy = entry_of(offset)
      if offset < before and copy and meant(copy[2][4]) then let_be(offset, delivery_of(offset)[SHARE]) end
    else
      local letter = redis.call('HGET', g_dead, found[at])
      if not letter or (offset < before and meant(cmsgpack.unpack(letter)[2])) then discard(offset) end
    end
  end
end
settle()
if #found == 500 then following = where else after = '-inf' end
return answer(1, following, following == where and after or '0')
"""

TAKE = group_script(_TAKE)
END = group_script(_END)
LEAVE = group_script(_LEAVE)
PUT = group_script(_PUT)
DELETE = group_script(_DELETE)
EXPIRE = group_script(_EXPIRE)
PURGED = group_script(_PURGED)
GROUPS = script(_GROUPS)

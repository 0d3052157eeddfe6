"""What Redis does in one step for a group of consumers.

Every script is bounded: what takes longer answers that there is more, and is called again. What is answered
begins as for every script of a stream, and goes on with 0 where there is no such group.
"""

from __future__ import annotations

from gateway.streams.redis.group_laws import group_script
from gateway.streams.redis.script_parts import script

# ARGV also: what happens, a time in ms or '', 1 for dead; offset, fence and life of each lease, packed.
_END = r"""
local what, wait, dead = ARGV[10], tonumber(ARGV[11]), ARGV[12] == '1'
if not begin() then return answer(0) end
advance(1000)
local full = in_flight() >= tonumber(state.max_in_flight)
local leases, offsets = cmsgpack.unpack(ARGV[13]), {}
local named, marks, size = {}, {}, #leases
for at = 3, size, 3 do
  local life = leases[at]
  if named[life] == nil then
    local of, mark = string.match(life, '^([^.]*)%.(.*)$')
    named[life] = of == state.life and mark or false
    marks[#marks + 1] = named[life] or nil
  end
end
Runs.read(marks)
for life, mark in pairs(named) do named[life] = mark and runs[mark] end
for at = 1, size, 3 do
  local run = named[leases[at + 2]]
  local place = run and Runs.valid_place(run, leases[at], leases[at + 1])
  if not place then
    offsets[#offsets + 1] = leases[at]
  elseif what ~= 'ack' and what ~= 'look' then
    Runs.unbundle_one(run, place)
  end
end
Runs.tell_alone()
known_deliveries(offsets)
if state.ordered == '1' then
  local fields = {}
  for at = 1, size, 3 do fields[#fields + 1] = 'o' .. text(leases[at]) end
  read_places(fields)
end
answer(1)
local told = #head
for at = 1, size, 3 do
  local offset = leases[at]
  local run = named[leases[at + 2]]
  local place = run and Runs.valid_place(run, offset, leases[at + 1])
  local delivery = place or leased(offset, leases[at + 1], leases[at + 2])
  if not delivery or what == 'look' then -- it had run out, or stays as it is
  elseif place then
    Runs.mark_done(run, place)
    next_in_line(offset)
    progressed = progressed or full
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
  told = told + 1
  head[told] = delivery and 1 or 0
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
-- What it has of runs, of a few at a time, becomes its own first.
local bundled = mark ~= '' and {range .. mark}
  or redis.call('ZRANGE', g_holders, '[' .. range, '(' .. range .. '\255', 'BYLEX', 'LIMIT', 0, 8)
for _, each in ipairs(bundled) do
  local its = string.sub(each, #range + 1)
  Runs.read({its})
  local run = runs[its]
  if run then Runs.unbundle(run, function(place) return Runs.member_in(run, place) == member end) end
  redis.call('ZREM', g_holders, each)
end
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
return answer(1, (#found == most or #bundled == 8) and 1 or 0)
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
    'laying', '-1', 'base', '-1')
  redis.call('HDEL', groups, 'l:' .. name)
  begin()
elseif redis.call('HGET', groups, 'c:' .. name) ~= json then
  note_settings()
  for field, setting in pairs(fields) do state[field] = setting end
  state.wanted, state.level = levels_of(state.filter), tonumber(state.share)
  if state.keep ~= '1' then redis.call('ZREM', floors, name) end
  Runs.unbundle_all()
  if relay then lay_anew() end
  progressed = true
end
settle()
return answer(1, made and 1 or 0)
"""

_DELETE = r"""
local there = redis.call('HDEL', groups, 'c:' .. name, 'f:' .. name, 'l:' .. name)
redis.call('UNLINK', unpack(KEYS, 11, 29))
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

# ARGV also: a filter, before which offset; where this was: 'open', 'waiting', 'back' or 'dead', and behind
# which.
_PURGED = r"""
local filter, before, where, after = levels_of(ARGV[10]), tonumber(ARGV[11]), ARGV[12], ARGV[13]
if not begin() then return answer(0) end
if where == 'open' and after == '-inf' then
  for _, its in ipairs(Runs.all()) do
    local run = runs[its]
    if run then Runs.unbundle(run, function(place) return purged_at(Runs.offset_in(run, place)) end) end
  end
end
if where == 'waiting' then
  local found = Waiting.following((tonumber(after) or 0) + 1, 250)
  for _, offset in ipairs(found) do
    -- It keeps its place in the queue of its share, and takes no turn.
    if purged_at(offset) then finish(offset) end
  end
  settle()
  if #found == 250 then return answer(1, where, text(found[250])) end
  return answer(1, 'back', '-inf')
end
local key, following = ({open = g_open, back = g_back, dead = g_graves})[where],
  ({open = 'waiting', back = 'dead'})[where] or ''
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

END = group_script(_END)
LEAVE = group_script(_LEAVE)
PUT = group_script(_PUT)
DELETE = group_script(_DELETE)
EXPIRE = group_script(_EXPIRE)
PURGED = group_script(_PURGED)
GROUPS = script(_GROUPS)

"""What Redis does in one step to lease what is next: it is read from the log, and given out in turn."""

from __future__ import annotations

from gateway.streams.redis.group_laws import group_script

# ARGV also: what names the leases of this call; a range of offsets in which nothing matches; how many bytes;
# how many leases are worth a run; the members, packed.
_TAKE = r"""
local mark, none_from, none_to, size = ARGV[10], tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
if not begin() then return answer(0) end
local members = cmsgpack.unpack(ARGV[15])
local more = advance(1000) and 1 or 0
local moved = progressed
if lay(250) then more = 1 end
local wanted = math.min(#members, tonumber(state.max_in_flight) - in_flight())
-- Without shares what can go out goes in the order of the log, so nothing need be put in order first.
local fair = state.share ~= ''
local direct, simple = not fair and state.laying == -1, fair and state.ordered ~= '1'
local given, looks, until_ = 0, 2000, now + tonumber(state.ack_wait)
local until_text = text(until_)
local told, fresh, holders, shares_, ahead = #head + 8, {}, {}, fair and {} or nil, 1
for place = #head + 1, told do head[place] = 0 end
local function tell_of(entry, attempts)
  head[told + 1], head[told + 2], head[told + 3] = entry[1], entry[2][2], entry[2][4]
  head[told + 4], head[told + 5] = state.fence, attempts
  given, size, told = given + 1, size - #entry[2][4], told + 5
end
local function lease(offset, entry, delivery)
  local member = members[given + 1]
  state.fence = state.fence + 1
  if delivery[ATTEMPTS] > 0 then state.redelivered = state.redelivered + 1 end
  delivery[STATE], delivery[DUE], delivery[MEMBER] = 'l', until_, member
  delivery[FENCE], delivery[SINCE], delivery[MARK] = state.fence, now, mark
  put_delivery(offset, delivery)
  later('ZADD', g_due, until_text, pack8(offset))
  later('ZADD', g_held, '0', held_name(member, offset))
  tell_of(entry, delivery[ATTEMPTS])
end
-- What is in a run is not in open.
local left = {}
-- What was never out goes with others like it, in a run; an offset of 0 stands for what wasn't.
local function lease_fresh(offset, entry, share)
  state.fence = state.fence + 1
  fresh[#fresh + 1], holders[#holders + 1] = offset, members[given + 1]
  if fair then shares_[#shares_ + 1] = share end
  tell_of(entry, 0)
end
local function lease_again(offset, entry, share)
  local delivery = delivery_of(offset)
  if not delivery then
    left[#left + 1] = pack8(offset) .. share
    return lease_fresh(offset, entry, share)
  end
  lease(offset, entry, delivery)
  if #fresh > 0 then
    fresh[#fresh + 1], holders[#holders + 1], shares_[#shares_ + 1] = 0, members[given], ''
  end
end
local function read_ahead()
  local at = math.max(state.offered + 1, first)
  local count = direct and math.min(256, math.max(ahead, wanted - given)) or 64
  ahead = ahead * 2
  if at > last then
    state.offered = math.max(state.offered, last)
    return
  end
  local entries = redis.call('XRANGE', log, id(at), '+', 'COUNT', count)
  looks = looks - #entries
  if state.ordered == '1' then
    local fields = {}
    for place = 1, direct and math.min(#entries, wanted - given) or #entries do
      local key = shaped(entries[place]) and known_key(entries[place][2][4])
      if key then fields[#fields + 1] = 'k' .. key end
    end
    read_places(fields)
  end
  local offsets, shares = {}, {}
  for _, entry in ipairs(entries) do
    if direct and (given >= wanted or size <= 0) then return end
    local number = shaped(entry)
    state.offered = number and tonumber(number) or leading(entry[1])
    -- Whether it is as it was written is looked at by whoever gets it.
    local record = number and entry[2][4]
    if record and simple and wanted_topic(record) and ends_in_nil(record) then
      -- As what follows would do, where there is neither a delay nor anything to park behind.
      local place = #offsets + 1
      offsets[place], shares[place] = state.offered, share_and_key(record)
    elseif record and wanted_topic(record) then
      if not fair then deliveries[state.offered] = false end
      local free, share = offer(state.offered, number, entry[2][2], record, direct or fair)
      if free and direct then
        lease_fresh(state.offered, entry)
      elseif free then
        offsets[#offsets + 1], shares[#shares + 1] = state.offered, share
      end
    end
  end
  if #entries < count then state.offered = last end
  if fair then return Queues.enter_all(offsets, shares) end
  for place, offset in ipairs(offsets) do make_ready(offset, shares[place]) end
end
if state.offered + 1 >= none_from and state.offered < none_to then
  state.offered = math.min(none_to, last)
end
-- What a group knows is in memory: what is delayed or parked too, behind which others stand.
local function crowded() return redis.call('ZCARD', g_open) + state.queued + state.bundled >= 1000000 end
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
do
-- Those that follow one another in the log are read together.
local function entries_at(offsets)
  local found, from = {}, 1
  table.sort(offsets)
  while from <= #offsets do
    local to = from
    while offsets[to + 1] == offsets[to] + 1 do to = to + 1 end
    for _, entry in ipairs(redis.call('XRANGE', log, id(offsets[from]), id(offsets[to]))) do
      local number = shaped(entry)
      if number then found[tonumber(number)] = entry end
    end
    from = to + 1
  end
  return found
end
local function is_open(offset)
  return Waiting.holds(offset) or redis.call('ZCOUNT', g_open, text(offset), text(offset)) > 0
end
-- Of these, as many as had their turns are where they waited no longer; in order, but for what was aside.
local function leave_waiting(straight, offsets, shares, count)
  if count < #offsets then
    local kept, going = {}, {}
    for place = count + 1, #offsets do kept[offsets[place]] = true end
    for _, offset in ipairs(straight) do
      if not kept[offset] then going[#going + 1] = offset end
    end
    straight = going
  end
  local others, share_of = Waiting.take(straight), {}
  if #others == 0 then return end
  for place = 1, count do share_of[offsets[place]] = shares[place] end
  for _, offset in ipairs(others) do left[#left + 1] = pack8(offset) .. share_of[offset] end
end
-- Leases those whose turns are next, as many as are looked at together.
local largest = 1
local function take_turns(count)
  local some = math.min(count, math.ceil(size / largest))
  local offsets, shares, aside, empty = Queues.ahead(some, wanted - given)
  local straight, back, changes = {}, {}, Queues.changes
  for place, offset in ipairs(offsets) do
    local which = aside[place] and back or straight
    which[#which + 1] = offset
  end
  known_deliveries(back)
  local entries = entries_at(straight)
  looks = looks - empty
  local turns = 0
  for place, offset in ipairs(offsets) do
    local entry = entries[offset]
    if aside[place] then entry = entry_of(offset) end
    local removed = not entry and not aside[place] and not is_open(offset)
    Queues.commit(offset, shares[place], aside[place], removed)
    if entry then
      largest = math.max(largest, #entry[2][4])
      -- What is in its place was never out.
      local lease_it = aside[place] and lease_again or lease_fresh
      lease_it(offset, entry, shares[place])
    else
      looks = looks - 1
      if not removed then gone(offset) end
    end
    turns = place
    -- Whose turn is next is to be looked at again.
    if removed or size <= 0 or Queues.changes ~= changes then break end
  end
  leave_waiting(straight, offsets, shares, turns)
  return #offsets > 0 or empty > 0
end
while fair and more == 0 and given < wanted do
  ahead = math.min(64, ahead * 16)
  if not take_turns(math.min(ahead, wanted - given)) then break end
  if (size <= 0 or looks <= 0) and given < wanted then more = 1 end
end
end
while not fair and more == 0 and given < wanted do
  local offset = take_oldest()
  if offset then
    local entry = entry_of(offset)
    if entry then lease(offset, entry, delivery_of(offset) or new_delivery(offset, '')) else gone(offset) end
  elseif state.offered >= last or crowded() then
    break
  elseif looks <= 0 then
    more = 2
  else
    read_ahead()
  end
  if size <= 0 and given < wanted then more = 1 end
end
if #left > 0 then redis.call('ZREM', g_open, unpack(left)) end
if #fresh > 0 then
  Runs.bundle(mark, until_, state.fence - #fresh + 1, fresh, holders, tonumber(ARGV[14]), shares_)
end
tell('ZADD', g_due)
local due = redis.call('ZRANGE', g_due, 0, 0, 'WITHSCORES')[2]
tell_ready()
Queues.tell()
progressed = moved and redis.call(fair and 'LLEN' or 'ZCARD', fair and g_turns or g_ready) > 0
settle()
local opening = {1, more, due and tonumber(due) or -1, now, until_, state.offered, state.fence, state.life}
for place, each in ipairs(opening) do head[5 + place] = each end
return head
"""

TAKE = group_script(_TAKE)

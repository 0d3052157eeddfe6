"""What may become of a delivery, of what comes, and of a group whose settings or log change, in scripts.

Behind ``group_script_parts``, which says what is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.streams.redis.group_run_parts import RUNS
from gateway.streams.redis.group_script_parts import STATE
from gateway.streams.redis.group_turn_parts import TURNS
from gateway.streams.redis.group_waiting_parts import WAITING
from gateway.streams.redis.script_parts import HOLES_READ, TOPIC_KEYS, script
from gateway.streams.redis.search_scripts import MATCHING

if TYPE_CHECKING:
    from gateway.streams.redis.script import Script

_LAWS = r"""
-- The end

local function finish(offset)
  local delivery = delivery_of(offset)
  if delivery then
    later('ZREM', g_open, pack8(offset) .. delivery[SHARE])
    put_delivery(offset, false)
  elseif not Waiting.drop(offset) then
    redis.call('ZREMRANGEBYSCORE', g_open, text(offset), text(offset))
  end
  if state.back > 0 and redis.call('HDEL', g_sent, text(offset)) == 1 then
    redis.call('ZREM', g_back, text(offset))
  end
  next_in_line(offset)
end
local function let_go(offset, delivery)
  later('ZREM', g_held, held_name(delivery[MEMBER], offset))
  later('ZREM', g_due, pack8(offset))
end
local function forget_letter(offset)
  redis.call('HDEL', g_dead, text(offset))
  redis.call('ZREM', g_graves, text(offset))
end
local function discard(offset)
  forget_letter(offset)
  local delivery = delivery_of(offset)
  if delivery and delivery[STATE] == 'x' then finish(offset) end
end
local function bury(offset, reason, attempts, first_failed)
  local entry = entry_of(offset)
  if not entry then
    if not purged_at(offset) then state.lost = state.lost + 1 end
    return
  end
  state.grave = state.grave + 1
  redis.call('HSET', g_dead, text(offset),
    cmsgpack.pack({entry[2][2], entry[2][4], attempts, reason, first_failed, now}))
  redis.call('ZADD', g_graves, text(state.grave), text(offset))
  local surplus = redis.call('ZCARD', g_graves) - tonumber(state.dead_most)
  if surplus > 0 then
    for _, each in ipairs(redis.call('ZRANGE', g_graves, 0, math.min(surplus, 100) - 1)) do
      discard(tonumber(each))
    end
  end
end
-- Whether there may be more that are too old.
local function forget_old_letters(most)
  local before, left = now - tonumber(state.dead_age), 0
  for _, each in ipairs(redis.call('ZRANGE', g_graves, 0, most - 1)) do
    local packed = redis.call('HGET', g_dead, each)
    if packed and cmsgpack.unpack(packed)[6] >= before then return false end
    discard(tonumber(each))
    left = left + 1
  end
  return left == most
end
local function wait_after(failures)
  local waits = {}
  for each in string.gmatch(state.backoff, '%d+') do waits[#waits + 1] = tonumber(each) end
  return waits[math.min(failures, #waits)] or 0
end
-- What kept its key waiting, dead or sent back since, has its place, unless another one of the key has it.
local function hold(offset, delivery)
  local letter, entry = redis.call('HGET', g_dead, text(offset)), nil
  if not letter then entry = entry_of(offset) end
  if not letter and not entry then return end
  local share, key = share_and_key(letter and cmsgpack.unpack(letter)[2] or entry[2][4])
  delivery[SHARE] = share
  put_delivery(offset, delivery)
  if key and not place_of('k' .. key) then enter_line(offset, key, share) end
end
local function fail(offset, delivery, reason, wait, dead)
  let_go(offset, delivery)
  delivery[ATTEMPTS] = delivery[ATTEMPTS] + 1
  local failures = delivery[FAILURES] .. text(now) .. ' ' .. reason .. ';'
  local first_failed = leading(failures)
  local _, count = string.gsub(failures, ';', '')
  if count > 16 then failures = string.sub(failures, string.find(failures, ';', 1, true) + 1) end
  delivery[FAILURES] = failures
  put_delivery(offset, delivery)
  tell('ZREM', g_due)
  local most = tonumber(state.max_deliver)
  if dead or (most > 0 and most <= delivery[ATTEMPTS]) then
    bury(offset, reason, delivery[ATTEMPTS], first_failed)
    if state.ordered == '1' and state.hold == '1' and redis.call('HEXISTS', g_dead, text(offset)) == 1 then
      delivery[STATE] = 'x'
      put_delivery(offset, delivery)
      if state.laying ~= -1 then hold(offset, delivery) end
      -- The dead letter has a copy: retention may take it.
      redis.call('ZREM', g_open, pack8(offset) .. delivery[SHARE])
      if redis.call('HDEL', g_sent, text(offset)) == 1 then redis.call('ZREM', g_back, text(offset)) end
    else
      finish(offset)
    end
    return
  end
  progressed = true
  delay(offset, delivery, now + (wait or wait_after(delivery[ATTEMPTS])))
end
local function leased(offset, fence, life)
  local delivery = delivery_of(offset)
  if delivery and delivery[STATE] == 'l' and delivery[FENCE] == fence and delivery[DUE] > now
    and state.life .. '.' .. delivery[MARK] == life then
    return delivery
  end
end
local function give_back(offset, delivery)
  let_go(offset, delivery)
  make_ready(offset, delivery[SHARE])
end
-- What is gone from the log: purged on purpose, or lost.
local function gone(offset)
  if not purged_at(offset) then state.lost = state.lost + 1 end
  finish(offset)
end

-- Lets time pass; whether more is due.
local function advance(most)
  while most > 0 do
    local due = redis.call('ZRANGE', g_due, '-inf', text(now), 'BYSCORE', 'LIMIT', 0, math.min(most, 200))
    if #due == 0 then return false end
    local offsets, apart = {}, 0
    for _, member in ipairs(due) do
      if #member == 8 then
        offsets[#offsets + 1] = unpack8(member)
      elseif apart < most then
        -- Its deliveries come next, each by itself.
        local mark = string.sub(member, 1, -2)
        Runs.read({mark})
        if runs[mark] then
          apart = apart + runs[mark].left
          Runs.unbundle(runs[mark])
        end
        redis.call('ZREM', g_due, member)
      end
    end
    known_deliveries(offsets)
    for _, offset in ipairs(offsets) do
      local delivery = delivery_of(offset)
      redis.call('ZREM', g_due, pack8(offset))
      if delivery and delivery[STATE] == 'd' then
        make_ready(offset, delivery[SHARE])
      elseif delivery and delivery[STATE] == 'l' then
        fail(offset, delivery, 'lease ran out')
      end
    end
    for _, key in ipairs({g_held, g_due, g_open}) do tell('ZREM', key) end
    most = most - #due
  end
  return true
end

-- What comes, its offset also as text: whether it may go out at once, and its share.
local function offer(offset, number, header_, record, at_once)
  local share, key = share_and_key(record)
  local parked = enter_line(offset, key, share)
  local wait = delay_in(record)
  local due = wait and leading(header_) + wait
  local delayed = due and due > now
  if parked or delayed or not at_once then later('ZADD', g_open, number, pack8(offset) .. share) end
  if delayed then
    local delivery = new_delivery(offset, share)
    delivery[DUE] = due
    if not parked then delay(offset, delivery, due) end
    return false
  end
  return not parked, share
end
-- In a block: a script has no more than 200 local variables.
local wanted_topic
do
local wanted_keys = {}
wanted_topic = function(record)
  local key = key_in(record)
  if not key then return false end
  if wanted_keys[key] == nil then wanted_keys[key] = matching(state.wanted, levels_of(topic_of(key))) end
  return wanted_keys[key]
end
end

-- Settings have changed what waits for what: everything that isn't finished takes its place anew, in steps.
local function lay_anew()
  tell_ready()
  redis.call('UNLINK', g_ready)
  Queues.forget()
  forget_places()
  state.laying, state.unheld = 0, state.ordered == '1' and 1 or 0
end
local function lay_one(offset, member, waits)
  local entry, delivery = entry_of(offset), delivery_of(offset)
  if not entry and not (delivery and delivery[STATE] == 'l') then return gone(offset) end
  local share, key = '', nil
  if entry then share, key = share_and_key(entry[2][4]) end
  if member and string.sub(member, 9) ~= share then
    redis.call('ZREM', g_open, member)
    redis.call('ZADD', g_open, text(offset), pack8(offset) .. share)
  elseif waits then
    Waiting.drop(offset)
    redis.call('ZADD', g_open, text(offset), pack8(offset) .. share)
  end
  if delivery then
    delivery[SHARE] = share
    put_delivery(offset, delivery)
  end
  -- What is out already waits for nobody.
  if delivery and delivery[STATE] == 'l' then
    if key and not place_of('k' .. key) then enter_line(offset, key, share) end
  elseif not (key and place_of('o' .. text(offset))) and enter_line(offset, key, share) then
    redis.call('ZREM', g_due, pack8(offset))
    if delivery then delivery[STATE] = 'r' end
  elseif delivery and delivery[STATE] == 'r' and delivery[DUE] > 0 then
    -- Its delay was to begin once it was parked no longer.
    delay(offset, delivery, delivery[DUE])
  elseif not delivery or delivery[STATE] == 'r' then
    make_ready(offset, share, true)
  end
end
-- Whether some have no place yet. Where this is, in one number: -1 at the end, from 0 on the offset of what
-- is open, and from -2 down of what was sent back.
local function lay(most)
  if state.laying == -1 then return false end
  if state.unheld > 0 then
    -- What is dead first, and what was sent back after it had been out: they were the first of their keys.
    local found = redis.call('ZRANGE', g_graves, text(state.unheld), '+inf', 'BYSCORE', 'LIMIT', 0, most,
      'WITHSCORES')
    for at = 1, #found, 2 do
      local offset = tonumber(found[at])
      local delivery = delivery_of(offset)
      state.unheld = tonumber(found[at + 1]) + 1
      if delivery and delivery[STATE] == 'x' then
        -- The log may have another one of its offset by now.
        if offset > state.offered then put_delivery(offset, false) else hold(offset, delivery) end
      end
    end
    if #found == 2 * most then return true end
    state.unheld = -1
  end
  if state.unheld < 0 then
    local found = redis.call('ZRANGE', g_back, '(' .. text(-1 - state.unheld), '+inf', 'BYSCORE', 'LIMIT', 0,
      most)
    for _, member in ipairs(found) do
      local offset = tonumber(member)
      local delivery = delivery_of(offset)
      state.unheld = -1 - offset
      if delivery and delivery[FENCE] > 0 then hold(offset, delivery) end
    end
    if #found == most then return true end
    state.unheld = 0
  end
  if state.laying >= 0 then
    local found = redis.call('ZRANGE', g_open, '(' .. text(state.laying), '+inf', 'BYSCORE', 'LIMIT', 0, most)
    local waiting = Waiting.following(state.laying + 1, most)
    local place, other, count = 1, 1, math.min(most, #found + #waiting)
    for _ = 1, count do
      local member, waits = found[place], waiting[other]
      if waits and (not member or waits < unpack8(member)) then
        other, state.laying = other + 1, waits
        lay_one(waits, nil, true)
      else
        place, state.laying = place + 1, unpack8(member)
        lay_one(state.laying, member)
      end
    end
    if count < most then state.laying = -2 end
    return true
  end
  local found = redis.call('ZRANGE', g_back, '(' .. text(-2 - state.laying), '+inf', 'BYSCORE', 'LIMIT', 0,
    most)
  for _, member in ipairs(found) do
    state.laying = -2 - tonumber(member)
    lay_one(tonumber(member))
  end
  if #found == most then return true end
  state.laying = -1
  return false
end

-- The log begins anew, or ends before what the group has seen: what isn't there any more is forgotten.
local function shared_with(former)
  local shared = last
  for number, end_ in string.gmatch(ends, '(%d+) (%d+);') do
    if tonumber(number) > leading(former) then shared = math.min(shared, tonumber(end_)) end
  end
  return shared
end
local function renew()
  local shared = shared_with(state.epoch)
  Runs.unbundle_all()
  while true do
    local found = redis.call('ZRANGE', g_open, '(' .. text(shared), '+inf', 'BYSCORE', 'LIMIT', 0, 500)
    for _, member in ipairs(found) do
      local offset = unpack8(member)
      local delivery = delivery_of(offset)
      if delivery then
        redis.call('ZREM', g_held, held_name(delivery[MEMBER], offset))
        redis.call('ZREM', g_due, pack8(offset))
        put_delivery(offset, false)
      end
      redis.call('ZREM', g_open, member)
    end
    if #found < 500 then break end
  end
  Waiting.cut(shared)
  state.offered, state.epoch, state.life = math.min(state.offered, shared), epoch, nonce
  lay_anew()
  progressed = true
end

-- Reads the state; false where there is no such group.
local function begin()
  local told = redis.call('HMGET', g_state, unpack(settings))
  if not told[1] then return false end
  for place, field in ipairs(settings) do state[field] = told[place] or '' end
  for place, number in ipairs(redis.call('HMGET', g_state, unpack(numbers))) do
    local field = numbers[place]
    state[field] = tonumber(number or '0')
    before_state[field] = state[field]
  end
  before_state.life, before_state.epoch = state.life, state.epoch
  state.wanted, state.level = levels_of(state.filter), tonumber(state.share)
  state.back = redis.call('ZCARD', g_back)
  -- A server that took another one's place may not have heard of the last leases.
  state.fence = math.max(state.fence, seen_fence)
  if state.epoch ~= epoch or state.offered > last then renew() end
  return true
end

-- Writes what has changed, and announces what others may wait for.
local function settle(silent)
  Runs.settle()
  tell_ready()
  Queues.tell()
  Waiting.tell()
  tell_places()
  for command, keys in pairs(gathered) do
    for key in pairs(keys) do tell(command, key) end
  end
  for offset in pairs(changed) do
    local delivery = deliveries[offset]
    if delivery then
      later('HSET', g_deliveries, text(offset), cmsgpack.pack(delivery))
    else
      later('HDEL', g_deliveries, text(offset))
    end
  end
  tell('HSET', g_deliveries)
  tell('HDEL', g_deliveries)
  for _, field in ipairs(numbers) do
    if state[field] ~= before_state[field] then later('HSET', g_state, field, text(state[field])) end
  end
  for _, field in ipairs({'life', 'epoch'}) do
    if state[field] ~= before_state[field] then later('HSET', g_state, field, state[field]) end
  end
  tell('HSET', g_state)
  redis.call('ZADD', cursors, text(state.offered), name)
  if state.keep == '1' then
    local oldest_open = redis.call('ZRANGE', g_open, 0, 0, 'WITHSCORES')[2]
    local front = redis.call('ZRANGE', g_fronts, 0, 0, 'WITHSCORES')[2]
    local waits = Waiting.first()
    local floor = oldest_open and tonumber(oldest_open) - 1 or state.offered
    if front then floor = math.min(floor, tonumber(front) - 1) end
    redis.call('ZADD', floors, text(waits and math.min(floor, waits - 1) or floor), name)
  end
  if progressed and not silent then redis.pcall(publish, news, '.') end
end
local head = {epoch, first, last, header, raised}
local function answer(...)
  for _, each in ipairs({...}) do head[#head + 1] = each end
  return head
end
"""


def group_script(*parts: str) -> Script:
    """The script that these parts make of a group."""
    return script(HOLES_READ, TOPIC_KEYS, MATCHING, STATE, WAITING, TURNS, RUNS, _LAWS, *parts)

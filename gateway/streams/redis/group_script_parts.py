"""What the scripts of a group are made of: its state in Redis, and what may become of a delivery.

The laws are those of ``core/groups/group.py``, which the tests hold them to. Where that keeps what is
finished, these keep what isn't: a publication up to ``offered`` that is in none of ``open``, ``waiting``,
``back`` and ``runs`` is done. Beside the log of the stream, under the same hash tag, stand for all groups
together:

* ``:groups``, a hash: ``c:NAME``, the configuration as JSON; ``f:NAME``, the filter; ``l:NAME``, how many
  publications retention took that the group hadn't come to.
* ``:cursors`` and ``:floors``, sorted sets: how far each group has come, and up to where those with
  ``keep_unacked`` are through with everything. The append script trims by them.

And for each group, behind ``:group:NAME:``

* ``state``, a hash: settings, counters, and the ``life`` that leases are of.
* ``deliveries``, a hash by offset of what was delivered or delayed, packed: ``l``eased, ``d``elayed,
  ``r``eady or parked, ``x`` dead but holding its key.
* ``due``, a sorted set of leases and delays by their ends; ``held``, the leases by member.
* ``open``, a sorted set by offset of all that was offered and isn't finished; with its share. What waits for
  the turn of its share, and was never out, is in ``waiting`` instead; ``group_waiting_parts`` says how.
* ``ready``, ``turns`` and ``queues``, what may go out; ``group_turn_parts`` says how.
* ``lines``, what is parked behind others of its key, in order; ``places``, a hash: of a key (``k``) the first
  one, of a first one (``o``) its key, of a parked one (``p``) its member of ``lines``.
* ``sent`` and ``back``, copies of dead letters that were sent back, and their offsets; ``dead`` and
  ``graves``, dead letters and their order.
* ``runs``, ``holders`` and ``fronts``: what was leased for the first time by one call, together.
  ``group_run_parts`` says how; it is in none of ``deliveries``, ``open`` and ``held``.
"""

from __future__ import annotations

GROUP_KEYS = (
    "state", "deliveries", "due", "open", "held", "ready", "turns", "lines", "places", "sent", "back",
    "dead", "graves", "runs", "holders", "fronts", "queues",
    "pieces", "waiting",
)  # fmt: skip
"""A group's keys, in the order in which its scripts get them."""

# KEYS also: what all groups share, and the group's own. ARGV also: its name; the time in ms, or '' for that
# of the server; the highest fence that the node has seen; the channel on which what changes is announced.
STATE = r"""
local groups, cursors, floors = unpack(KEYS, 8, 10)
local g_state, g_deliveries, g_due, g_open, g_held, g_ready, g_turns, g_lines, g_places, g_sent, g_back,
  g_dead, g_graves, g_runs, g_holders, g_fronts = unpack(KEYS, 11, 26)
local name, seen_fence, news = ARGV[6], tonumber(ARGV[8]), ARGV[9]
local clock = redis.call('TIME')
local now = tonumber(ARGV[7]) or (clock[1] * 1000 + math.floor(clock[2] / 1000))

local numbers = {'offered', 'fence', 'redelivered', 'lost', 'line', 'grave', 'laying', 'bundled', 'base',
  'queued', 'unheld'}
local settings = {'life', 'epoch', 'filter', 'share', 'backoff', 'ack_wait', 'max_deliver', 'max_in_flight',
  'ordered', 'hold', 'keep', 'dead_most', 'dead_age'}
local state, before_state, progressed = {}, {}, false
local function pack8(number) return struct.pack('>I8', number) end
local function unpack8(packed, at) return (struct.unpack('>I8', packed, at or 1)) end
local prefixes = {}
local function prefixed(string_)
  local prefix = prefixes[string_]
  if not prefix then
    prefix = struct.pack('>I4', #string_) .. string_
    prefixes[string_] = prefix
  end
  return prefix
end

-- What is to be done to a key, gathered; to be told before the key is read.
local gathered = {ZADD = {}, ZREM = {}, HSET = {}, HDEL = {}}
local function later(command, key, argument, other)
  local arguments = gathered[command][key]
  if not arguments then
    arguments = {}
    gathered[command][key] = arguments
  end
  arguments[#arguments + 1] = argument
  if other then arguments[#arguments + 1] = other end
end
local function tell(command, key)
  local arguments = gathered[command][key]
  if not arguments then return end
  gathered[command][key] = nil
  for at = 1, #arguments, 1000 do
    local some = math.min(#arguments, at + 999)
    redis.call(command, key, unpack(arguments, at, some))
  end
end

-- Deliveries, read once and written at the end.
local STATE, DUE, ATTEMPTS, MEMBER, FENCE, SINCE, FAILURES, SHARE, MARK = 1, 2, 3, 4, 5, 6, 7, 8, 9
local deliveries, changed = {}, {}
local function delivery_of(offset)
  local found = deliveries[offset]
  if found == nil then
    local packed = redis.call('HGET', g_deliveries, text(offset))
    found = packed and cmsgpack.unpack(packed) or false
    deliveries[offset] = found
  end
  return found
end
local function known_deliveries(offsets)
  local names, wanted = {}, {}
  for _, offset in ipairs(offsets) do
    if deliveries[offset] == nil then
      names[#names + 1], wanted[#wanted + 1] = text(offset), offset
    end
  end
  for at = 1, #names, 1000 do
    local found = redis.call('HMGET', g_deliveries, unpack(names, at, math.min(#names, at + 999)))
    for number, packed in ipairs(found) do
      deliveries[wanted[at + number - 1]] = packed and cmsgpack.unpack(packed) or false
    end
  end
end
local function put_delivery(offset, delivery)
  deliveries[offset], changed[offset] = delivery, true
end
local function new_delivery(offset, share)
  local delivery = {'r', 0, 0, '', 0, 0, '', share, ''}
  put_delivery(offset, delivery)
  return delivery
end

-- Where a publication can be had: of its entry, or of the copy of what was sent back.
local function entry_of(offset)
  local kept = state.back > 0 and redis.call('HGET', g_sent, text(offset))
  if kept then
    local copy = cmsgpack.unpack(kept)
    return {id(offset), {'h', copy[1], 'r', copy[2]}}
  end
  local entry = redis.call('XRANGE', log, id(offset), id(offset))[1]
  return entry and shaped(entry) and entry or nil
end
local function purged_at(offset)
  local around = missing > 0 and holes_from(offset, 1)[1]
  return around and around.first <= offset and around.reason == 'p'
end

local function topic_in(record)
  local key = key_in(record)
  return key and topic_of(key)
end
local record_keys = {}
local function known_key(record)
  local key = record_keys[record]
  if key == nil then
    key = key_of_publication(record) or false
    record_keys[record] = key
  end
  return key or nil
end
-- Of a record: whose turn it is taken for, and its key.
local function share_and_key(record)
  if state.share == '' and state.ordered ~= '1' then return '', nil end
  if state.share == 'key' and state.ordered ~= '1' then return key_of_publication(record) or '', nil end
  local level, key = state.level, nil
  if state.ordered == '1' then
    key = known_key(record)
  end
  if level then return levels_of(topic_in(record) or '')[level] or '', key end
  return state.share == 'key' and key or '', key
end

-- Who is first of its key, and what is parked where: read once, and written at the end.
local places, replaced, parked = {}, {}, nil
local function read_places(fields)
  local wanted = {}
  for _, field in ipairs(fields) do
    if places[field] == nil then wanted[#wanted + 1] = field end
  end
  for at = 1, #wanted, 1000 do
    local found = redis.call('HMGET', g_places, unpack(wanted, at, math.min(#wanted, at + 999)))
    for number, place in ipairs(found) do places[wanted[at + number - 1]] = place end
  end
end
local function place_of(field)
  if places[field] == nil then places[field] = redis.call('HGET', g_places, field) end
  return places[field]
end
local function put_place(field, place) places[field], replaced[field] = place, true end
local function tell_places()
  for field in pairs(replaced) do
    if places[field] then
      later('HSET', g_places, field, places[field])
    else
      later('HDEL', g_places, field)
    end
  end
  replaced = {}
  tell('HSET', g_places)
  tell('HDEL', g_places)
end
local function forget_places()
  redis.call('UNLINK', g_lines, g_places)
  places, replaced, parked = {}, {}, 0
end
"""

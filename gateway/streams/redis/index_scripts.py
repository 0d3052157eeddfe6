"""What changes a stream's index in Redis besides what is appended: what leaves, what tends it, what purges.

One call is one bounded step, right whatever happened since the one before, and complete in itself.
"""

from __future__ import annotations

from gateway.streams.redis.script_parts import HOLES, INDEX, script
from gateway.streams.redis.search_scripts import SEARCHING

# A part of the script that appends.
LETTING_GO = r"""
-- What goes takes its member of the index along, or becomes a last value that is kept beyond the log. Gives
-- the offset reached: the bytes read for it are bounded.
local function let_go(begin, stop)
  local unsure = index.filled ~= 1 or index.kept_to ~= last
  local bytes, removed, at = 0, 0, begin
  local behind = {} -- groups that have not come to all of it
  for _, name in ipairs(redis.call('ZRANGE', cursors, '-inf', '(' .. text(stop - 1), 'BYSCORE')) do
    local group_filter = redis.call('HGET', groups, 'f:' .. name)
    if group_filter then
      behind[#behind + 1] = {name = name, lost = 0, filter = levels_of(group_filter),
        offered = tonumber(redis.call('ZSCORE', cursors, name))}
    end
  end
  while at < stop and bytes < 1048576 do
    local entries = redis.call('XRANGE', log, id(at), text(stop - 1), 'COUNT', 64)
    local keys, newest_entries = {}, {}
    for _, entry in ipairs(entries) do
      local record = entry[2][4]
      local topic_key = record and key_in(record)
      if topic_key then
        for _, group in ipairs(behind) do
          if leading(entry[1]) > group.offered and matching(group.filter, levels_of(topic_of(topic_key))) then
            group.lost = group.lost + 1
          end
        end
        if not newest_entries[topic_key] then keys[#keys + 1] = topic_key end
        newest_entries[topic_key] = entry
        bytes = bytes + #record
      end
    end
    for _, group in ipairs(behind) do
      if group.lost > 0 then redis.call('HINCRBY', groups, 'l:' .. group.name, group.lost) end
      group.lost = 0
    end
    at = #entries == 64 and leading(entries[64][1]) + 1 or stop
    local scores = #keys > 0 and index.kept_to >= 0 and redis.call('ZMSCORE', order, unpack(keys)) or {}
    for number, topic_key in ipairs(keys) do
      local score, entry = scores[number] and tonumber(scores[number]), newest_entries[topic_key]
      local until_, offset = at, leading(entry[1])
      -- What nodes without last values appended may go before anybody has looked it up: what it replaces, or
      -- ends, must not be taken for the newest that there was.
      if unsure and (score or valued) and (score or 0) < offset and genuine(entry) then
        local latest_member = down(topic_key, last, 1)[1]
        if not latest_member or offset_of(latest_member) <= offset then
          if deletes(entry[2][4]) then
            if score then forget_value(topic_key, score) end
          else
            redis.call('ZADD', order, text(offset), topic_key)
            score = offset
          end
        end
      end
      if score and score < at and score == offset then
        redis.call('HSET', values, topic_key, entry[2][2] .. '\0' .. entry[2][4])
        removed, until_ = removed + 1, score
      end
      removed = removed + redis.call('ZREMRANGEBYLEX', topics, '[' .. topic_key .. '\0\0',
        '(' .. member_of(topic_key, until_))
    end
  end
  if index.from <= begin and removed < at - begin - (missing > 0 and known_missing(begin, at) or 0) then
    index.sweep = math.max(index.sweep, at)
  end
  return at
end
"""

# ARGV also: which node this is; 1 where last values are kept; what it was doing, and where it was with that.
_TEND = r"""
local node, valued, doing, cursor = ARGV[6], ARGV[7] == '1', ARGV[8], ARGV[9]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local index, members, most = mended(), {}, 250
if valued and index.kept_to ~= last then
  index.kept_from, index.kept_to, index.filled = last + 1, last, 0
end
if first > last and valued and redis.call('ZCARD', order) == 0 then index.filled = 1 end
local function job()
  if index.from > first then return 'indexing' end
  if index.sweep > 0 then return 'sweeping ' .. text(index.sweep) end
  if valued and index.filled == 0 then return 'filling ' .. text(index.kept_from) end
  return ''
end
-- One node at a time, as long as it goes on: all of them would do the same.
local other, until_ = string.match(redis.call('HGET', meta, 'tending') or '', '^(%w+) (%d+)$')
local task = job()
if task == '' or (other and other ~= node and tonumber(until_) > now and tonumber(until_) < now + 60000) then
  save(index)
  return {epoch, first, last, header, raised, index.from, task, '', task == '' and 0 or 2}
end
redis.call('HSET', meta, 'tending', node .. ' ' .. text(now + 1000))
if task ~= doing then cursor = '' end

local function note_missing(begin, stop)
  for _, each in ipairs(holes_from(begin, 4000)) do
    if each.first > stop then break end
    if begin < each.first then
      redis.call('ZADD', holes, text(each.first - 1), hole(begin, each.first - 1, 't', 0, 0))
    end
    begin = each.last + 1
  end
  if begin <= stop then redis.call('ZADD', holes, text(stop), hole(begin, stop, 't', 0, 0)) end
end

-- Backwards, so that what is newest is known first.
local function go_on_indexing()
  local bytes, looked, lost = 0, 0, nil
  local function pass(offset) -- all down to this one are missing
    if offset < index.from then
      lost = lost or index.from - 1
      index.from = offset
    end
  end
  local function tell()
    if lost then note_missing(index.from, lost) end
    lost = nil
  end
  while index.from > first and looked < most and bytes < 1048576 do
    if index.was_to == index.from - 1 then
      tell()
      index.from, index.was_from, index.was_to = math.max(index.was_from, first), 0, -1
    else
      local stop = math.max(first, index.was_to + 1)
      local entries = redis.call('XREVRANGE', log, id(index.from - 1), id(stop), 'COUNT', 16)
      for _, entry in ipairs(entries) do
        local publication, offset = genuine(entry), leading(entry[1])
        local key = publication and key_in(entry[2][4])
        looked = looked + 1
        pass(offset + 1)
        if key then
          tell()
          bytes = bytes + #entry[2][4]
          members[#members + 1] = '0'
          members[#members + 1] = member_of(key, offset)
          index.from = offset
        elseif entry[1] == id(offset) then
          pass(offset)
        end
      end
      if #entries < 16 then pass(stop) end
    end
  end
  tell()
  return ''
end

-- Members of what has left the log unseen, or was taken out of it.
local function go_on_sweeping()
  local listed = redis.call('ZRANGE', topics, cursor == '' and '[\0\1' or '[' .. cursor, '+', 'BYLEX',
    'LIMIT', 0, most)
  local gone = {}
  for _, member in ipairs(listed) do
    local offset, left = offset_of(member), false
    if offset < first then
      left = redis.call('HEXISTS', values, string.sub(member, 1, -11)) == 0
    elseif missing > 0 then
      local around = holes_from(offset, 1)[1]
      left = around and around.first <= offset
    end
    if left or offset > last then gone[#gone + 1] = member end
  end
  if #gone > 0 then redis.call('ZREM', topics, unpack(gone)) end
  if #listed < most then index.sweep = 0 end
  return #listed == most and listed[most] .. '\0' or ''
end

-- What is newest of each topic is its last value, unless it says that there is none.
local function go_on_filling()
  local target = cursor == '' and '\0\1' or cursor
  for _ = 1, most / 4 do
    local member = redis.call('ZRANGE', topics, '[' .. target, '+', 'BYLEX', 'LIMIT', 0, 1)[1]
    if not member then
      index.filled = 1
      return ''
    end
    local key = string.sub(member, 1, -11)
    local offset, score = offset_of(down(key, last, 1)[1] or member), redis.call('ZSCORE', order, key)
    if offset >= first then
      local entry = redis.call('XRANGE', log, id(offset), id(offset))[1]
      if score and tonumber(score) ~= offset then forget_value(key, tonumber(score)) end
      if entry and genuine(entry) and not deletes(entry[2][4]) then
        redis.call('ZADD', order, text(offset), key)
      elseif score then
        forget_value(key, tonumber(score))
      end
    end
    target = key .. '\0\1'
  end
  return target
end

if task == 'indexing' then
  cursor = go_on_indexing()
elseif index.sweep > 0 then
  cursor = go_on_sweeping()
else
  cursor = go_on_filling()
end
enter(members)
save(index)
return {epoch, first, last, header, raised, index.from, task, cursor, job() == '' and 0 or 1}
"""

# ARGV also: a filter, the key to go on with, how many seeks, the offset before which.
_PURGE = r"""
local budget, before = tonumber(ARGV[8]), math.min(tonumber(ARGV[9]), last + 1)
local index = index_state()
local known = reach(index)
local reply = {epoch, first, last, header, raised, known, '', 0}
if known > first then return reply end
index = mended()
local taken, count = {}, 0
reply[7] = search(ARGV[6], ARGV[7], budget, function(key)
  local found = redis.call('ZRANGE', topics, '[' .. member_of(key, 0), '(' .. member_of(key, before), 'BYLEX',
    'LIMIT', 0, math.max(1, budget - count))
  local score = redis.call('ZSCORE', order, key)
  for _, member in ipairs(found) do
    local offset = offset_of(member)
    count = count + 1
    local entry = redis.call('XRANGE', log, id(offset), id(offset))[1]
    if entry and redis.call('XDEL', log, id(offset)) == 1 then
      local publication = genuine(entry)
      taken[#taken + 1] = {offset = offset, time = publication and publication.time or 0,
        bytes = publication and #entry[2][4] or 0}
    elseif offset < first and redis.call('HEXISTS', values, key) == 1 then
      reply[8] = reply[8] + 1
    end
  end
  if score and tonumber(score) < before then
    redis.call('ZREM', order, key)
    redis.call('HDEL', values, key)
  end
  if #found > 0 then redis.call('ZREM', topics, unpack(found)) end
  -- The same topic again, where it has more.
  if count >= budget then return false end
  return 2 + #found
end)
reply[8] = reply[8] + #taken
table.sort(taken, function(one, other) return one.offset < other.offset end)
local function add_hole(begin, stop, at, bytes)
  local before_ = begin > 1 and holes_from(begin - 1, 1)[1]
  if before_ and before_.last == begin - 1 and before_.reason == 'p' then
    begin, at, bytes = before_.first, math.max(at, before_.time), bytes + before_.bytes
    redis.call('ZREM', holes, before_.member)
  end
  local next_ = holes_from(stop + 1, 1)[1]
  if next_ and next_.first == stop + 1 and next_.reason == 'p' then
    stop, at, bytes = next_.last, math.max(at, next_.time), bytes + next_.bytes
    redis.call('ZREM', holes, next_.member)
  end
  redis.call('ZADD', holes, text(stop), hole(begin, stop, 'p', at, bytes))
end
local begin, stop, at, bytes
for _, each in ipairs(taken) do
  purged = purged + each.bytes
  if stop and each.offset == stop + 1 then
    stop, at, bytes = each.offset, math.max(at, each.time), bytes + each.bytes
  else
    if begin then add_hole(begin, stop, at, bytes) end
    begin, stop, at, bytes = each.offset, each.offset, each.time, each.bytes
  end
end
if begin then
  add_hole(begin, stop, at, bytes)
  -- What follows the newest publication weighs nothing: the next one counts on from that.
  local entry = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  for _, each in ipairs(holes_from(entry and leading(entry[1]) or 0, 4000)) do
    if each.bytes > 0 then
      purged = purged - each.bytes
      redis.call('ZREM', holes, each.member)
      redis.call('ZADD', holes, text(each.last), hole(each.first, each.last, each.reason, each.time, 0))
    end
  end
  redis.call('HSET', meta, 'purged', text(math.max(0, purged)))
end
if stop == last then header = '' end
if #taken > 0 then settle_front() end
save(index)
reply[2], reply[4] = first, header
return reply
"""

TEND = script(HOLES, INDEX, _TEND)
PURGE = script(HOLES, INDEX, SEARCHING, _PURGE)

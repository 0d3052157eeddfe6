"""What Redis does in one step for a stream that knows its topics: search, fetch, tend the index, purge.

Each step is bounded, in seeks and in what it reads, so that Redis holds no other client up for more than a
few milliseconds. What needs many of them (a filter of a thousand topics, the indexing of a log of before) is
done by calls one after another, each of which is right whatever happened since the one before.
"""

from __future__ import annotations

from gateway.streams.redis.script_parts import HOLES, INDEX, SEARCHING, script

# ARGV also: a filter, the key to go on with, how many seeks; up or down, from which offset, how many offsets
# of each topic; through which offset, and of how many of a topic's newest, or 0 for all. Then topics' keys,
# each with the offset to begin with: with those the filter is not looked for.
_SEARCH = r"""
local filter, target, budget = ARGV[6], ARGV[7], tonumber(ARGV[8])
local rising, bound, count = ARGV[9] == 'up', tonumber(ARGV[10]), tonumber(ARGV[11])
local through, newest_count = math.min(tonumber(ARGV[12]), last), tonumber(ARGV[13])
local known = reach(index_state())
local low = math.max(known, first)
local reply = {epoch, first, last, header, raised, known, '', 0, 0}
local function visit(key)
  reply[8] = reply[8] + 1
  local begin = math.max(bound, low)
  if newest_count > 0 then
    local oldest = down(key, through, 1, newest_count - 1)[1]
    begin = math.max(begin, oldest and offset_of(oldest) or 0)
  end
  local found = rising and up(key, begin, through, count) or down(key, math.min(bound, through), count)
  local offsets, enough = {}, #found == count
  for _, member in ipairs(found) do
    if offset_of(member) < low then
      enough = false
      break
    end
    offsets[#offsets + 1] = string.sub(member, -8)
  end
  if #offsets > 0 then
    reply[#reply + 1] = key
    reply[#reply + 1] = table.concat(offsets)
    reply[#reply + 1] = enough and 1 or 0
  end
  return 1 + (#offsets + newest_count) / 16
end
if #ARGV > 13 then
  for place = 14, #ARGV, 2 do
    bound = tonumber(ARGV[place + 1])
    visit(ARGV[place])
  end
else
  reply[7] = search(filter, target, budget, visit)
  reply[9] = misses
end
return reply
"""

# ARGV also: the offset behind which, and through which this tells; how many bytes; the offsets, 8 bytes each.
_FETCH = r"""
local after, through, size, wanted = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
local begin = math.max(after + 1, first)
local reply, room = {epoch, first, last, header, raised, reach(index_state()), through, {}}, size
for at = 1, #wanted, 8 do
  local offset = struct.unpack('>I8', wanted, at)
  if room <= 0 and #reply > 8 then
    reply[7] = offset - 1
    break
  end
  local entry = redis.call('XRANGE', log, id(offset), id(offset))[1]
  if entry and shaped(entry) then
    room = room - #entry[2][4]
    reply[#reply + 1] = entry[1]
    reply[#reply + 1] = entry[2][2]
    reply[#reply + 1] = entry[2][4]
  end
end
if missing > 0 and begin <= reply[7] then
  local most = 2000
  reply[8] = ranges_of(begin, reply[7], nil, most)
  if #reply[8] == 3 * most then reply[7] = reply[8][3 * most - 1] end
end
return reply
"""

# ARGV also: a filter, the key to go on with, how many seeks, how many topics; 1 where last values are kept.
_TOPICS = r"""
local most, index = tonumber(ARGV[9]), index_state()
local known = reach(index)
if ARGV[10] == '1' and has_values(index) == 0 then known = last + 2 end
local reply = {epoch, first, last, header, raised, known, ''}
if known > first then return reply end
local target, passed = search(ARGV[6], ARGV[7], tonumber(ARGV[8]), function(key, member)
  if #reply >= 7 + 5 * most then return false end
  local oldest, newest_ = offset_of(member), offset_of(down(key, last, 1)[1] or member)
  local value = redis.call('ZSCORE', order, key)
  local kept = value and tonumber(value) == newest_
  if newest_ >= first then
    if oldest < first then oldest = offset_of(up(key, first, last, 1)[1]) end
    local entry = redis.call('XRANGE', log, id(newest_), id(newest_))[1]
    local publication = entry and genuine(entry)
    value = publication and text(publication.time) or text(time)
  elseif kept then
    oldest, value = newest_, redis.call('HGET', values, key)
  else
    return 2
  end
  reply[#reply + 1] = key
  reply[#reply + 1] = oldest
  reply[#reply + 1] = newest_
  reply[#reply + 1] = leading(value or '')
  reply[#reply + 1] = kept and 1 or 0
  return 4
end)
reply[7] = target ~= '' and passed or ''
return reply
"""

# ARGV also: a filter, the key that a search for it begins with; the offset behind which, and through which
# or -1; how many, how many bytes.
_SNAPSHOT = r"""
local filter, after, through = ARGV[6], tonumber(ARGV[8]), tonumber(ARGV[9])
local messages, size = tonumber(ARGV[10]), tonumber(ARGV[11])
if through < 0 or through > last then through = last end
local index = index_state()
local reply = {epoch, first, last, header, raised, has_values(index), through}
if reply[6] == 0 then return reply end
local keys, offsets = {}, {}
local all = filter == '#'
local function take(key, offset)
  if offset and offset > after and offset <= through then
    offsets[#offsets + 1] = offset
    keys[offset] = key
  end
end
-- Few topics are looked for by their names, and taken in the order of their offsets.
local few = not all and reach(index) <= first and search(filter, ARGV[7], 256, function(key)
  local score = redis.call('ZSCORE', order, key)
  take(key, score and tonumber(score))
  return 1
end) == ''
if few then
  table.sort(offsets)
else
  offsets = {}
  local wanted, looks = levels_of(filter), all and messages + 1 or 2000
  local listed = redis.call('ZRANGE', order, '(' .. text(after), text(through), 'BYSCORE', 'LIMIT', 0, looks,
    'WITHSCORES')
  for at = 1, #listed, 2 do
    local key = listed[at]
    if all and string.byte(key) ~= 36 or not all and matching(wanted, levels_of(topic_of(key))) then
      take(key, tonumber(listed[at + 1]))
    end
  end
  if #listed == 2 * looks then reply[7] = tonumber(listed[#listed]) end
end
-- Some are read at once where they stand side by side.
local read = {}
local function read_from(place)
  read = {}
  local begin, stop, fields = offsets[place], offsets[math.min(#offsets, place + 31)], {}
  if begin < first then
    while offsets[place] and offsets[place] < first and #fields < 32 do
      fields[#fields + 1] = keys[offsets[place]]
      place = place + 1
    end
    local found = redis.call('HMGET', values, unpack(fields))
    for number, kept in ipairs(found) do
      local middle = kept and string.find(kept, '\0', 1, true)
      read[offsets[place - #fields + number - 1]] = middle
        and {string.sub(kept, 1, middle - 1), string.sub(kept, middle + 1)}
    end
  else
    if stop - begin > 64 then stop = begin end
    for _, entry in ipairs(redis.call('XRANGE', log, id(begin), id(stop))) do
      local fields_ = entry[2]
      if #fields_ == 4 then read[leading(entry[1])] = {fields_[2], fields_[4]} end
    end
  end
end
for place, offset in ipairs(offsets) do
  if place > 1 and (place > messages or size <= 0) then
    reply[7] = offsets[place - 1]
    break
  end
  if read[offset] == nil then read_from(place) end
  local kept = read[offset]
  if kept then
    size = size - #kept[2]
    reply[#reply + 1] = id(offset)
    reply[#reply + 1] = kept[1]
    reply[#reply + 1] = kept[2]
  end
end
return reply
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
  redis.call('HSET', meta, 'purged', text(purged))
end
if stop == last then header = '' end
if #taken > 0 then settle_front() end
save(index)
reply[2], reply[4] = first, header
return reply
"""

SEARCH = script(HOLES, INDEX, SEARCHING, _SEARCH)
FETCH = script(HOLES, INDEX, _FETCH)
TOPICS = script(HOLES, INDEX, SEARCHING, _TOPICS)
SNAPSHOT = script(HOLES, INDEX, SEARCHING, _SNAPSHOT)
TEND = script(HOLES, INDEX, _TEND)
PURGE = script(HOLES, INDEX, SEARCHING, _PURGE)

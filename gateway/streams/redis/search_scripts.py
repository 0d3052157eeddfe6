"""How Redis finds by topic what a log holds: topics that match, their offsets, publications, last values.

What needs many steps (a filter of a thousand topics) is done by calls one after another, each of them bounded
in seeks and in what it reads, so that Redis holds no other client up for more than a few milliseconds.
"""

from __future__ import annotations

from gateway.streams.redis.script_parts import HOLES, INDEX, script

# As core/topics/grammar.py does it.
MATCHING = r"""
local function topic_of(key) return (string.gsub(key, '%z\1', '/')) end
local function levels_of(topic)
  local levels = {}
  for level in string.gmatch(topic .. '/', '([^/]*)/') do levels[#levels + 1] = level end
  return levels
end
local function matching(wanted, levels)
  local deep = wanted[#wanted] == '#'
  local count = deep and #wanted - 1 or #wanted
  if string.sub(levels[1], 1, 1) == '$' and (wanted[1] == '+' or wanted[1] == '#') then return false end
  if #levels < count or (#levels > count and not deep) then return false end
  for place = 1, count do
    if wanted[place] ~= '+' and wanted[place] ~= levels[place] then return false end
  end
  return true
end
"""

# As core/streams/topic_keys.py does it.
SEARCHING = (
    MATCHING
    + r"""
-- In bytes: Lua compares as the server's locale does.
local function less(one, other)
  for place = 1, math.min(#one, #other) do
    local left, right = string.byte(one, place), string.byte(other, place)
    if left ~= right then return left < right end
  end
  return #one < #other
end
local function behind(levels, count) return key_of(table.concat(levels, '/', 1, count)) .. '\0\2' end
-- The least key behind a topic that doesn't match that may be of one that does. As in topic_keys.py.
local function next_candidate(wanted, levels)
  local turn = 0
  for place, level in ipairs(wanted) do
    if level == '#' then return behind(levels, 1) end
    if place > #levels then
      return key_of(table.concat(levels, '/') .. '/' .. (level == '+' and '' or level))
    end
    if level == '+' then
      turn = place
    elseif levels[place] ~= level then
      if less(levels[place], level) then
        local before = place > 1 and table.concat(levels, '/', 1, place - 1) .. '/' or ''
        return key_of(before .. level)
      end
      break
    end
  end
  return turn > 0 and behind(levels, turn) or nil
end
local misses = 0 -- keys that were found and don't match
-- Visits the topics that a filter matches from a key on; the visitor says what that cost, in seeks, and
-- false to stop. Gives the key to go on with, or '' where there are no more, and the last key that was
-- passed.
local function search(filter, target, budget, visit)
  local wanted, passed = levels_of(filter), ''
  while target do
    if budget <= 0 then return target, passed end
    if target == '' then target = '\0\1' end
    local member = redis.call('ZRANGE', topics, '[' .. target, '+', 'BYLEX', 'LIMIT', 0, 1)[1]
    budget = budget - 1
    if not member or #member < 11 then return '', passed end
    local key = string.sub(member, 1, -11)
    local levels = levels_of(topic_of(key))
    if matching(wanted, levels) then
      local cost = visit(key, member)
      if not cost then return key, passed end
      budget, target = budget - cost, key .. '\0\1'
    else
      misses, target = misses + 1, next_candidate(wanted, levels)
    end
    passed = key
  end
  return '', passed
end
"""
)

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
  else
    -- A value that another hand removed with its entry is none, until the index has been gone over.
    value = kept and redis.call('HGET', values, key)
    if not value then return 3 end
    oldest = newest_
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

# ARGV also: a filter, the key to go on with, how many seeks, the offset behind which, and through which.
_COUNT = r"""
local filter, target, budget = ARGV[6], ARGV[7], tonumber(ARGV[8])
local low, through = math.max(tonumber(ARGV[9]) + 1, first), math.min(tonumber(ARGV[10]), last)
local known = reach(index_state())
local reply = {epoch, first, last, header, raised, known, '', 0}
if known > first or low > through then return reply end
-- Everything, where no topic is hidden from it and all that is missing is known one by one.
if filter == '#' and #redis.call('ZRANGE', topics, '[$', '(%', 'BYLEX', 'LIMIT', 0, 1) == 0
  and known_missing(first, last + 1) == missing then
  reply[8] = through - low + 1 - (missing > 0 and known_missing(low, through + 1) or 0)
  return reply
end
reply[7] = search(filter, target, budget, function(key)
  reply[8] = reply[8] + redis.call('ZLEXCOUNT', topics, '[' .. member_of(key, low),
    '[' .. member_of(key, through))
  return 1
end)
return reply
"""

# ARGV also: a filter, the key to go on with, how many seeks, the offset before which; the offset to begin
# with in the topic of that key.
_MEASURE = r"""
local filter, target, budget, resumed = ARGV[6], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[10])
local before = math.min(tonumber(ARGV[9]), last + 1)
local known = reach(index_state())
local reply = {epoch, first, last, header, raised, known, '', 0, 0, 0, 0, 0}
if known > first then return reply end
local function take(offset, bytes)
  reply[9], reply[10] = reply[9] + 1, reply[10] + bytes
  if reply[11] == 0 or offset < reply[11] then reply[11] = offset end
  reply[12] = math.max(reply[12], offset)
end
local left = budget
reply[7] = search(filter, target, budget, function(key)
  local begin = key == target and resumed or 0
  local found = redis.call('ZRANGE', topics, '[' .. member_of(key, begin), '(' .. member_of(key, before),
    'BYLEX', 'LIMIT', 0, left)
  for _, member in ipairs(found) do
    local offset = offset_of(member)
    if offset >= first then
      local entry = redis.call('XRANGE', log, id(offset), id(offset))[1]
      if entry then take(offset, genuine(entry) and #entry[2][4] or 0) end
    else
      local kept = redis.call('HGET', values, key)
      if kept then take(offset, #kept - (string.find(kept, '\0', 1, true) or 0)) end
    end
  end
  left = left - #found
  if left <= 0 then
    reply[8] = offset_of(found[#found]) + 1
    return false
  end
  return 1 + #found
end)
return reply
"""

SEARCH = script(HOLES, INDEX, SEARCHING, _SEARCH)
COUNT = script(HOLES, INDEX, SEARCHING, _COUNT)
MEASURE = script(HOLES, INDEX, SEARCHING, _MEASURE)
FETCH = script(HOLES, INDEX, _FETCH)
TOPICS = script(HOLES, INDEX, SEARCHING, _TOPICS)
SNAPSHOT = script(HOLES, INDEX, SEARCHING, _SNAPSHOT)

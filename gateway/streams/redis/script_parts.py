"""What the scripts of a stream are made of: how each begins, and what those share that know its topics.

Beside the log stand, under the same hash tag:

* ``:topics``, a sorted set with all scores 0. One member for each publication kept: the topic's key
  (``core/streams/topic_keys.py``), two NULs and the offset in 8 bytes, highest first. So the offsets of a
  topic are one range in order, and the topics under a level stand together. Where a last value is kept beyond
  retention, its member stays. The first member is none of a topic: it tells of what log the index is, and how
  much of it it knows (``index_state``).
* ``:holes``, a sorted set of the ranges of offsets that are known to have no publication, by their last
  offset: ``FIRST LAST REASON TIME BYTES``, the reason ``p`` where they were purged, ``t`` otherwise; the
  newest time and the bytes of what was purged, which the hash ``:meta`` has of all holes together.
* ``:order``, a sorted set: each topic's key with the offset of its last value.
* ``:values``, a hash of the last values that have left the log: topic's key, header and record.

Earlier releases change the log alone. So every script compares what the index says of the log with the log
itself, and believes it from the offset on from which the two agree; what is missing is put right step by
step, in the background (``TEND`` of ``index_scripts``).
"""

from __future__ import annotations

import hashlib

from gateway.streams.redis.record_parts import RECORDS
from gateway.streams.redis.script import Script


def script(*parts: str) -> Script:
    """The script that these parts make, behind the opening of all."""
    text = "".join((OPENING, *parts))
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


# KEYS: as Keys.all has them. ARGV: epoch, offset and header seen last; a nonce; PUBLISH or SPUBLISH.
OPENING = r"""
local log, meta, channel, topics, holes, order, values = unpack(KEYS, 1, 7)
local seen_epoch, seen_offset, seen_header = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local nonce, publish = ARGV[4], ARGV[5]

-- Redis runs nothing else meanwhile, so what is read here is true until the end of the script.
-- Others may have written here too. No double tells offsets apart from 2^53 on, and searching by halves would
-- never end there.
local most = 2 ^ 53 - 2 ^ 20
local function text(number) return string.format('%.0f', number) end
local function id(offset) return text(offset) .. '-0' end
local function leading(string_) return tonumber(string.match(string_ or '', '^%d+')) or 0 end
local function bounded(number) return number and number <= most and number or nil end
local function seal(entry_id, stem, record)
  return ' ~' .. string.sub(redis.sha1hex(entry_id .. ' ' .. stem .. ' ' .. string.sub(record, 1, 5)), 1, 8)
end
-- The offset of an entry as text, where it may be one that a gateway wrote.
local function shaped(entry)
  local fields = entry[2]
  return #fields == 4 and fields[1] == 'h' and fields[3] == 'r' and fields[4] ~= ''
    and string.match(entry[1], '^(%d+)%-0$')
end
-- What an entry says of its publication, or nothing where no gateway wrote it so. Without a seal it is of an
-- earlier release.
local function genuine(entry)
  if not shaped(entry) then return nil end
  local header, record = entry[2][2], entry[2][4]
  local stem, time, before, mark = string.match(header, '^((%d+) (%d+) %w+)(.*)$')
  time, before = bounded(tonumber(time or '')), bounded(tonumber(before or ''))
  if not time or not before or (mark ~= '' and mark ~= seal(entry[1], stem, record)) then return nil end
  return {offset = leading(entry[1]), time = time, before = before, through = before + #record,
    header = header}
end
-- The first publication from an offset on; what no gateway wrote is passed, but not for ever.
local function made(offset)
  for _, count in ipairs({1, 16}) do
    for _, entry in ipairs(redis.call('XRANGE', log, id(offset), '+', 'COUNT', count)) do
      local publication = genuine(entry)
      if publication then return publication end
    end
  end
end
local function nothing(offset) return not redis.call('XRANGE', log, id(offset), '+', 'COUNT', 1)[1] end

-- The last id that was generated, not that of the newest entry: a log that was trimmed to nothing, or whose
-- newest entry somebody removed, must not give an offset twice.
local first, last, length, oldest, newest, recent = 1, 0, 0, false, nil, nil
if redis.call('EXISTS', log) == 1 then
  local info, named = redis.call('XINFO', 'STREAM', log), {}
  for place = 1, #info, 2 do named[info[place]] = info[place + 1] end
  oldest = named['first-entry']
  last, length = leading(named['last-generated-id']), named['length']
  if last > most then
    return redis.error_reply('OUTOFRANGE the log has had an entry ' .. named['last-generated-id']
      .. ', which no gateway makes')
  end
  first = oldest and math.max(1, leading(oldest[1])) or last + 1
  if oldest then
    recent = genuine(named['last-entry'])
    newest = recent and recent.offset == last and recent
  end
  if oldest and not recent then
    for _, entry in ipairs(redis.call('XREVRANGE', log, '+', '-', 'COUNT', 64)) do
      recent = genuine(entry)
      if recent then break end
    end
  end
end
local known = redis.call('HMGET', meta, 'epoch', 'last', 'time', 'total', 'front', 'purged', 'ends')
-- What was purged where the log begins is of the log, as long as the same entry follows it.
local front, following = string.match(known[5] or '', '^(%d+) (%d+)$')
front = bounded(tonumber(front or ''))
if front and front > 0 and front < first and tonumber(following) == (oldest and leading(oldest[1]) or 0) then
  first = front
end
-- How many offsets have no entry.
local missing = last + 1 - first - length
local epoch = known[1] or ''
if #epoch > 64 or not string.match(epoch, '^%d+%-%w+$') or not bounded(leading(epoch)) then epoch = '' end
-- The log itself is believed before the figures beside it. Those may be somebody's too: bytes so many that
-- what is appended would soon be out of bounds are none.
local time, total = bounded(leading(known[3])) or 0, leading(known[4])
if total * 2 > most then total = 0 end
if newest then
  time = newest.time
elseif recent then
  time = math.max(time, recent.time)
end
if recent then total = recent.through end
-- Empty where somebody removed or damaged the newest entry: its offset stays given.
local header = newest and newest.header or ''

-- The two records of the log against each other, then against what the node has seen.
local function contradicted()
  if epoch == '' or tonumber(known[2]) ~= last then return true end
  if seen_epoch == '' then return false end
  if seen_epoch ~= epoch then return leading(seen_epoch) >= leading(epoch) end
  if seen_offset > last then return true end
  if seen_header == '' or seen_offset < first then return false end
  -- What is missing or damaged although the log goes on is a hole. Another log holds another publication.
  local same = newest
  if seen_offset ~= last then
    local entry = redis.call('XRANGE', log, id(seen_offset), id(seen_offset))[1]
    same = entry and genuine(entry)
  end
  return same and same.header ~= seen_header
end

local function note()
  redis.call('HSET', meta, 'epoch', epoch, 'last', text(last), 'time', text(time), 'total', text(total))
end
-- What was written stays, so this may not fail: where it is refused, the probe below tells.
local function announce() return redis.pcall(publish, channel, epoch .. ' ' .. text(last)) end

-- Before anything is appended or read, in the same step: no answer is of a life that is known to be over.
local raised, ends = 0, known[7] or ''
if contradicted() then
  if known[1] or last > 0 or seen_epoch ~= '' then raised = 1 end
  epoch = text(math.max(leading(epoch), leading(seen_epoch)) + 1) .. '-' .. nonce
  -- Where former lives of the log end that groups may have read.
  ends = string.sub(text(leading(epoch)) .. ' ' .. text(last) .. ';' .. ends, 1, 500)
  redis.call('HSET', meta, 'ends', ends)
  note()
  announce()
end
"""

HOLES_READ = r"""
-- Known holes that end at an offset or behind it, in order.
local function holes_from(offset, count)
  local found = {}
  for _, member in ipairs(redis.call('ZRANGE', holes, text(offset), '+inf', 'BYSCORE', 'LIMIT', 0, count)) do
    local begin, stop, reason, at, bytes = string.match(member, '^(%d+) (%d+) (%l) (%d+) (%d+)$')
    begin, stop = bounded(tonumber(begin or '')), bounded(tonumber(stop or ''))
    if begin and stop then
      found[#found + 1] = {first = begin, last = stop, reason = reason, time = tonumber(at),
        bytes = tonumber(bytes), member = member}
    end
  end
  return found
end
"""

HOLES = (
    HOLES_READ
    + r"""
local function hole(begin, stop, reason, at, bytes)
  return table.concat({text(begin), text(stop), reason, text(at), text(bytes)}, ' ')
end
-- Bytes that were purged of what headers count from an offset on, below which there is nothing but holes.
local purged, purged_before = bounded(leading(known[6])) or 0, nil
local function purged_from(offset)
  if purged == 0 then return 0 end
  purged_before = purged_before or holes_from(0, 4000)
  local bytes = purged
  for _, each in ipairs(purged_before) do
    if each.last >= offset then break end
    bytes = bytes - each.bytes
  end
  return math.max(0, bytes)
end
-- Forgets holes that have left the log.
local function forget_holes()
  local left, bytes = {}, 0
  for _, each in ipairs(holes_from(0, 4000)) do
    if each.last >= first then break end
    left[#left + 1], bytes = each.member, bytes + each.bytes
  end
  if #left > 0 then redis.call('ZREM', holes, unpack(left)) end
  if bytes > 0 then
    purged, purged_before = math.max(0, purged - bytes), nil
    redis.call('HSET', meta, 'purged', text(purged))
  end
end
-- How many of the offsets from begin on, before stop, are known to be missing.
local function known_missing(begin, stop)
  local count = 0
  for _, hole in ipairs(holes_from(begin, 4000)) do
    if hole.first >= stop then break end
    count = count + math.min(hole.last, stop - 1) + 1 - math.max(hole.first, begin)
  end
  return count
end
-- The ranges of a reason from an offset on up to another, flat.
local function ranges_of(begin, through, reason, count)
  local ranges = {}
  for _, hole in ipairs(holes_from(begin, count)) do
    if hole.first > through then break end
    if not reason or hole.reason == reason then
      ranges[#ranges + 1] = math.max(hole.first, begin)
      ranges[#ranges + 1] = math.min(hole.last, through)
      if not reason then ranges[#ranges + 1] = hole.reason end
    end
  end
  return ranges
end
"""
)

TOPIC_KEYS = (
    RECORDS
    + r"""
local keyed = {}
local function key_of(topic)
  local key = keyed[topic]
  if not key then
    key = string.gsub(topic, '/', '\0\1')
    keyed[topic] = key
  end
  return key
end
local function member_of(key, offset) return key .. '\0\0' .. struct.pack('>I8', offset) end
local function offset_of(member) return (struct.unpack('>I8', member, #member - 7)) end
-- The key of a record's topic: behind the version, the checksum and the head of an array of few fields.
local function key_in(record)
  local at = byte(record) == 2 and 7 or 3
  local mark, size = byte(record, at) or 0, nil
  if mark >= 0xa0 and mark < 0xc0 then size = mark - 0xa0
  elseif mark == 0xd9 then size, at = byte(record, at + 1), at + 1
  elseif mark == 0xda then
    local high, low = byte(record, at + 1, at + 2)
    size, at = low and high * 256 + low, at + 2
  end
  local topic = size and string.sub(record, at + 1, at + size)
  if not topic then return nil end
  if keyed[topic] then return keyed[topic] end
  if topic == '' or #topic ~= size or string.find(topic, '%z') then return nil end
  return key_of(topic)
end
"""
)

INDEX = (
    TOPIC_KEYS
    + r"""
-- The eighth field of a record says that the publication ends its topic's last value, the ninth is its delay:
-- one byte each where there is none.
local function deletes(record)
  local count = string.byte(record, string.byte(record) == 2 and 6 or 2)
  if count == 0x98 then return string.byte(record, -1) == 0xc3 end
  if count ~= 0x99 then return false end
  if ends_in_nil(record) then return string.byte(record, -2) == 0xc3 end
  local places = places_in(record)
  return places and string.byte(record, places[8]) == 0xc3
end

local function up(key, offset, through, count)
  return redis.call('ZRANGE', topics, '[' .. member_of(key, offset), '[' .. member_of(key, through), 'BYLEX',
    'LIMIT', 0, count)
end
local function down(key, offset, count, skipped)
  return redis.call('ZRANGE', topics, '[' .. member_of(key, offset), '[' .. key .. '\0\0', 'BYLEX', 'REV',
    'LIMIT', skipped or 0, count)
end

-- What the index says of itself: the offsets that it covers; another such range, before the first; the log's
-- first offset and the number of those that are missing; the offset before which members may be left over;
-- the offsets through which last values have been kept, and whether those before were filled in; and the
-- header of the log's last publication.
local parts = {'from', 'to', 'was_from', 'was_to', 'first', 'missing', 'sweep',
  'kept_from', 'kept_to', 'filled'}
local state_form = '^%z%z' .. string.rep('(%-?%d+) ', #parts) .. '(.*)$'
local function index_state()
  local member = redis.call('ZRANGE', topics, '[\0\0', '(\0\1', 'BYLEX', 'LIMIT', 0, 1)[1]
  if not member then return nil end
  local told, index = {string.match(member, state_form)}, {member = member}
  if #told == 0 then return index end
  for place, name in ipairs(parts) do index[name] = tonumber(told[place]) end
  index.header = told[#parts + 1]
  return index
end
local function believable(index)
  return index and index.from and index.to == last and index.first == first and index.missing == missing
    and (index.header == header or index.header == '' or header == '')
end
-- The offset from which on the index knows everything, and nothing but what there is; 0 where that is all.
local function reach(index)
  local from = believable(index) and index.sweep <= first and index.from or last + 1
  return from > first and from or 0
end
local function has_values(index) return index and index.filled == 1 and index.kept_to == last and 1 or 0 end

-- The index as it has to be for the log as it is now. To be called before anything is written.
local function mended()
  local index = index_state()
  if index and index.from then
    local there = header
    if index.to ~= last then
      local entry = redis.call('XRANGE', log, id(math.max(0, index.to)), id(math.max(0, index.to)))[1]
      there = entry and entry[2][2] or ''
    end
    if index.to > last or index.first > first
      or (there ~= '' and index.header ~= '' and there ~= index.header) then
      -- It is another log's.
      redis.call('UNLINK', topics, holes, order, values)
      redis.call('HDEL', meta, 'purged', 'front')
      index = nil
    end
  end
  if not index or not index.from then
    index = {member = index and index.member, from = last + 1, to = last, was_from = 0, was_to = -1,
      first = first, missing = missing, sweep = 0, kept_from = 0, kept_to = -1, filled = 0, header = header}
  end
  -- Somebody who doesn't know the index has trimmed, or has removed entries.
  if index.first < first then
    index.missing = index.missing - known_missing(index.first, first)
    index.first, index.sweep = first, math.max(index.sweep, first)
    forget_holes()
  end
  if index.missing ~= missing then
    index.from, index.to, index.was_from, index.was_to = last + 1, last, 0, -1
    index.sweep, index.kept_from, index.filled = last + 1, last + 1, 0
  end
  -- Or has appended.
  if index.to < last then
    if index.to - index.from > index.was_to - index.was_from then
      index.was_from, index.was_to = index.from, index.to
    end
    index.from, index.to = last + 1, last
  end
  return index
end
local function enter(members)
  for at = 1, #members, 2000 do
    redis.call('ZADD', topics, unpack(members, at, math.min(#members, at + 1999)))
  end
end
-- Keeps what the index says of itself.
local function save(index)
  index.from = math.max(index.from, first)
  if index.was_to < first then index.was_from, index.was_to = 0, -1 end
  index.to, index.first, index.header = last, first, header
  index.missing = last + 1 - first - redis.call('XLEN', log)
  local told = {}
  for place, name in ipairs(parts) do told[place] = text(index[name]) end
  local member = '\0\0' .. table.concat(told, ' ') .. ' ' .. header
  if member ~= index.member then
    redis.call('ZADD', topics, '0', member)
    if index.member then redis.call('ZREM', topics, index.member) end
  end
end
-- Where the log begins: with what was purged, as long as that may still be told.
local function settle_front()
  local entry = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
  local following = entry and leading(entry[1]) or 0
  local stop = entry and following or last + 1
  for _, hole in ipairs(holes_from(first, 16)) do
    if hole.reason == 'p' and hole.first < stop then
      first = math.max(first, hole.first)
      redis.call('HSET', meta, 'front', text(first) .. ' ' .. text(following))
      return
    end
  end
  first = stop
  -- Whatever was told before may have the same entry behind it.
  redis.call('HDEL', meta, 'front')
end
local function forget_value(key, offset)
  redis.call('ZREM', order, key)
  if redis.call('HDEL', values, key) == 1 and offset < first then
    redis.call('ZREM', topics, member_of(key, offset))
  end
end
"""
)

"""What Redis does in one step for a stream: append, read, describe.

A stream is some keys with one hash tag, so that a cluster keeps them together (``script_parts`` has those of
the index of topics, which is changed in the same steps):

* ``{prefix:stream:NAME}:log``, a Redis stream. The publication with offset 7 has the id ``7-0`` and two
  fields: ``h``, its header, and ``r``, its record. The header holds the time, the bytes of all records before
  it since the log began, the nonce of the call that appended it, and a seal (``entries`` says what it binds).
  Differences of the bytes before make a range's size known by looking at its ends, so trimming and paging
  need no counters that could be wrong. Whatever else somebody wrote there is a hole.
* ``{prefix:stream:NAME}:meta``, a hash: epoch, last offset, time, bytes so far. It says what the log does not
  when it is empty, and is a second record: where the two disagree, one of them was lost or restored.
* ``{prefix:stream:NAME}:groups`` and others are those of the groups that work the stream off
  (``group_script_parts``).
* ``{prefix:stream:NAME}:once:DIGEST``, one key per idempotency key, which expires with the dedupe window.

An epoch is ``NUMBER-NONCE``; the number grows, so that of two epochs it is clear which came first, also after
a failover to a server that had not heard of the second. Every call says what its node has seen of the log
last: epoch, offset and header. A log that contradicts it has lost something, and begins a new epoch before
anything else is done; its offsets go on behind its own end.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.streams.configuration import Bounds
from gateway.redis.servers import channel_prefix
from gateway.streams.redis.group_script_parts import GROUP_KEYS
from gateway.streams.redis.index_scripts import LETTING_GO
from gateway.streams.redis.script_parts import HOLES, INDEX, script
from gateway.streams.redis.search_scripts import MATCHING

if TYPE_CHECKING:
    from gateway.redis.wire import Reply

# ARGV also: most messages, bytes, ms of age, how many to trim at most; 1 where last values are kept, how
# many, and their age in ms or 0; then for each publication its record and either '' or '=' with a
# fingerprint, its id, and its dedupe window in ms, with one more of KEYS.
_APPEND = r"""
local messages, size, age = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local step = tonumber(ARGV[9])
local valued, most_values, value_age = ARGV[10] == '1', tonumber(ARGV[11]), tonumber(ARGV[12])
local clock = redis.call('TIME')
time = math.max(time, clock[1] * 1000 + math.floor(clock[2] / 1000))

-- Without publications: whether there could be one. None of this changes anything: the id is refused by any
-- log that there is, unless the right to add, or the memory for it, was missing before.
if #ARGV < 13 then
  local probes = {redis.pcall('XADD', log, 'NOMKSTREAM', '0-1', 'h', '') or 0, announce(),
    redis.pcall('GET', meta) or 0, redis.pcall('SET', meta, '', 'NX') or 0,
    redis.pcall('XTRIM', log, 'MINID', '0')}
  for _, probe in ipairs(probes) do
    local refusal = type(probe) == 'table' and probe.err or ''
    if string.find(refusal, 'OOM') or string.find(refusal, 'permission') then
      return redis.error_reply(refusal)
    end
  end
end

-- What is refused of keys is refused before anything is written: a key that can't be read would be published
-- again, and half a call would look like a log that lost something. The second probe changes nothing.
local function refused(reply)
  return type(reply) == 'table' and reply.err and not string.find(reply.err, 'WRONGTYPE') and reply.err
end
for _, probe in ipairs({redis.pcall('ZADD', topics, 'XX', 0, ''), redis.pcall('ZREM', topics, '')}) do
  if refused(probe) then return redis.error_reply(refused(probe)) end
end
for place = 11, #KEYS do
  local kept = redis.pcall('GET', KEYS[place])
  local refusal = refused(kept) or (not kept and refused(redis.pcall('SET', KEYS[place], '', 'XX')))
  if refusal then return redis.error_reply(refusal) end
  if not kept then break end
end

-- What a group with keep_unacked isn't through with stays, so there may be no room for more.
local groups, cursors, floors = KEYS[8], KEYS[9], KEYS[10]
local lowest_floor = redis.call('ZRANGE', floors, 0, 0, 'WITHSCORES')[2]
local kept_from = lowest_floor and math.max(first, tonumber(lowest_floor) + 1)
local kept_before = nil
local function overfull(bytes)
  if not kept_from or kept_from > last then return false end
  if last + 2 - kept_from > messages then return true end
  if not kept_before then
    local kept = made(kept_from)
    kept_before = kept and kept.before + purged_from(kept.offset) or total
  end
  return total + bytes - kept_before > size
end

-- In a cluster a script may use no key that was not named, so those of the idempotency keys came along.
local opening, ending = text(time) .. ' ', ' ' .. nonce
local answers, place, key, before_this = {}, 13, 11, last
local index, members, names, latest = mended(), {}, {}, {}
while place <= #ARGV do
  local record, once, name, label, window, answer = ARGV[place], ARGV[place + 1], nil, nil, nil, nil
  place = place + 2
  if once ~= '' then
    name, label, window = KEYS[key], ARGV[place], ARGV[place + 1]
    key, place = key + 1, place + 2
    -- What others wrote there counts as nothing: an append fails for no foreign key.
    local kept = redis.pcall('GET', name)
    local read, was = pcall(cmsgpack.unpack, kept)
    if read and type(was) == 'table' and type(was[3]) == 'string' then
      local offset = bounded(tonumber(was[2]))
      if offset and offset >= 1 and offset == math.floor(offset) then
        answer = was[1] == once and {offset, was[3]} or -1
      end
    end
  end
  if not answer and overfull(#record) then answer = -2 end
  if not answer then
    last = last + 1
    local entry_id, stem = id(last), opening .. text(total) .. ending
    header = stem .. seal(entry_id, stem, record)
    redis.call('XADD', log, entry_id, 'h', header, 'r', record)
    total = total + #record
    local topic_key = key_in(record)
    if topic_key then
      members[#members + 1] = '0'
      members[#members + 1] = member_of(topic_key, last)
      if valued then
        if latest[topic_key] == nil then names[#names + 1] = topic_key end
        latest[topic_key] = not deletes(record) and last
      end
    end
    if name then
      redis.call('SET', name, cmsgpack.pack({once, text(last), label}), 'PX', window)
    end
    answer = last
  end
  answers[#answers + 1] = answer
end

-- Before anything goes: should that be refused, the log and what is noted of it agree all the same.
if #answers > 0 then note() end
if last > before_this then announce() end
enter(members)

if valued then
  if index.kept_to ~= before_this then
    index.kept_from, index.filled = before_this + 1, first > before_this and 1 or 0
  end
  index.kept_to = last
end
if #names > 0 then
  local scores, kept = redis.call('ZMSCORE', order, unpack(names)), {}
  for at, topic_key in ipairs(names) do
    local before = scores[at] and tonumber(scores[at])
    if before and before < first then forget_value(topic_key, before) end
    if latest[topic_key] then
      kept[#kept + 1] = text(latest[topic_key])
      kept[#kept + 1] = topic_key
    elseif before then
      redis.call('ZREM', order, topic_key)
    end
  end
  if #kept > 0 then redis.call('ZADD', order, unpack(kept)) end
end

-- The newest publication goes for its age alone: those who follow the log must get to see it.
local function gone(offset)
  if kept_from and offset >= kept_from then return false end
  if offset < last and last - offset >= messages then return true end
  local kept = made(offset)
  if kept then
    return kept.time < time - age
      or (kept.offset < last and total - kept.before - purged_from(kept.offset) > size)
  end
  if not nothing(offset) then return false end
  -- What was purged is told for as long as it would have been kept.
  local around = missing > 0 and holes_from(offset, 1)[1]
  return not (around and around.reason == 'p' and around.time >= time - age)
end
-- First in growing strides, then by halves: mostly few entries go, and those are found in few steps.
local keep, limit = first, math.min(last + 1, first + step)
if keep < limit and gone(keep) then
  local low, high, stride = keep, keep + 1, 1
  while high < limit and gone(high) do
    low, stride = high, stride * 2
    high = math.min(limit, high + stride)
  end
  while high - low > 1 do
    local middle = low + math.floor((high - low) / 2)
    if gone(middle) then low = middle else high = middle end
  end
  keep = high
end

"""

_TRIM = r"""
local reached = keep
if keep > first then
  reached = let_go(first, keep)
  redis.call('XTRIM', log, 'MINID', id(reached))
end
local more = keep > first and (keep == limit or reached < keep) and reached <= last and 1 or 0
first = reached
if missing > 0 then
  forget_holes()
  settle_front()
end

-- The last values that changed longest ago go first.
local evicted = 0
local surplus = valued and redis.call('ZCARD', order) - most_values or 0
if surplus > 0 or (valued and value_age > 0) then
  local oldest_values = redis.call('ZRANGE', order, 0, math.max(15, math.min(surplus, 500) - 1), 'WITHSCORES')
  local left = 0
  evicted = math.max(0, math.min(surplus, #oldest_values / 2))
  for at = 1, #oldest_values, 2 do
    local topic_key, offset, aged = oldest_values[at], tonumber(oldest_values[at + 1]), false
    if surplus <= 0 and value_age > 0 then
      local kept = redis.call('HGET', values, topic_key)
      local entry = not kept and redis.call('XRANGE', log, id(offset), id(offset))[1]
      local told = kept or (entry and entry[2][2]) or '0'
      aged = leading(told) < time - value_age
    end
    if surplus <= 0 and not aged then break end
    forget_value(topic_key, offset)
    surplus, left = surplus - 1, at + 1
  end
  if left > 0 and left == #oldest_values then more = 1 end
end
save(index)
return {epoch, first, last, header, raised, time, more, evicted, unpack(answers)}
"""

# ARGV also: the offset to read behind, how many messages, how many bytes.
_READ = """
local begin, messages, size = math.max(tonumber(ARGV[6]) + 1, first), tonumber(ARGV[7]), tonumber(ARGV[8])
local reply = {epoch, first, last, header, raised, last, {}}
if begin > last then return reply end
-- Those of what this tells that were purged.
local asked = begin
local function told()
  if missing > 0 then reply[7] = ranges_of(asked, reply[6], 'p', messages + 1000) end
  return reply
end
local opening = made(begin)
if nothing(begin) then return told() end
if opening then begin = opening.offset end
local stop, before_all = math.min(last, begin + messages - 1), opening and opening.before or 0
-- Whether all up to offset, without its own bytes, are within the size.
-- The first one fits whatever its size: a reader that got nothing would never get past it.
local function fits(offset)
  local publication = made(offset)
  return not publication or publication.before - before_all < size
end
if stop > begin and not fits(stop) then
  local low, high = begin, stop
  while high - low > 1 do
    local middle = low + math.floor((high - low) / 2)
    if fits(middle) then low = middle else high = middle end
  end
  stop = low
end
-- How far this tells of the log: what is not among the entries up to there is missing.
local most_entries = stop - begin + 1
local entries = redis.call('XRANGE', log, id(begin), id(stop), 'COUNT', most_entries)
reply[6] = #entries < most_entries and stop or leading((entries[#entries] or {id(stop)})[1])
local through = reply[6]
for _, entry in ipairs(entries) do
  if shaped(entry) then
    -- What headers say of the bytes before may be wrong.
    if size <= 0 and #reply > 7 then
      reply[6] = math.min(through, leading(entry[1]) - 1)
      break
    end
    size = size - #entry[2][4]
    reply[#reply + 1] = entry[1]
    reply[#reply + 1] = entry[2][2]
    reply[#reply + 1] = entry[2][4]
  end
end
return told()
"""

# ARGV also: a time in ms.
_DESCRIBE = """
local time_sought = tonumber(ARGV[6])
local low, high = first, last + 1
while low < high do
  local middle = low + math.floor((high - low) / 2)
  local publication = made(middle)
  if not publication or publication.time >= time_sought then high = middle else low = middle + 1 end
end
local opening = made(first)
return {epoch, first, last, header, raised,
  opening and math.max(0, total - opening.before - purged_from(opening.offset)) or 0,
  opening and opening.time or -1, opening and time or -1, low - 1, redis.call('ZCARD', order)}
"""


APPEND = script(HOLES, INDEX, MATCHING, _APPEND, LETTING_GO, _TRIM)
READ = script(HOLES, _READ)
DESCRIBE = script(HOLES, _DESCRIBE)


class LogHead(NamedTuple):
    """What every script's answer begins with.

    Attributes:
        bounds: of the log once the script was through.
        header: of its last publication, or empty.
        raised: the script began a new epoch of a log that there was.
    """

    bounds: Bounds
    header: bytes
    raised: bool


def head_of(reply: Reply) -> LogHead:
    """Read the beginning of ``reply``."""
    epoch, first, last, header, raised = reply[:5]
    return LogHead(Bounds(epoch.decode(), first, last), header, bool(raised))


class Keys:
    """The names of one stream's keys, and of the channel on which its appends are announced.

    Attributes:
        all: those that every script gets, in its order.
        groups: those that all groups share.
    """

    __slots__ = ("_channel_prefix", "_tag", "all", "channel", "groups", "log")

    def __init__(self, prefix: str, stream: str, database: int = 0) -> None:
        self._tag = f"{{{prefix}:stream:{stream}}}"
        self.log = f"{self._tag}:log".encode()
        self._channel_prefix = channel_prefix(self._tag, database)
        self.channel = f"{self._channel_prefix}news".encode()
        others = (f"{self._tag}:{name}".encode() for name in ("topics", "holes", "order", "values"))
        self.all = (self.log, f"{self._tag}:meta".encode(), self.channel, *others)
        self.groups = tuple(f"{self._tag}:{name}".encode() for name in ("groups", "cursors", "floors"))

    def group(self, name: str) -> tuple[bytes, ...]:
        """The names of what a group is made of."""
        return tuple(f"{self._tag}:group:{name}:{each}".encode() for each in GROUP_KEYS)

    def group_channel(self, name: str) -> bytes:
        """The channel on which it is told that a group may have something to give."""
        return f"{self._channel_prefix}group:{name}".encode()

    def once(self, key: str) -> bytes:
        """The name for an idempotency key: a digest, since names hold neither subjects nor endless texts."""
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return f"{self._tag}:once:{digest}".encode()

"""What Redis does in one step for a stream: append, read, describe.

A stream is three keys with one hash tag, so that a cluster keeps them together:

* ``{prefix:stream:NAME}:log``, a Redis stream. The publication with offset 7 has the id ``7-0`` and two
  fields: ``h``, its header, and ``r``, its record. The header holds the time, the bytes of all records before
  it since the log began, the nonce of the call that appended it, and a seal (``entries`` says what it binds).
  Differences of the bytes before make a range's size known by looking at its ends, so trimming and paging
  need no counters that could be wrong. Whatever else somebody wrote there is a hole.
* ``{prefix:stream:NAME}:meta``, a hash: epoch, last offset, time, bytes so far. It says what the log does not
  when it is empty, and is a second record: where the two disagree, one of them was lost or restored.
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

if TYPE_CHECKING:
    from gateway.redis.wire import Reply

# KEYS: log, meta, channel. ARGV: epoch, offset and header seen last; a nonce; PUBLISH or SPUBLISH.
_OPENING = """
local log, meta, channel = KEYS[1], KEYS[2], KEYS[3]
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
local function shaped(entry)
  local fields = entry[2]
  return #fields == 4 and fields[1] == 'h' and fields[3] == 'r' and fields[4] ~= ''
    and string.match(entry[1], '^%d+%-0$')
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
local first, last, oldest, newest, recent = 1, 0, false, nil, nil
if redis.call('EXISTS', log) == 1 then
  local info, named = redis.call('XINFO', 'STREAM', log), {}
  for place = 1, #info, 2 do named[info[place]] = info[place + 1] end
  oldest = named['first-entry']
  last = leading(named['last-generated-id'])
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
    for _, entry in ipairs(redis.call('XRANGE', log, id(math.max(0, last - 16)), '+', 'COUNT', 64)) do
      recent = genuine(entry) or recent
    end
  end
end
local known = redis.call('HMGET', meta, 'epoch', 'last', 'time', 'total')
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
local raised = 0
if contradicted() then
  if known[1] or last > 0 or seen_epoch ~= '' then raised = 1 end
  epoch = text(math.max(leading(epoch), leading(seen_epoch)) + 1) .. '-' .. nonce
  note()
  announce()
end
"""

# ARGV also: most messages, bytes, ms of age, how many to trim at most; then for each publication its record
# and either '' or '=' with a fingerprint, its id, and its dedupe window in ms, with one more of KEYS.
_APPEND = """
local messages, size, age = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local step = tonumber(ARGV[9])
local clock = redis.call('TIME')
time = math.max(time, clock[1] * 1000 + math.floor(clock[2] / 1000))

-- Without publications: whether there could be one. None of this changes anything: the id is refused by any
-- log that there is, unless the right to add, or the memory for it, was missing before.
if #ARGV < 10 then
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
for place = 4, #KEYS do
  local kept = redis.pcall('GET', KEYS[place])
  local refusal = refused(kept) or (not kept and refused(redis.pcall('SET', KEYS[place], '', 'XX')))
  if refusal then return redis.error_reply(refusal) end
  if not kept then break end
end

-- In a cluster a script may use no key that was not named, so those of the idempotency keys came along.
local opening, ending = text(time) .. ' ', ' ' .. nonce
local answers, place, key, before_this = {}, 10, 4, last
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
  if not answer then
    last = last + 1
    local entry_id, stem = id(last), opening .. text(total) .. ending
    header = stem .. seal(entry_id, stem, record)
    redis.call('XADD', log, entry_id, 'h', header, 'r', record)
    total = total + #record
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

-- The newest publication goes for its age alone: those who follow the log must get to see it.
local function gone(offset)
  if offset < last and last - offset >= messages then return true end
  local kept = made(offset)
  if not kept then return nothing(offset) end
  return kept.time < time - age or (kept.offset < last and total - kept.before > size)
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
  redis.call('XTRIM', log, 'MINID', id(keep))
end
local more = keep > first and keep == limit and keep <= last and 1 or 0
first = keep
return {epoch, first, last, header, raised, time, more, unpack(answers)}
"""

# ARGV also: the offset to read behind, how many messages, how many bytes.
_READ = """
local begin, messages, size = math.max(tonumber(ARGV[6]) + 1, first), tonumber(ARGV[7]), tonumber(ARGV[8])
local reply = {epoch, first, last, header, raised, last}
if begin > last then return reply end
local opening = made(begin)
if nothing(begin) then return reply end
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
    if size <= 0 and #reply > 6 then
      reply[6] = math.min(through, leading(entry[1]) - 1)
      break
    end
    size = size - #entry[2][4]
    reply[#reply + 1] = entry[1]
    reply[#reply + 1] = entry[2][2]
    reply[#reply + 1] = entry[2][4]
  end
end
return reply
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
return {epoch, first, last, header, raised, opening and total - opening.before or 0,
  opening and opening.time or -1, opening and time or -1, low - 1}
"""


class Script(NamedTuple):
    """A script's text, and the digest by which a server that has seen it knows it."""

    text: str
    digest: str


def _script(body: str) -> Script:
    text = _OPENING + body
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


APPEND = _script(_APPEND)
READ = _script(_READ)
DESCRIBE = _script(_DESCRIBE)


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
    """The names of one stream's keys, and of the channel on which its appends are announced."""

    __slots__ = ("_tag", "channel", "log", "meta")

    def __init__(self, prefix: str, stream: str, database: int = 0) -> None:
        self._tag = f"{{{prefix}:stream:{stream}}}"
        self.log = f"{self._tag}:log".encode()
        self.meta = f"{self._tag}:meta".encode()
        self.channel = f"{channel_prefix(self._tag, database)}news".encode()

    def once(self, key: str) -> bytes:
        """The name for an idempotency key: a digest, since names hold neither subjects nor endless texts."""
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return f"{self._tag}:once:{digest}".encode()

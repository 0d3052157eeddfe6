"""In which order a group's publications go out, in scripts: what ``core/groups/turns.py`` says.

Without shares what may go out stands in ``ready``, by offset. Where shares take turns:

* ``turns``, a list: the shares of which something may go out, the next one first. Whoever has had a turn
  stands at its end.
* ``queues``, a hash: of each of those, by ``q`` and the share, a number of a piece, the number behind the
  last piece, 1 where some of it is in ``ready``, and the offsets that go out next, 7 bytes each. Those behind
  them are in pieces, by ``p``, the piece's number in 4 bytes and the share. So a publication that waits costs
  7 bytes here, and none of a share of which nothing waits.
* ``ready``, by share and offset: what isn't in the order of the log, since it was out, delayed or parked.

What was removed may stay in a queue until its turn comes: it is in ``waiting`` and ``open`` no longer.
"""

from __future__ import annotations

TURNS = r"""
-- Whether it has no place yet since settings changed; see below.
local function unlaid(offset)
  if state.laying == -1 then return false end
  local sent_back = state.back > 0 and redis.call('HEXISTS', g_sent, text(offset)) == 1
  if state.laying >= 0 then return sent_back or offset > state.laying end
  return sent_back and offset > -2 - state.laying
end
local function tell_ready()
  tell('ZREM', g_ready)
  tell('ZADD', g_ready)
end

-- In a table and a block: a script has no more than 200 local variables.
local Queues = {changes = 0}
do
local g_queues, g_pieces = unpack(KEYS, 27, 28)
-- By share: what goes out next, as it is kept, or false where nothing does; and what there is to say of some,
-- that have pieces or something aside.
-- Offsets have 7 bytes here: of a long string Lua's hash takes every so many bytes, and of many offsets of 8
-- often none but the very last of each.
local SIZE, SOME = 7, 16
local PIECE = 64 * SIZE
local function packed_offset(offset) return struct.pack('>I7', offset) end
local function first_offset(packed, at) return (struct.unpack('>I7', packed, at or 1)) end
local lines, deep, touched = {}, {}, {}
local function opened(share, packed)
  if packed and #packed % SIZE > 0 then
    local from, to, aside = struct.unpack('>I4I4B', packed)
    deep[share] = {from = from, to = to, dropped = from, pieces = {}, aside = aside == 1}
    packed = string.sub(packed, 10)
  end
  lines[share] = packed
  return packed
end
local function read_queues(shares)
  local wanted = {}
  for _, share in ipairs(shares) do
    if lines[share] == nil then
      lines[share] = false
      wanted[#wanted + 1] = share
    end
  end
  for at = 1, #wanted, 1000 do
    local found = redis.call('HMGET', g_queues, unpack(wanted, at, math.min(#wanted, at + 999)))
    for number, packed in ipairs(found) do opened(wanted[at + number - 1], packed) end
  end
end
local function line_of(share)
  local line = lines[share]
  if line == nil then line = opened(share, redis.call('HGET', g_queues, share)) end
  return line
end
local function deepened(share)
  local its = deep[share]
  if not its then
    its = {from = 0, to = 0, dropped = 0, pieces = {}, aside = false}
    deep[share] = its
  end
  return its
end
local function piece_name(share, number) return struct.pack('>I4', number) .. share end
local function piece_of(share, number)
  local pieces = deep[share].pieces
  if not pieces[number] then
    pieces[number] = redis.call('HGET', g_pieces, piece_name(share, number)) or ''
  end
  return pieces[number]
end

-- Who is next: what was read of the list, and behind it who has had a turn since, or is new.
local ring, ring_at, whole, behind = {}, 1, false, {}
local function in_turn(place)
  if place <= #ring then return ring[place] end
  return whole and behind[place - #ring] or nil
end
local function tell_turns()
  local gone = math.min(ring_at - 1, #ring)
  if gone > 0 then redis.call('LTRIM', g_turns, gone, -1) end
  for at = math.max(1, ring_at - #ring), #behind, 1000 do
    redis.call('RPUSH', g_turns, unpack(behind, at, math.min(#behind, at + 999)))
  end
  ring, ring_at, whole, behind = {}, 1, false, {}
end
local function read_turns(count)
  tell_turns()
  ring = redis.call('LRANGE', g_turns, 0, count - 1)
  whole = #ring < count
  read_queues(ring)
end

-- What comes behind all of its share; offsets are packed.
local function enter(packed, share)
  local line, its = line_of(share), deep[share]
  touched[share], state.queued = true, state.queued + 1
  if not line then
    behind[#behind + 1] = share
    lines[share] = packed
  elseif #line < PIECE and not (its and its.from < its.to) then
    lines[share] = line .. packed
  else
    its = deepened(share)
    local number = its.to - 1
    local piece = number >= its.from and piece_of(share, number)
    if not piece or #piece >= PIECE then
      number, piece, its.to = its.to, '', its.to + 1
    end
    its.pieces[number] = piece .. packed
    its.written = math.min(its.written or number, number)
  end
end
-- What was just read of the log, in order.
local function enter_all(offsets, shares)
  read_queues(shares)
  for place = Waiting.enter(offsets) + 1, #offsets do
    redis.call('ZADD', g_open, text(offsets[place]), pack8(offsets[place]) .. shares[place])
  end
  for place, offset in ipairs(offsets) do
    local share, packed = shares[place], packed_offset(offset)
    local line = lines[share]
    if line and not deep[share] and #line < PIECE then
      lines[share], touched[share], state.queued = line .. packed, true, state.queued + 1
    else
      enter(packed, share)
    end
  end
end
-- What comes back, or was parked.
local function put_aside(offset, share)
  if not line_of(share) then
    behind[#behind + 1] = share
    lines[share] = ''
  end
  local its = deepened(share)
  its.aside, its.back, touched[share] = true, nil, true
  later('ZADD', g_ready, '0', prefixed(share) .. pack8(offset))
  Queues.changes = Queues.changes + 1
end
local function read_aside(share)
  tell_ready()
  local its, range = deep[share], prefixed(share)
  local back = its.back or {at = 1}
  local found = redis.call('ZRANGE', g_ready, back[1] and '(' .. range .. pack8(back[#back]) or '[' .. range,
    '(' .. range .. '\255', 'BYLEX', 'LIMIT', 0, SOME)
  for _, member in ipairs(found) do back[#back + 1] = unpack8(member, #member - 7) end
  back.all, its.back = #found < SOME, back
  return back
end
-- The first offset behind what was looked at, and whether it was put aside.
local looked, looked_aside = {}, {}
local function peek(share)
  local line, its, place = line_of(share) or '', deep[share], looked[share] or 1
  if its and place > #line and its.from < its.to then
    line = line .. piece_of(share, its.from)
    lines[share], its.from = line, its.from + 1
  end
  local offset = place <= #line and first_offset(line, place) or nil
  if not its or not its.aside then return offset, false end
  local back = its.back or read_aside(share)
  local at = looked_aside[share] or back.at
  if at > #back and not back.all then back = read_aside(share) end
  if back[at] and (not offset or back[at] < offset) then return back[at], true end
  return offset, false
end
local function drop_first()
  local share = in_turn(ring_at)
  ring_at, lines[share], touched[share] = ring_at + 1, false, true
end
-- Whose turns are next, at most so many of those that are wanted in all: offsets, shares, and which were put
-- aside; and how many shares had nothing left. Nothing is taken by it.
local function ahead(count, most_)
  local offsets, shares, aside, again, found, empty = {}, {}, {}, {}, 0, 0
  looked, looked_aside = {}, {}
  if not in_turn(ring_at) then read_turns(math.max(most_, 64)) end
  local place = ring_at
  -- Each has one turn, and nothing but its line.
  while not whole and found < count do
    local share = ring[place]
    local line = share and lines[share]
    if not line or line == '' or deep[share] then break end
    found, place = found + 1, place + 1
    offsets[found], shares[found], aside[found] = first_offset(line), share, false
  end
  while found < count and empty < 1000 do
    local share = in_turn(place)
    -- Those that have another turn come behind all others, so all have to be known.
    if not share and whole then share = again[place - #ring - #behind] end
    if not share then break end
    local offset, is_aside = peek(share)
    place = place + 1
    if offset then
      found = found + 1
      offsets[found], shares[found], aside[found] = offset, share, is_aside
      if whole then
        if is_aside then
          looked_aside[share] = (looked_aside[share] or deep[share].back.at) + 1
        else
          looked[share] = (looked[share] or 1) + SIZE
        end
        if peek(share) then again[#again + 1] = share end
      end
    else
      empty = empty + 1
    end
  end
  if found == 0 then
    for _ = 1, empty do drop_first() end
  end
  return offsets, shares, aside, empty
end
-- Takes the first of them, which has its share's turn or, where it was removed before, has none.
local function commit(offset, share, is_aside, removed)
  local its, line = deep[share], lines[share]
  touched[share] = true
  if is_aside then
    its.back.at = its.back.at + 1
    later('ZREM', g_ready, prefixed(share) .. pack8(offset))
  else
    line, state.queued = string.sub(line, SIZE + 1), state.queued - 1
    lines[share] = line
  end
  if removed then return end
  while in_turn(ring_at) ~= share do drop_first() end
  ring_at = ring_at + 1
  local more = line ~= '' or (its and its.from < its.to)
  if not more and its and its.aside then
    local back = its.back or read_aside(share)
    if back.at > #back and not back.all then read_aside(share) end
    more = back.at <= #back
  end
  if more then behind[#behind + 1] = share else lines[share] = false end
end
local function remove(offset, share)
  tell_ready()
  local line, its = line_of(share), deep[share]
  if not line then return end
  touched[share] = true
  if its then its.back = nil end
  if its and its.aside and redis.call('ZREM', g_ready, prefixed(share) .. pack8(offset)) == 1 then return end
  looked, looked_aside = {}, {}
  peek(share)
  line = lines[share]
  if line ~= '' and first_offset(line) == offset then
    lines[share], state.queued = string.sub(line, SIZE + 1), state.queued - 1
  end
end
local function tell_queues()
  tell_turns()
  local put, ended = {}, {}
  for share in pairs(touched) do
    local line, its = lines[share], deep[share]
    if its then
      for number = its.dropped, its.from - 1 do later('HDEL', g_pieces, piece_name(share, number)) end
      its.dropped = its.from
      if its.back and its.back.all and its.back.at > #its.back then its.aside = false end
      for number = math.max(its.written or its.to, its.from), its.to - 1 do
        later('HSET', g_pieces, piece_name(share, number), its.pieces[number])
      end
      its.written = nil
    end
    if not line then
      ended[#ended + 1], deep[share] = share, nil
    else
      if its and (its.aside or its.from < its.to) then
        line = struct.pack('>I4I4B', its.from, its.to, its.aside and 1 or 0) .. line
      end
      put[#put + 1], put[#put + 2] = share, line
    end
  end
  gathered.HDEL[g_queues], gathered.HSET[g_queues], touched = ended, put, {}
  for _, key in ipairs({g_queues, g_pieces}) do
    tell('HDEL', key)
    tell('HSET', key)
  end
end
local function forget_queues()
  redis.call('UNLINK', g_turns, g_queues, g_pieces)
  state.queued = 0
  lines, deep, touched, ring, ring_at, whole, behind = {}, {}, {}, {}, 1, false, {}
end
Queues.enter = function(offset, share) enter(packed_offset(offset), share) end
Queues.enter_all = enter_all
Queues.put_aside = put_aside
Queues.ahead = ahead
Queues.commit = commit
Queues.remove = remove
Queues.tell = tell_queues
Queues.forget = forget_queues
end

local function make_ready(offset, share, in_order)
  local delivery = delivery_of(offset)
  if delivery then
    delivery[STATE], delivery[DUE] = 'r', 0
    put_delivery(offset, delivery)
  end
  progressed = true
  if unlaid(offset) then return end
  if state.share == '' then
    later('ZADD', g_ready, text(offset), text(offset))
  elseif in_order and not delivery then
    Queues.enter(offset, share)
  else
    Queues.put_aside(offset, share)
  end
end
local function leave_ready(offset, share)
  if state.share ~= '' then return Queues.remove(offset, share) end
  tell_ready()
  redis.call('ZREM', g_ready, text(offset))
end
-- Without shares.
local function take_oldest()
  tell('ZADD', g_ready)
  local popped = redis.call('ZPOPMIN', g_ready)[1]
  return popped and tonumber(popped)
end

-- Whether it is parked behind another one of its key.
local function enter_line(offset, key, share)
  if state.ordered ~= '1' or not key then return false end
  if not place_of('k' .. key) then
    put_place('k' .. key, text(offset))
    put_place('o' .. text(offset), key)
    return false
  end
  state.line = state.line + 1
  local member = prefixed(key) .. pack8(state.line) .. pack8(offset) .. share
  redis.call('ZADD', g_lines, '0', member)
  if parked then parked = parked + 1 end
  put_place('p' .. text(offset), member)
  return true
end
local function place_in_line(offset)
  return state.ordered == '1' and place_of('p' .. text(offset)) or nil
end
local function leave_line(offset, member)
  redis.call('ZREM', g_lines, member)
  if parked then parked = parked - 1 end
  put_place('p' .. text(offset), false)
end
local function delay(offset, delivery, until_)
  delivery[STATE], delivery[DUE] = 'd', until_
  put_delivery(offset, delivery)
  redis.call('ZADD', g_due, text(until_), pack8(offset))
end
local function next_in_line(offset)
  local key = state.ordered == '1' and place_of('o' .. text(offset))
  if not key then return end
  put_place('o' .. text(offset), false)
  parked = parked or redis.call('ZCARD', g_lines)
  local range = prefixed(key)
  local member = parked > 0 and redis.call('ZRANGE', g_lines, '[' .. range, '(' .. range .. '\255', 'BYLEX',
    'LIMIT', 0, 1)[1]
  if not member then
    put_place('k' .. key, false)
    return
  end
  local following = unpack8(member, 4 + #key + 9)
  leave_line(following, member)
  put_place('k' .. key, text(following))
  put_place('o' .. text(following), key)
  local delivery = delivery_of(following)
  if delivery then
    -- Delayed by its publisher, or sent back: it may be due by now, or not yet.
    progressed = true
    delay(following, delivery, delivery[DUE])
  else
    make_ready(following, string.sub(member, 4 + #key + 17))
  end
end
"""

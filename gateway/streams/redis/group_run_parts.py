"""Runs: what one call leased for the first time, kept together by scripts of groups.

Most deliveries are acknowledged as they come, and nothing else is ever done to them. To write each into four
keys, and to take it out again, would be most of what Redis does for it. So what a call leases straight from
the log stands in one record, and what is acknowledged is marked there. Whatever else may become of one (it
fails, is given back, takes longer, runs out) makes it a delivery by itself first, as
``group_script_parts`` has them.

* ``runs``, a hash: by a run's mark its offsets and members, which stay; by the mark with a ``+`` how many are
  left, and a byte for each, which change; where shares take turns, by the mark with a ``=`` those.
* ``holders``, a sorted set, all scores 0: member and mark. ``fronts``: marks by the first offset left, or,
  where shares took turns and nothing is to be kept for the group, one before that.
* Among what is ``due`` a run stands by its mark with a ``#``.

A lease names its run by its life, and its place there by its fence: those of a run follow one another.
"""

from __future__ import annotations

RUNS = r"""
-- In a table and a block: a script has no more than 200 local variables.
local OPEN, DONE, runs, Runs = 48, 49, {}, {}
local function in_flight() return redis.call('ZCARD', g_held) + state.bundled end
local function held_name(member, offset) return prefixed(member) .. pack8(offset) end
do
local touched = {}
local function read_run(mark, packed, left)
  local run = packed and left and cmsgpack.unpack(packed) or false
  if run then
    run.mark, run.left, run.count = mark, struct.unpack('>I4', left), #left - 4
    run.places, run.front = {string.byte(left, 5, -1)}, string.find(left, '0', 5, true)
  end
  runs[mark] = run
  return run
end
local function read_runs(marks)
  local names = {}
  for _, mark in ipairs(marks) do
    if runs[mark] == nil then
      names[#names + 1], names[#names + 2] = mark, mark .. '+'
    end
  end
  for at = 1, #names, 1000 do
    local found = redis.call('HMGET', g_runs, unpack(names, at, math.min(#names, at + 999)))
    for number = 1, #found, 2 do read_run(names[at + number - 1], found[number], found[number + 1]) end
  end
end
local function all_runs()
  local found, fields, marks = redis.call('HGETALL', g_runs), {}, {}
  for at = 1, #found, 2 do fields[found[at]] = found[at + 1] end
  for mark, packed in pairs(fields) do
    if fields[mark .. '+'] then
      marks[#marks + 1] = mark
      if runs[mark] == nil then read_run(mark, packed, fields[mark .. '+']) end
    end
  end
  return marks
end
local function offset_in(run, place) return unpack8(run.offsets, place * 8 - 7) end
local function member_in(run, place) return run.names[struct.unpack('>I2', run.holders, place * 2 - 1)] end
local function mark_done(run, place)
  run.places[place] = DONE
  run.left, state.bundled = run.left - 1, state.bundled - 1
  touched[run.mark] = run
end
-- The place of a lease that is valid.
local function valid_place(run, offset, fence)
  local place = fence - run.base + 1
  if run.due > now and run.places[place] == OPEN and offset_in(run, place) == offset then return place end
end
local function share_in(run, place)
  if not run.fair then return '' end
  run.shares = run.shares or cmsgpack.unpack(redis.call('HGET', g_runs, run.mark .. '='))
  return run.shares[place]
end
local function alone(run, place)
  return {'l', run.due, 0, member_in(run, place), run.base + place - 1, run.since, '', share_in(run, place),
    run.mark}
end
-- The place of the first offset left.
local function front_of(run)
  local front = nil
  for place = 1, run.count do
    if run.places[place] == OPEN then
      if not run.fair then return place end
      if not front or offset_in(run, place) < offset_in(run, front) then front = place end
    end
  end
  return front
end
local function keep_alone(offset, delivery)
  put_delivery(offset, delivery)
  later('ZADD', g_open, text(offset), pack8(offset) .. delivery[SHARE])
  later('ZADD', g_due, text(delivery[DUE]), pack8(offset))
  later('ZADD', g_held, '0', held_name(delivery[MEMBER], offset))
end
local function tell_alone()
  for _, key in ipairs({g_open, g_due, g_held}) do tell('ZADD', key) end
end
-- Makes one, or those that are meant, or all, deliveries by themselves; the first is to be told after it.
local function unbundle_one(run, place)
  keep_alone(offset_in(run, place), alone(run, place))
  mark_done(run, place)
end
local function unbundle(run, meant)
  for place = 1, run.count do
    if run.places[place] == OPEN and (not meant or meant(place)) then unbundle_one(run, place) end
  end
  tell_alone()
end
local function unbundle_all()
  for _, mark in ipairs(all_runs()) do
    if runs[mark] then unbundle(runs[mark]) end
  end
end
-- Keeps what was leased, to these members, with fences behind a first one, and shares where they take turns.
-- An offset of 0 is none: what was leased between was leased before.
local function bundle(mark, due, base, offsets, members, few, shares)
  -- A few by themselves cost less; and a mark that another call has already is nobody's fault.
  if #offsets < few or redis.call('HEXISTS', g_runs, mark) == 1 then
    for place, offset in ipairs(offsets) do
      local share = shares and shares[place] or ''
      if offset > 0 then
        keep_alone(offset, {'l', due, 0, members[place], base + place - 1, now, '', share, mark})
      end
    end
    return
  end
  local run = {due = due, since = now, base = base, names = {}}
  local packed, holders, left, count, lowest, numbers_ = {}, {}, {}, 0, offsets[1], {}
  for place, offset in ipairs(offsets) do
    local member = members[place]
    if not numbers_[member] then
      run.names[#run.names + 1] = member
      numbers_[member] = struct.pack('>I2', #run.names)
      later('ZADD', g_holders, '0', prefixed(member) .. mark)
    end
    packed[place], holders[place] = pack8(offset), numbers_[member]
    if offset > 0 then
      left[place], count = '0', count + 1
      if offset < lowest then lowest = offset end
    else
      left[place] = '1'
    end
  end
  run.offsets, run.holders = table.concat(packed), table.concat(holders)
  run.fair = shares and true
  if shares then later('HSET', g_runs, mark .. '=', cmsgpack.pack(shares)) end
  later('HSET', g_runs, mark, cmsgpack.pack(run))
  later('HSET', g_runs, mark .. '+', struct.pack('>I4', count) .. table.concat(left))
  later('ZADD', g_fronts, text(lowest), mark)
  later('ZADD', g_due, text(due), mark .. '#')
  state.bundled = state.bundled + count
end
local function settle_runs()
  for mark, run in pairs(touched) do
    -- So that what is kept stays in proportion to what is left.
    if run.left > 0 and run.left * 16 < run.count then unbundle(run) end
    if run.left == 0 then
      later('HDEL', g_runs, mark, mark .. '+')
      if run.fair then later('HDEL', g_runs, mark .. '=') end
      later('ZREM', g_fronts, mark)
      later('ZREM', g_due, mark .. '#')
      for _, member in ipairs(run.names) do later('ZREM', g_holders, prefixed(member) .. mark) end
    else
      local left = struct.pack('>I4', run.left) .. string.char(unpack(run.places))
      later('HSET', g_runs, mark .. '+', left)
      local front = string.find(left, '0', 5, true)
      if run.fair and state.keep == '1' then
        later('ZADD', g_fronts, text(offset_in(run, front_of(run))), mark)
      elseif front ~= run.front and not run.fair then
        later('ZADD', g_fronts, text(offset_in(run, front - 4)), mark)
      end
    end
  end
end
Runs.read = read_runs
Runs.all = all_runs
Runs.offset_in = offset_in
Runs.member_in = member_in
Runs.mark_done = mark_done
Runs.valid_place = valid_place
Runs.alone = alone
Runs.front_of = front_of
Runs.tell_alone = tell_alone
Runs.unbundle_one = unbundle_one
Runs.unbundle = unbundle
Runs.unbundle_all = unbundle_all
Runs.bundle = bundle
Runs.settle = settle_runs
end
"""

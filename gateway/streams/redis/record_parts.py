"""How scripts read a record, as ``codecs/record.py`` writes it."""

from __future__ import annotations

RECORDS = r"""
local byte = string.byte
-- Where the fields of a record begin, and where the last one ends; cmsgpack knows no binary strings. Nothing
-- where it is no record.
local sizes = {[0xc4] = 1, [0xc5] = 2, [0xc6] = 4, [0xd9] = 1, [0xda] = 2, [0xdb] = 4}
local wide = {[0xcc] = 1, [0xcd] = 2, [0xce] = 4, [0xcf] = 8, [0xd0] = 1, [0xd1] = 2, [0xd2] = 4, [0xd3] = 8}
local function number_at(record, at, size)
  local number = 0
  for place = at, at + size - 1 do number = number * 256 + (byte(record, place) or 0) end
  return number
end
local function pass_value(record, at)
  local mark = byte(record, at)
  if not mark then return nil end
  if sizes[mark] then return at + 1 + sizes[mark] + number_at(record, at + 1, sizes[mark]) end
  if wide[mark] then return at + 1 + wide[mark] end
  if mark >= 0xa0 and mark < 0xc0 then return at + 1 + mark - 0xa0 end
  local pairs_ = mark >= 0x80 and mark < 0x90 and mark - 0x80
  local behind = at + 1
  if mark == 0xde or mark == 0xdf then
    pairs_, behind = number_at(record, behind, mark == 0xde and 2 or 4), behind + (mark == 0xde and 2 or 4)
  end
  for _ = 1, 2 * (pairs_ or 0) do
    behind = behind and pass_value(record, behind)
  end
  return behind
end
local function places_in(record)
  local at = byte(record) == 2 and 6 or 2
  local count = (byte(record, at) or 0) - 0x90
  if count < 7 or count > 15 then return nil end
  local places = {at + 1}
  for place = 1, count do
    local following = places[place] and pass_value(record, places[place])
    if not following then return nil end
    places[place + 1] = following
  end
  return places
end
local key_of_publication
do
-- The seventh field, a text, where topic, id and key are short and there is nothing between the data and it:
-- that is most.
local function short_key(record)
  local version, _, _, _, _, count, mark, size = byte(record, 1, 8)
  if version ~= 2 or not size or count < 0x97 or count > 0x9f then return nil end
  local at = 8
  for _ = 1, 2 do
    if mark == 0xd9 then
      at = at + 1 + size
    elseif mark >= 0xa0 and mark < 0xc0 then
      at = at + mark - 0xa0
    else
      return nil
    end
    mark, size = byte(record, at, at + 1)
    at = at + 1
    if not size then return nil end
  end
  if mark == 0xc4 then
    at = at + 1 + size
  elseif mark == 0xc5 then
    at = at + 2 + size * 256 + (byte(record, at + 1) or 0)
  else
    return nil
  end
  local binary, content_type, headers, key = byte(record, at, at + 3)
  if binary ~= 0xc0 or content_type ~= 0xc0 or headers ~= 0xc0 then return nil end
  if not key or key < 0xa0 or key >= 0xc0 then return nil end
  return string.sub(record, at + 4, at + key - 0x9d)
end
-- That of any; nothing where there is none.
function key_of_publication(record)
  local short = short_key(record)
  if short then return short end
  local at = byte(record) == 2 and 6 or 2
  local count = (byte(record, at) or 0) - 0x90
  if count < 7 or count > 15 then return nil end
  at = at + 1
  for number = 1, 6 do
    local head, following, last_ = byte(record, at or #record + 1, (at or 0) + 2)
    -- Most have neither of the three in front of it.
    if number == 4 and head == 0xc0 and following == 0xc0 and last_ == 0xc0 then
      at = at + 3
      break
    elseif head == 0xc0 then
      at = at + 1
    elseif head and head >= 0xa0 and head < 0xc0 then
      at = at + 1 + head - 0xa0
    else
      at = head and pass_value(record, at)
    end
  end
  local behind = at and pass_value(record, at)
  local mark = behind and byte(record, at)
  if not mark or mark == 0xc0 then return nil end
  return string.sub(record, at + 1 + (sizes[mark] or 0), behind - 1)
end
end
-- Whether its last field is nothing, as far as its end alone can say: a number may end in the same byte, one,
-- two, four or eight behind the mark of its size.
local function ends_in_nil(record)
  if byte(record, -1) ~= 0xc0 then return false end
  local eight, _, _, _, four, _, two, one = byte(record, -9, -2)
  return one ~= 0xcc and two ~= 0xcd and four ~= 0xce and eight ~= 0xcf
end
-- The ninth field, milliseconds.
local function delay_in(record)
  if ends_in_nil(record) then return nil end
  local places = places_in(record)
  local mark = places and places[10] and byte(record, places[9])
  if not mark then return nil end
  return mark < 0x80 and mark or (wide[mark] and number_at(record, places[9] + 1, wide[mark])) or nil
end
"""

-- Distinct values, as package distinct counts them: functions for script.lua, in the form of those in windows.lua, behind which
-- this text stands. A value is 's', the end of the window, ':' and eight bytes for each value seen; or of a sketch 'h', the end,
-- ':', the weight, ':', the estimate in parts of 2^-20, ':', eight bytes of salt and a byte for each register.
local MAX_EXACT, REGISTERS, WEIGHT, MAX_PARTS = 1000, 16384, 4503599627370496, 1048576000000000

-- distinct_parse reads a value into s; it reports false for what is none.
local function distinct_parse(s, value)
  local till, from = string.match(value, '^s(%d+):()')
  if till then
    s.n = (#value - from + 1) / 8
    s.value, s.from, s.stored = value, from, tonumber(till)
    return s.n % 1 == 0 and s.n <= MAX_EXACT
  end
  local weight, parts
  till, weight, parts, from = string.match(value, '^h(%d+):(%d+):(%d+):()')
  if not till then
    return false
  end
  s.stored, s.weight, s.parts = tonumber(till), tonumber(weight), tonumber(parts)
  s.sketch_salt, s.ranks = string.sub(value, from, from + 7), string.sub(value, from + 8)
  return #s.ranks == REGISTERS and s.weight >= REGISTERS and s.weight <= WEIGHT and s.parts <= MAX_PARTS
end

-- distinct_known reports whether an exact set holds the value.
local function distinct_known(s)
  local at = s.from
  while true do
    at = string.find(s.value, s.member, at, true)
    if not at or (at - s.from) % 8 == 0 then
      return at ~= nil
    end
    at = at + 1
  end
end

-- distinct_look finds a counter. member and salt are eight bytes; the salt is that of a sketch which begins with this value.
local function distinct_look(value, now, cost, count, length, member, salt)
  local s = {now = now, member = member, salt = salt, till = now - now % length + length}
  if not value or not distinct_parse(s, value) or s.stored <= now or s.stored > s.till + length then
    s.value, s.from, s.n, s.ranks = '', 1, 0, nil
  end
  s.used = s.ranks and math.floor(s.parts / 1048576) or s.n
  s.fits = s.used < count
  if not s.fits and not s.ranks then
    s.fits = distinct_known(s)
  end
  s.room = cost == 0 or s.fits
  return s
end

-- sketch_add counts a value in a sketch and returns the register that it changes, from 1, and its rank there.
local function sketch_add(s, member, rank_of)
  local hash = redis.sha1hex(s.sketch_salt .. member)
  local high, low = tonumber(string.sub(hash, 1, 8), 16), tonumber(string.sub(hash, 9, 16), 16)
  local place = math.floor(high / 262144) + 1
  local rest = (high % 262144) * 524288 + math.floor(low / 8192)
  local _, length = math.frexp(rest)
  local rank, old = 38 - length, rank_of(place)
  if rank <= old then
    return nil
  end
  s.parts = math.min(s.parts + math.floor(4722366482869645213696 / s.weight), MAX_PARTS)
  s.weight = s.weight - 2 ^ (38 - old) + 2 ^ (38 - rank)
  return place, rank
end

-- sketch_begin makes the set a sketch.
local function sketch_begin(s)
  local ranks = {}
  for i = 1, REGISTERS do
    ranks[i] = 0
  end
  s.sketch_salt, s.weight, s.parts = s.salt, WEIGHT, 0
  for at = s.from, #s.value, 8 do
    local place, rank = sketch_add(s, string.sub(s.value, at, at + 7), function(place) return ranks[place] end)
    if place then
      ranks[place] = rank
    end
  end
  for i = 1, REGISTERS do
    ranks[i] = string.char(ranks[i])
  end
  s.ranks, s.parts = table.concat(ranks), s.n * 1048576
end

-- distinct_charge adds the value if it has room, and returns nothing where that changes nothing.
local function distinct_charge(s)
  if not s.fits then
    return nil
  end
  if not s.ranks then
    if distinct_known(s) then
      return nil
    elseif s.n < MAX_EXACT then
      s.n = s.n + 1
      s.used = s.n
      s.value, s.from = string.sub(s.value, s.from) .. s.member, 1
      return string.format('s%.0f:', s.till) .. s.value, math.ceil((s.till - s.now) / 1000)
    end
    sketch_begin(s)
  end
  local place, rank = sketch_add(s, s.member, function(place) return string.byte(s.ranks, place) end)
  if place then
    s.ranks = string.sub(s.ranks, 1, place - 1) .. string.char(rank) .. string.sub(s.ranks, place + 1)
  elseif not s.value then
    return nil
  end
  s.value = nil
  s.used = math.floor(s.parts / 1048576)
  local head = string.format('h%.0f:%.0f:%.0f:', s.till, s.weight, s.parts)
  return head .. s.sketch_salt .. s.ranks, math.ceil((s.till - s.now) / 1000)
end

local function distinct_reading(s)
  return s.till, s.used
end

-- distinct_refund leaves the value: others may have seen it before the charge. The limit then refuses early.
local function distinct_refund(value, now, cost, count, length, member, salt)
  local s = distinct_look(value, now, cost, count, length, member, salt)
  if s.used == 0 then
    return nil
  end
  return value, math.ceil((s.stored - now) / 1000)
end

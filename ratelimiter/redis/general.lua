-- The general way of script.lua: every algorithm and every operation. It stands in a function that the script calls once it meets
-- a decision that is no plain take, or one that plain takes know too little about: most of what a short script costs is to begin.
local TAKE, SETTLE, PEEK, REFUSED = 1, 2, 3, 5
local ALGORITHM, COST, ENFORCED, WHEN_ALLOWED, WHEN_REFUSED = 1, 2, 3, 4, 5
local LEASE, SHARE, STEP, STEP_PART, NAME = 11, 12, 13, 14, 15

-- An algorithm is these functions, lease where it has leases. A counter's state is two values, x and y; x is nil where there is no
-- counter. Another algorithm needs its table here, its number in `others`, and in Go the arguments of its rules and the reading of
-- its reply.
--   look(r, x, y)     what is found, as two values; whether there is room for the cost; and what a charge would leave, or take:
--                     without room an empty bucket; and whether that is stored although nothing is charged, unless by a peek.
--                     rules[r + 6] is the first argument
--   charge(x, y)      the state after a charge, from the last two values of look; nothing where it stays the same
--   refund(r, x, y, a, b)  the state without a charge that had left a and b; nil where that is no counter
--   reply(o, x, y)    puts the numbers of the counter behind out[o], from what look found or would leave, and returns their end
--   lease(r, x, y)    the units that are charged in advance, and what a charge and they would leave
--   write(key, x, y)  stores it, with a life; gcra's are written by key
local gcra = {} -- x microseconds and y parts of 1/count microsecond; arguments: count, and step and span as x and y

function gcra.look(r, x, y)
  local count, last, lastPart, stray = rules[r + 6], now + rules[r + 9], rules[r + 10], false
  if x and y >= count then -- written under another count
    x, y = x + 1, 0
  end
  if not x or x < now then
    x, y = now, 0
  elseif x > last or (x == last and y > lastPart) then
    stray = x > last + rules[r + 9] -- as Rate.Stray of package gcra says
    x, y = last, lastPart
  end
  local nextX, nextY = x + rules[r + 7], y + rules[r + 8]
  if nextY >= count then
    nextX, nextY = nextX + 1, nextY - count
  end
  if nextX < last or (nextX == last and nextY <= lastPart) then
    return x, y, true, nextX, nextY, stray
  end
  return x, y, false, last, lastPart, stray
end

function gcra.charge(x, y)
  return x, y
end

-- As Rate.Lease of package gcra counts, quotient by quotient. All products are whole and below 2^53.
function gcra.lease(r, x, y)
  local count, free = rules[r + 6], now + rules[r + 9] - x - 1
  local unit = rules[r + STEP] + rules[r + STEP_PART] / count
  local n = math.min(rules[r + LEASE], math.floor(free / unit / rules[r + SHARE]))
  if n <= 0 then
    return 0, x, y
  end
  local parts = y + n * rules[r + STEP_PART]
  local rest = parts % count
  return n, x + n * rules[r + STEP] + (parts - rest) / count, rest
end

-- What has flowed off since the charge is not given back: while the bucket was full without it, that time was lost anyway.
-- Where replicas hold units in advance, each has its place behind the charge: it is given back only while there are none.
function gcra.refund(r, x, y, a, b)
  if rules[r + LEASE] > 0 and (x ~= a or y ~= b) then
    return x, y
  end
  local count = rules[r + 6]
  local us, part = a - now, b
  if us > rules[r + 7] or (us == rules[r + 7] and part > rules[r + 8]) then
    us, part = rules[r + 7], rules[r + 8]
  end
  if us < 0 then
    return x, y
  end
  if y >= count then
    x, y = x + 1, 0
  end
  x, y = x - us, y - part
  if y < 0 then
    x, y = x - 1, y + count
  end
  if x < now or (x == now and y == 0) then
    return nil
  end
  return x, y
end

function gcra.reply(o, x, y)
  out[o + 1], out[o + 2] = x, y
  return o + 2
end

-- by_text makes an algorithm of the functions of windows.lua, distinct.lua or concurrency.lua, whose state is the stored text,
-- and its life in milliseconds once it is charged.
local function by_text(look, charge, refund, reply)
  return {
    look = function(r, text)
      local s = look(text, now, rules[r + COST], rules[r + 6], rules[r + 7], rules[r + 8], rules[r + 9])
      return s, nil, s.room, s
    end,
    charge = charge,
    refund = function(r, text, _, a)
      return refund(text, now, rules[r + COST], rules[r + 6], rules[r + 7], rules[r + 8], rules[r + 9], a)
    end,
    reply = reply,
    write = function(key, text, ms)
      call('PSETEX', key, string.format('%d', ms + hold), text) -- a number would be written as a fraction may be: slower
    end,
  }
end

-- others make the algorithms that a call meets seldom, when it does: their functions come from the texts before this one.
local others = {
  [2] = function() -- windows; arguments: count, length, calendar, sliding
    local look, charge, refund, reading, lease = windows_and_logs()
    local windows = by_text(look, charge, refund, function(o, s)
      out[o + 1], out[o + 2], out[o + 3] = reading(s)
      return o + 3
    end)
    function windows.lease(r, s)
      return lease(s, rules[r + LEASE], rules[r + SHARE]), s
    end
    return windows
  end,
  [3] = function() -- logs; arguments: count, window
    local _, _, _, _, _, look, charge, refund, reading = windows_and_logs()
    return by_text(look, charge, refund, function(o, s)
      out[o + 1], out[o + 2], out[o + 3], out[o + 4] = reading(s)
      return o + 4
    end)
  end,
  [4] = function() -- distinct values; arguments: count, window, and as texts of eight bytes the value and a salt
    local look, charge, refund, reading = distinct_values()
    return by_text(look, charge, refund, function(o, s)
      out[o + 1], out[o + 2] = reading(s)
      return o + 2
    end)
  end,
  [5] = function() -- permits; arguments: count, expiry, as text of 16 bytes the permit, and 1 to release it
    local look, charge, refund, reading = permits_held()
    return by_text(look, charge, refund, function(o, s)
      out[o + 1], out[o + 2], out[o + 3] = reading(s)
      return o + 3
    end)
  end,
}
local algorithms = {gcra}

local function met(number)
  algorithms[number] = others[number]()
  return algorithms[number]
end

-- Of the keys that changed on this way: the algorithm that wrote last, and the text, and its life, of those that have one. opened holds
-- the records of each key of gcra that was met here: names, x and y of each, the place of each name, and how many are stored; or that
-- there are none, since another algorithm wrote.
local writer, texts, lives = {}, {}, {}

local function records_of(key)
  local all = opened[key]
  if all and all ~= true then
    return all
  end
  local names, xs, ys, places, text, put = {}, {}, {}, {}, stored[key], held[key]
  if text and #text % RECORD_BYTES == LIFE_BYTES and not writer[key] then
    local count = (#text - LIFE_BYTES) / RECORD_BYTES
    for i = 1, count do
      local name = string.sub(text, NAME_BYTES * (i - 1) + 1, NAME_BYTES * i)
      names[i], places[name] = name, places[name] or i
      xs[i], ys[i] = unpack_values(STATE, text, NAME_BYTES * count + STATE_BYTES * (i - 1) + 1)
    end
  end
  all = {names = names, xs = xs, ys = ys, places = places, stored = #names}
  opened[key], held[key] = all, nil
  if put then -- by plain takes
    for i = 0, #put / NAME_BYTES - 1 do
      local name, place = string.sub(put, NAME_BYTES * i + 1, NAME_BYTES * (i + 1)), held_at[key] + 2 * i
      local at = places[name] or #names + 1
      names[at], places[name], xs[at], ys[at] = name, at, out[place + 1], out[place + 2]
    end
    writer[key] = gcra
  end
  return all
end

-- state returns a counter as the algorithm would read it from the store at this moment of the sequence.
local function state(key, algorithm, r)
  if algorithm ~= gcra then
    if writer[key] == gcra or held[key] then -- foreign text
      return nil
    elseif writer[key] then
      return texts[key]
    end
    return stored[key] or nil
  end
  local all = records_of(key)
  local at = all.places[rules[r + NAME]]
  local x, y = all.xs[at], all.ys[at]
  if not x or x == 0 then
    return nil
  elseif not (x >= 0 and y >= 0) then
    x, y = now, 0
  end
  return x, y
end

-- changed keeps a counter for what comes behind it, and until it is written.
local function changed(key, algorithm, r, x, y)
  if algorithm ~= gcra then
    writer[key], texts[key], lives[key] = algorithm, x, y
    opened[key], held[key] = true, nil
    return
  end
  local all, name = records_of(key), rules[r + NAME]
  local at = all.places[name] or #all.names + 1
  all.names[at], all.places[name], all.xs[at], all.ys[at] = name, at, x or 0, y or 0
  all.gone = all.gone or not x
  writer[key] = gcra
end

local function charges(op, r, room, allowed)
  if op == TAKE or op == REFUSED then
    return room and rules[r + COST] > 0 and rules[r + (allowed and WHEN_ALLOWED or WHEN_REFUSED)] == 1
  end
  return op == SETTLE and rules[r + COST] > 0
end

-- refunded gives back one charge, puts what is left behind out[o], and returns the end of that.
local function refunded(key, r, a, b, o)
  local number = rules[r + ALGORITHM]
  local algorithm = algorithms[number] or met(number)
  local x, y = state(key, algorithm, r)
  if x then
    changed(key, algorithm, r, algorithm.refund(r, x, y, a, b))
  end
  local room
  x, y, room = algorithm.look(r, state(key, algorithm, r))
  out[o + 1] = room and 1 or 0
  o = algorithm.reply(o + 1, x, y)
  if rules[r + LEASE] > 0 then
    o = o + 1
    out[o] = 0
  end
  return o
end

-- decided decides about n charges, from those of list[at] on, puts the answer behind out[o], and returns the end of that.
local room, places, nextX, nextY, stray = {}, {}, {}, {}, {} -- of the charges of one decision
local function decided(op, n, list, at, o)
  local allowed = op ~= REFUSED
  for i = 1, n do
    local key, r = list[at + 2 * i - 2], list[at + 2 * i - 1]
    local number = rules[r + ALGORITHM]
    local algorithm = algorithms[number] or met(number)
    local x, y
    x, y, room[i], nextX[i], nextY[i], stray[i] = algorithm.look(r, state(key, algorithm, r))
    places[i], out[o + 1] = o + 1, 0
    o = algorithm.reply(o + 1, x, y)
    if rules[r + LEASE] > 0 then
      o = o + 1
      out[o] = 0
    end
    if not room[i] and rules[r + ENFORCED] == 1 then
      allowed = false
    end
  end
  for i = 1, n do
    local key, r = list[at + 2 * i - 2], list[at + 2 * i - 1]
    local answer = room[i] and 1 or 0
    if charges(op, r, room[i], allowed) then
      local algorithm, ahead = algorithms[rules[r + ALGORITHM]], 0
      if op == TAKE and allowed and rules[r + LEASE] > 0 then
        ahead, nextX[i], nextY[i] = algorithm.lease(r, nextX[i], nextY[i])
      end
      local x, y = algorithm.charge(nextX[i], nextY[i])
      if x then
        changed(key, algorithm, r, x, y)
      end
      local last = algorithm.reply(places[i], nextX[i], nextY[i])
      if ahead > 0 then
        out[last + 1] = ahead
      end
      answer = answer + 2
    elseif op ~= PEEK and stray[i] then
      changed(key, gcra, r, nextX[i], nextY[i])
    end
    out[places[i]] = answer
  end
  return o
end

-- ended writes the counters that changed on this way, but those of gcra, which it leaves as plain takes do, behind out[o].
local function ended(o)
  for key = 1, #keys do
    local by = writer[key]
    if by == gcra then
      local all = opened[key]
      held[key], held_at[key] = table.concat(all.names), o
      numbers[key] = #all.names == all.stored and not all.gone and 0 or nil
      for i = 1, #all.names do
        out[o + 1], out[o + 2] = all.xs[i], all.ys[i]
        o = o + 2
      end
    elseif by and texts[key] then
      by.write(keys[key], texts[key], lives[key])
    elseif by and stored[key] then
      call('DEL', keys[key])
    end
  end
end

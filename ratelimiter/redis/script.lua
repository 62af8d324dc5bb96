-- Charges the limits of many decisions, or looks at them: one decision after the other, each as one step, so that a
-- later one finds what an earlier one has charged. Each counter is read once, and written once, at the end, if it
-- changed: a script that fails at its first write has done nothing. All numbers are integers below 2^53.
--
-- KEYS     the counters, each once
-- ARGV[1]  the time in microseconds, for tests; empty: this server's clock
-- ARGV[2]  the rules: algorithm, cost, three flags (enforced; charged when allowed; charged when refused: these two for
--          take only), five arguments of the algorithm, and four of the lease: the units to charge in advance, in a take that
--          is allowed (0 for none), the part of what is left that they may be (one in so many), and for gcra one step
-- ARGV[3]  the decisions: operation (1 take, 2 settle, 3 peek, 4 refund, 5 a take that is refused elsewhere, 6 a plain take: see
--          plainly), number of charges, then for each its counter and its rule; of a refund also two numbers of the counter as it
--          was after the charge
-- Rules and decisions are MessagePack arrays of integers (and texts, where 64 bits are needed), which are cheaper to read here than one text per number. For
-- the same reason a rule stays where it is, and is called by the place before its first number.
-- Returns the time, then for each charge: 1 if it had room plus 2 if it was charged, the numbers of the counter, and with a
-- lease the units charged in advance; all as doubles, the lowest byte first, in one text: each number of a list would be a text.
local TAKE, SETTLE, PEEK, REFUND, REFUSED, PLAIN = 1, 2, 3, 4, 5, 6
local ALGORITHM, COST, ENFORCED, WHEN_ALLOWED, WHEN_REFUSED = 1, 2, 3, 4, 5
local LEASE, SHARE, STEP, STEP_PART = 11, 12, 13, 14

-- Locals are found faster than globals.
local call, pack, unpack_values, ceil = redis.call, struct.pack, struct.unpack, math.ceil

local keys = KEYS
local rules = cmsgpack.unpack(ARGV[2])
-- hold is how many milliseconds each key outlives its counter: PSETEX may count its life from a moment before the one that TIME
-- has told, since a server may look at its clock once for all of a script.
local now, hold = tonumber(ARGV[1]), 100
if now then
  hold = 3600000 -- the time given may stand still
else
  local t = call('TIME')
  now = t[1] * 1000000 + t[2]
end

-- An algorithm is these functions, lease where it has leases. A counter's state is two values, x and y; x is nil where there is no
-- counter. Another algorithm needs its table here, its number in `others`, and in Go the arguments of its rules and the reading of
-- its reply.
--   read(text)        the state as it was stored, and of gcra the instant that the key's life lasts beyond; foreign text is no error
--   look(r, x, y)     what is found, as two values; whether there is room for the cost; and what a charge would leave, or take:
--                     without room an empty bucket; and whether that is stored although nothing is charged, unless by a peek.
--                     rules[r + 6] is the first argument
--   charge(x, y)      the state after a charge, from the last two values of look; nothing where it stays the same
--   refund(r, x, y, a, b)  the state without a charge that had left a and b; nil where that is no counter
--   reply(o, x, y)    puts the numbers of the counter behind out[o], from what look found or would leave, and returns their end
--   lease(r, x, y)    the units that are charged in advance, and what a charge and they would leave
--   text(x, y)        the state as it would be stored
--   write(key, x, y)  stores it, with a life
local out = {now}

local gcra = {} -- x microseconds and y parts of 1/count microsecond; arguments: count, and step and span as x and y

-- Stored are x, y and an instant that the key's life lasts beyond, all as doubles: while x stays below that, the value is
-- overwritten in place, which costs Redis a third of what a new value with a new life does.
local GCRA_VALUE, GCRA_STATE, GCRA_BYTES = '>ddd', '>dd', 24

function gcra.read(text)
  local x, y, last
  if #text == GCRA_BYTES then
    x, y, last = unpack_values(GCRA_VALUE, text)
  end
  if not (x and x >= 0 and y >= 0) then
    x, y = now, 0
  end
  return x, y, last
end

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

function gcra.text(x, y)
  return pack(GCRA_VALUE, x, y, 0)
end

function gcra.write(key, x, y)
  -- Half of what is left, and a second, on top: seldom does a counter outgrow that, and none is kept for long in vain.
  local last = x + math.floor((x - now) / 2) + 1000000
  call('PSETEX', key, string.format('%d', ceil((last - now) / 1000) + hold), pack(GCRA_VALUE, x, y, last))
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
    read = function(text) return text end,
    look = function(r, text)
      local s = look(text, now, rules[r + COST], rules[r + 6], rules[r + 7], rules[r + 8], rules[r + 9])
      return s, nil, s.room, s
    end,
    charge = charge,
    refund = function(r, text, _, a)
      return refund(text, now, rules[r + COST], rules[r + 6], rules[r + 7], rules[r + 8], rules[r + 9], a)
    end,
    reply = reply,
    text = function(text) return text end,
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

local stored = call('MGET', unpack(keys))
local xs, ys, writer = {}, {}, {} -- of the counters that changed
local left = {} -- of those that a plain take changed last, instead: the place in `out` before their x and y
local lives = {} -- of those that gcra has read: the instant that their life lasts beyond

-- state returns a counter as the algorithm would read it from the store at this moment of the sequence.
local function state(k, algorithm)
  local place = left[k]
  if place then
    xs[k], ys[k], writer[k], left[k] = out[place + 1], out[place + 2], gcra, nil
  end
  local last = writer[k]
  if last == algorithm then
    return xs[k], ys[k]
  end
  if last then
    local text = xs[k] and last.text(xs[k], ys[k])
    if text then
      return algorithm.read(text)
    end
  elseif stored[k] then
    local x, y, life = algorithm.read(stored[k])
    lives[k] = life
    return x, y
  end
end

local function charges(op, r, room, allowed)
  if op == TAKE or op == REFUSED then
    return room and rules[r + COST] > 0 and rules[r + (allowed and WHEN_ALLOWED or WHEN_REFUSED)] == 1
  end
  return op == SETTLE and rules[r + COST] > 0
end

local o = 1

-- refunded gives back one charge, and puts what is left behind out[o].
local function refunded(k, r, a, b)
  local number = rules[r + ALGORITHM]
  local algorithm = algorithms[number] or met(number)
  local x, y = state(k, algorithm)
  if x then
    xs[k], ys[k] = algorithm.refund(r, x, y, a, b)
    writer[k] = algorithm
  end
  local room
  x, y, room = algorithm.look(r, state(k, algorithm))
  out[o + 1] = room and 1 or 0
  o = algorithm.reply(o + 1, x, y)
  if rules[r + LEASE] > 0 then
    o = o + 1
    out[o] = 0
  end
end

-- decided decides about n charges, from asked[at] on.
local asked = cmsgpack.unpack(ARGV[3])
local room, places, nextX, nextY, stray = {}, {}, {}, {}, {} -- of the charges of one decision
local function decided(op, n, at)
  local allowed = op ~= REFUSED
  for i = 1, n do
    local k, r = asked[at + 2 * i - 2], asked[at + 2 * i - 1]
    local number = rules[r + ALGORITHM]
    local algorithm = algorithms[number] or met(number)
    local x, y
    x, y, room[i], nextX[i], nextY[i], stray[i] = algorithm.look(r, state(k, algorithm))
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
    local k, r = asked[at + 2 * i - 2], asked[at + 2 * i - 1]
    local answer = room[i] and 1 or 0
    if charges(op, r, room[i], allowed) then
      local algorithm, ahead = algorithms[rules[r + ALGORITHM]], 0
      if op == TAKE and allowed and rules[r + LEASE] > 0 then
        ahead, nextX[i], nextY[i] = algorithm.lease(r, nextX[i], nextY[i])
      end
      local x, y = algorithm.charge(nextX[i], nextY[i])
      if x then
        xs[k], ys[k], writer[k] = x, y, algorithm
      end
      local last = algorithm.reply(places[i], nextX[i], nextY[i])
      if ahead > 0 then
        out[last + 1] = ahead
      end
      answer = answer + 2
    elseif op ~= PEEK and stray[i] then
      xs[k], ys[k], writer[k] = nextX[i], nextY[i], gcra
    end
    out[places[i]] = answer
  end
end

-- plainly decides as decided does about n charges of a take that are all plain: of gcra, with a cost and without a lease, enforced,
-- charged when allowed and not when refused. So all are charged or none, and what is answered for a charge is its counter's state, too.
-- It returns false, and has done nothing, where a counter is empty or older than its limit, since there decided knows more.
local function plainly(n, at)
  local now, asked, rules, left, stored, out = now, asked, rules, left, stored, out
  local place, last, lacking = o, at + 2 * n - 2, nil -- lacking is the first charge without room
  for i = at, last, 2 do
    local k, r = asked[i], asked[i + 1]
    local before, text, x, y = left[k], stored[k]
    if before then
      x, y = out[before + 1], out[before + 2]
    elseif writer[k] then
      x, y = state(k, gcra)
    elseif text and #text == GCRA_BYTES then
      x, y, lives[k] = unpack_values(GCRA_VALUE, text)
    end
    if not (x and x >= now and y >= 0) then
      x, y = now, 0
    end
    local count, most = rules[r + 6], now + rules[r + 9]
    if y >= count or x >= most then
      return false
    end
    local nextX, nextY = x + rules[r + 7], y + rules[r + 8]
    if nextY >= count then
      nextX, nextY = nextX + 1, nextY - count
    end
    local answer = 1
    if nextX > most or (nextX == most and nextY > rules[r + 10]) then
      answer, lacking = 0, lacking or i
    elseif not lacking then
      answer, x, y = 3, nextX, nextY
    end
    out[place + 1], out[place + 2], out[place + 3] = answer, x, y
    place = place + 3
  end
  if not lacking then
    for i = at, last, 2 do
      left[asked[i]] = o + 1
      o = o + 3
    end
    return true
  end
  for i = at, lacking - 2, 2 do -- these have room, but answer what was found
    local r = asked[i + 1]
    local x, y = out[o + 2] - rules[r + 7], out[o + 3] - rules[r + 8]
    if y < 0 then
      x, y = x - 1, y + rules[r + 6]
    end
    out[o + 1], out[o + 2], out[o + 3] = 1, x, y
    o = o + 3
  end
  o = place
  return true
end

local at, total = 1, #asked
while at < total do
  local op, n = asked[at], asked[at + 1]
  if op == PLAIN then
    if not plainly(n, at + 2) then
      decided(TAKE, n, at + 2)
    end
    at = at + 2 + 2 * n
  elseif op == REFUND then
    for i = 1, n do
      local c = at + 4 * i - 2
      refunded(asked[c], asked[c + 1], asked[c + 2], asked[c + 3])
    end
    at = at + 2 + 4 * n
  else
    decided(op, n, at + 2)
    at = at + 2 + 2 * n
  end
end

for k = 1, #keys do
  local place, x, y, by = left[k]
  if place then
    x, y, by = out[place + 1], out[place + 2], gcra
  else
    x, y, by = xs[k], ys[k], writer[k]
  end
  if by == gcra and x and x < (lives[k] or 0) then
    call('SETRANGE', keys[k], '0', pack(GCRA_STATE, x, y)) -- a text, for Redis would write the number as a fraction may be: slower
  elseif by and x then
    by.write(keys[k], x, y)
  elseif by and stored[k] then
    call('DEL', keys[k])
  end
end

local reply = {}
for first = 1, o, 1000 do -- Lua passes no more than 8,000 values at a time
  local last = math.min(first + 999, o)
  reply[#reply + 1] = pack('<' .. string.rep('d', last - first + 1), unpack(out, first, last))
end
return table.concat(reply)

-- Charges the limits of many decisions, or looks at them: one decision after the other, each as one step, so that a
-- later one finds what an earlier one has charged. Each counter is read once, and written once, at the end, if it
-- changed: a script that fails at its first write has done nothing. All numbers are integers below 2^53.
--
-- KEYS     where the counters lie, each once
-- ARGV[1]  the time in microseconds, for tests; empty: this server's clock
-- ARGV[2]  lists of rules: how many, the names of their records in one text, and the rules. A rule: algorithm, cost, three flags
--          (enforced; charged when allowed; charged when refused: these two for take only), five arguments of the algorithm,
--          four of the lease: the units to charge in advance, in a take that is allowed (0 for none), the part of what is left
--          that they may be (one in so many), and for gcra one step; and as a text of eight bytes the name of gcra's record
-- ARGV[3]  the decisions: operation (1 take, 2 settle, 3 peek, 4 refund, 5 a take that is refused elsewhere, 6 a plain take),
--          number of charges, then for each its key and its rule; of a refund also two numbers of the counter as it was after
--          the charge. A plain take has the number of its keys, and for each the list of its rules
-- Rules and decisions are MessagePack arrays of integers (and texts, where 64 bits are needed), which are cheaper to read here than one text per number. For
-- the same reason a rule stays where it is, and is called by the place before its first number.
-- Returns the time, then of a plain take which charges had no room, one bit each, and the numbers of each counter: all were charged or
-- none. Of all others for each charge: 1 if it had room plus 2 if it was charged, the numbers of the counter, and with a
-- lease the units charged in advance; all as doubles, the lowest byte first, in one text: each number of a list would be a text.
local TAKE, REFUND, PLAIN, RULE = 1, 4, 6, 15

local keys = KEYS
local rules, asked = cmsgpack.unpack(ARGV[2]), cmsgpack.unpack(ARGV[3])
-- hold is how many milliseconds each key outlives its counters: PSETEX may count its life from a moment before the one that TIME
-- has told, since a server may look at its clock once for all of a script.
local now, hold = tonumber(ARGV[1]), 100
if now then
  hold = 3600000 -- the time given may stand still
else
  local t = call('TIME')
  now = t[1] * 1000000 + t[2]
end

local stored = call('MGET', unpack(keys))
local out, o = {now}, 1
-- Of the keys whose records changed: their names, the place in out before the x of the first, and the number that it has in the stored
-- text, if they follow each other there.
local held, held_at, numbers = {}, {}, {}
local tails = {} -- of those of them that a plain take could not deal with: the names that it would have liked to find together
local opened = {} -- the keys whose records the general way has
local decided, refunded, ended -- of the general way

local function generally()
  decided, refunded, ended = general(keys, rules, stored, now, hold, out, held, held_at, numbers, opened)
end

local formats = {STATE} -- of the records that were met together
local function format_of(n)
  formats[n] = '>' .. string.rep('dd', n)
  return formats[n]
end

local at, total = 1, #asked
while at < total do
  local op, n, first = asked[at], asked[at + 1], at + 2
  at = first + 2 * n
  if op == PLAIN then
    -- All charges are of gcra, with a cost and without a lease, enforced, charged when allowed and not when refused. So all are charged
    -- or none, and what is answered for a charge is its counter's state. It is done here unless a counter is older than
    -- its limit, or its record lies apart from the others: there the general way knows more.
    local place, lacking, bit, before, done = o + 1, 0, 1, nil, true -- before is the place behind the last charge before one without room
    for i = first, at - 1, 2 do
      local key, list = asked[i], asked[i + 1]
      local many, names, text = rules[list + 1], rules[list + 2], stored[key]
      local from, p, x1, y1
      if held[key] == names then
        from, p = out, held_at[key]
      elseif held[key] or opened[key] then
        done = false
      elseif text then
        local number, position = found(text, names)
        if not number then
          done = false
        elseif many == 1 then
          x1, y1 = unpack_values(STATE, text, position)
        else
          from, p = {unpack_values(formats[many] or format_of(many), text, position)}, 0
        end
        numbers[key] = number
      end
      if not done then
        break
      end
      for r = list + 2, list + 2 + RULE * (many - 1), RULE do
        local x, y = x1, y1
        if from then
          x, y = from[p + 1], from[p + 2]
          p = p + 2
        end
        if not (x and x >= now and y >= 0) then
          x, y = now, 0
        end
        local count, most = rules[r + 6], now + rules[r + 9]
        if y >= count or x >= most then
          done = false
          break
        end
        local nextX, nextY = x + rules[r + 7], y + rules[r + 8]
        if nextY >= count then
          nextX, nextY = nextX + 1, nextY - count
        end
        if nextX > most or (nextX == most and nextY > rules[r + 10]) then
          lacking, before = lacking + bit, before or place
        elseif not before then
          x, y = nextX, nextY
        end
        out[place + 1], out[place + 2] = x, y
        place, bit = place + 2, 2 * bit
      end
    end
    if not done then
      if not decided then
        generally()
      end
      local list, charges = {}, 0
      for i = first, at - 1, 2 do
        local r = asked[i + 1] + 2
        tails[asked[i]] = rules[r]
        for _ = 1, rules[r - 1] do
          list[2 * charges + 1], list[2 * charges + 2] = asked[i], r
          charges, r = charges + 1, r + RULE
        end
      end
      decided(TAKE, charges, list, 1, o)
      lacking, bit, place = 0, 1, o + 1
      for c = o + 1, o + 3 * charges, 3 do
        if out[c] % 2 == 0 then
          lacking = lacking + bit
        end
        out[place + 1], out[place + 2] = out[c + 1], out[c + 2]
        place, bit = place + 2, 2 * bit
      end
    elseif not before then
      local p = o + 1
      for i = first, at - 1, 2 do
        local key, list = asked[i], asked[i + 1]
        held[key], held_at[key] = rules[list + 2], p
        p = p + 2 * rules[list + 1]
      end
    else
      local p = o + 1
      for i = first, at - 1, 2 do -- those before have room, but answer what was found
        local list = asked[i + 1]
        for r = list + 2, list + 2 + RULE * (rules[list + 1] - 1), RULE do
          if p >= before then
            break
          end
          local x, y = out[p + 1] - rules[r + 7], out[p + 2] - rules[r + 8]
          if y < 0 then
            x, y = x - 1, y + rules[r + 6]
          end
          out[p + 1], out[p + 2] = x, y
          p = p + 2
        end
      end
    end
    out[o + 1], o = lacking, place
  else
    if not decided then
      generally()
    end
    if op == REFUND then
      at = first + 4 * n
      for c = first, at - 1, 4 do
        o = refunded(asked[c], asked[c + 1], asked[c + 2], asked[c + 3], o)
      end
    else
      o = decided(op, n, asked, first, o)
    end
  end
end
if ended then
  ended(o)
end

local texts = {[8] = '8'} -- of the offsets that were needed: Redis would write a number as a fraction may be, which is slower
local function text_of(offset)
  texts[offset] = string.format('%d', offset)
  return texts[offset]
end

for key = 1, #keys do
  local names = held[key]
  if names then
    local text, place, number, n, most = stored[key], held_at[key], numbers[key], #names / NAME_BYTES, 0
    for i = place + 1, place + 2 * n, 2 do
      local x = out[i]
      if x > most then
        most = x
      end
    end
    local inside = number and most < unpack_values(LIFE, text, #text - LIFE_BYTES + 1)
    -- No other record is in the key, and nobody wants these in another order.
    local alone = not text or number == 0 and #text == RECORD_BYTES * n + LIFE_BYTES and not tails[key]
    if n <= 100 and (inside or alone and most > now and most < UNREADABLE) then -- Lua passes no more than 8,000 values at a time
      local value
      if n == 1 then
        value = pack(STATE, out[place + 1], out[place + 2])
      else
        value = pack(formats[n] or format_of(n), unpack(out, place + 1, place + 2 * n))
      end
      if inside then
        local offset = (#text - LIFE_BYTES) / 3 + STATE_BYTES * number
        call('SETRANGE', keys[key], texts[offset] or text_of(offset), value)
      else
        local last = life_of(most, now)
        call('PSETEX', keys[key], string.format('%d', ceil((last - now) / 1000) + hold), names .. value .. pack(LIFE, last))
      end
    else
      rewritten(keys[key], text, names, tails[key] or names, out, place, now, hold)
    end
  end
end

local reply = {}
for first = 1, o, 1000 do -- Lua passes no more than 8,000 values at a time
  local last = math.min(first + 999, o)
  reply[#reply + 1] = pack('<' .. string.rep('d', last - first + 1), unpack(out, first, last))
end
return table.concat(reply)

-- The records of gcra's counters. Those that belong to one subject lie in one key, since a decision mostly meets them together, and
-- to look a key up and to write it costs most. A key holds the names of its records, eight bytes each, then x and y of each, and
-- at last an instant that the key's life lasts beyond, all as doubles: while every x stays below that, records are overwritten in
-- place, which costs Redis a third of what a new value with a new life does.
local STATE, LIFE, LIFE_BYTES, NAME_BYTES, STATE_BYTES, RECORD_BYTES = '>dd', '>d', 8, 8, 16, 24
local UNREADABLE = 9007199254740992 -- 2^53: no x of ours lies there

-- Locals are found faster than globals.
local call, pack, unpack_values, find = redis.call, struct.pack, struct.unpack, string.find
local floor, ceil = math.floor, math.ceil

-- found returns where the records of these names follow each other in the text of a key: the number of the first, from 0, and
-- the place of its x; nothing where they do not. Foreign text is no error.
local function found(text, names)
  local bytes, at = #text - LIFE_BYTES, find(text, names, 1, true)
  while at and at % NAME_BYTES ~= 1 do -- it only looks like it: a name begins in another
    at = find(text, names, at + 1, true)
  end
  if at and 3 * (at + #names - 1) <= bytes and bytes % RECORD_BYTES == 0 then
    return (at - 1) / NAME_BYTES, bytes / 3 + 2 * at - 1
  end
end

-- life_of returns an instant that a key's life lasts beyond whose records mean something until `most`: half of what is left, and a
-- second, on top. Seldom does a counter outgrow that, and none is kept for long in vain.
local function life_of(most, now)
  return most + floor((most - now) / 2) + 1000000
end

-- rewritten writes a key anew: the records of these names, whose x and y stand behind out[place], and those of its text, without
-- what means nothing any more. hold is how many milliseconds the key outlives them. The names in tail come last and in their order,
-- so that they are found the next time.
local function rewritten(key, text, names, tail, out, place, now, hold)
  local heads, states, n, most = {}, {}, 0, now
  local function keep(name, x, y)
    if x >= now and x < UNREADABLE then
      n = n + 1
      heads[n], states[n], most = name, pack(STATE, x, y), math.max(most, x)
    end
  end
  local own, last = {}, {}
  for i = 1, #names, NAME_BYTES do
    own[string.sub(names, i, i + NAME_BYTES - 1)] = place + 2 * (i - 1) / NAME_BYTES
  end
  for i = 1, #tail, NAME_BYTES do
    last[string.sub(tail, i, i + NAME_BYTES - 1)] = true
  end
  if text and #text % RECORD_BYTES == LIFE_BYTES then
    local count = (#text - LIFE_BYTES) / RECORD_BYTES
    for i = 0, count - 1 do
      local name = string.sub(text, NAME_BYTES * i + 1, NAME_BYTES * (i + 1))
      if not own[name] then
        keep(name, unpack_values(STATE, text, NAME_BYTES * count + STATE_BYTES * i + 1))
      end
    end
  end
  for _, some in ipairs({names, tail}) do
    for i = 1, #some, NAME_BYTES do
      local name = string.sub(some, i, i + NAME_BYTES - 1)
      if own[name] and (some == tail or not last[name]) then
        keep(name, out[own[name] + 1], out[own[name] + 2])
        own[name] = nil
      end
    end
  end
  if n > 0 then
    local last = life_of(most, now)
    heads[n + 1] = table.concat(states)
    heads[n + 2] = pack(LIFE, last)
    call('PSETEX', key, string.format('%d', ceil((last - now) / 1000) + hold), table.concat(heads))
  elseif text then
    call('DEL', key)
  end
end

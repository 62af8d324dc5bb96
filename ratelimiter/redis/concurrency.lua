-- Permits, as package concurrency counts them: functions for script.lua, in the form of those in windows.lua. A value is 'p' and
-- for each permit, in the order in which they expire, the instant in 16 digits and 16 bytes of its id.
local PERMIT = 32 -- bytes

local function permit_until(s, i)
  return tonumber(string.sub(s.value, 2 + (i - 1) * PERMIT, 17 + (i - 1) * PERMIT)) or 0
end

-- permit_after returns the first permit that expires after an instant, by halves.
local function permit_after(s, instant)
  local low, high = 1, s.n + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if permit_until(s, middle) > instant then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

-- permit_count finds the permits that count.
local function permit_count(s)
  s.n = (#s.value - 1) / PERMIT
  s.first, s.last = permit_after(s, s.now), permit_after(s, s.now + 2 * s.expiry) - 1
  s.used = math.max(s.last - s.first + 1, 0)
end

-- permit_look finds a set of permits. A rule whose last argument is 1 releases the id, else a charge acquires it.
local function permit_look(value, now, cost, count, expiry, id, release)
  if not value or string.sub(value, 1, 1) ~= 'p' or (#value - 1) % PERMIT ~= 0 then
    value = 'p'
  end
  local s = {now = now, value = value, expiry = expiry, id = id, release = release == 1}
  permit_count(s)
  s.fits = s.used < count
  s.room = cost == 0 or s.release or s.fits
  return s
end

-- permit_place returns where the id stands, nil where it does not.
local function permit_place(s)
  local at = 1
  while true do
    at = string.find(s.value, s.id, at, true)
    if not at or (at - 18) % PERMIT == 0 then
      return at and at - 16
    end
    at = at + 1
  end
end

-- permit_life returns for how many milliseconds the set says anything; an empty one goes at once.
local function permit_life(s)
  if s.n == 0 then
    return 1
  end
  return math.max(math.ceil((permit_until(s, s.n) - s.now) / 1000), 1)
end

-- permit_charge acquires or releases the permit, and returns nothing where that changes nothing.
local function permit_charge(s)
  if s.release then
    local from = permit_place(s)
    if not from then
      return nil
    end
    s.value = string.sub(s.value, 1, from - 1) .. string.sub(s.value, from + PERMIT)
  elseif s.fits then
    local till = s.now + s.expiry
    s.value = 'p' .. string.sub(s.value, 2 + (s.first - 1) * PERMIT, 1 + s.last * PERMIT)
    s.n = (#s.value - 1) / PERMIT
    local from = 2 + (permit_after(s, till) - 1) * PERMIT
    s.value = string.sub(s.value, 1, from - 1) .. string.format('%016.0f', till) .. s.id .. string.sub(s.value, from)
  else
    return nil
  end
  permit_count(s)
  return s.value, permit_life(s)
end

-- permit_refund releases what a charge has acquired.
local function permit_refund(value, now, cost, count, expiry, id)
  local s = permit_look(value, now, cost, count, expiry, id, 1)
  permit_charge(s)
  if s.n == 0 then
    return nil
  end
  return s.value, permit_life(s)
end

-- permit_reading returns the permits that count, and when the first and the last of them expire.
local function permit_reading(s)
  if s.used == 0 then
    return 0, 0, 0
  end
  return s.used, permit_until(s, s.first), permit_until(s, s.last)
end

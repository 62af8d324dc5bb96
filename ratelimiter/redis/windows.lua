-- Counters of windows and sliding logs, as packages window and slidinglog count them: functions for script.lua, which stands
-- behind this text, reads all values, decides, and writes. Nothing here calls Redis. All numbers are integers below 2^53, but for the one product
-- that may be larger (weight); every value is one string, and one that cannot be read counts as none.
--
-- X_look(value, now, cost, ...) returns a table with room (whether the cost has room) and left (units that would pass).
-- X_charge(table) charges the cost, or as much as has room, and returns the value to store and its life in milliseconds.
-- X_refund(value, now, cost, ..., mark) gives back a charge that left the first number (of a log: the last) of X_reading at mark, and
-- returns the same, or nil where nothing is left to store.
-- X_reading(table) returns what the reply holds: before a charge what was found, after it what is stored.

-- window_end returns the end of the window that now lies in. calendar: 0 none, 1 day, 2 week from Monday, 3 month, 4 year.
local function window_end(now, length, calendar)
  if calendar == 0 then
    return now - now % length + length
  end
  local day, floor = 86400000000, math.floor
  if calendar == 1 then
    return now - now % day + day
  elseif calendar == 2 then
    return now - (now + 3 * day) % (7 * day) + 7 * day -- 1970 began on a Thursday
  end
  -- The civil date of a day and back, in years that begin in March and eras of 400 years.
  local days = floor(now / day) + 719468
  local era = floor(days / 146097)
  local of_era = days - era * 146097
  local year = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
  local month = floor((5 * of_year + 2) / 153) -- 0 is March
  year = year + era * 400
  if calendar == 3 then
    month = month + 1
  else
    if month >= 10 then -- January and February end the year that began in March
      year = year + 1
    end
    month = 10
  end
  if month == 12 then
    year, month = year + 1, 0
  end
  era = floor(year / 400)
  year = year - era * 400
  return (era * 146097 + 365 * year + floor(year / 4) - floor(year / 100) + floor((153 * month + 2) / 5) - 719468) * day
end

-- weight returns the part of the units of the window before that counts while rest is left of this one. The product and
-- the quotient are rounded once each; from 2^52 on one unit is added, so that rounding never admits more.
local function weight(before, rest, length)
  local product = before * rest
  local units = math.ceil(product / length)
  if product >= 4503599627370496 then
    units = units + 1
  end
  return math.min(units, before)
end

-- window_look finds a counter of a fixed window, of the sliding counter (sliding = 1) or of a quota. length is that of the
-- longest window. The value is the instant from which it means nothing, the units of the window, those of the one before.
local function window_look(value, now, cost, count, length, calendar, sliding)
  local finish, tail = window_end(now, length, calendar), 0
  if sliding == 1 then
    tail = length
  end
  local s = {now = now, cost = cost, till = finish + tail, used = 0, before = 0}
  local till, used, before
  if value then
    till, used, before = string.match(value, '^(%d+):(%d+):(%d+)$')
    till, used, before = tonumber(till), tonumber(used), tonumber(before)
  end
  if not till or till <= now or till > s.till + length then
    -- none, over, or further ahead than a clock is set back
  elseif sliding == 1 and till <= finish then
    s.before = math.min(used, count)
  else
    s.used = math.min(used, count)
    if sliding == 1 then
      s.before = math.min(before, count)
    end
  end
  local spent = s.used
  if s.before > 0 then
    spent = spent + weight(s.before, finish - now, length)
  end
  s.left = math.max(count - spent, 0)
  s.room = cost <= s.left
  return s
end

-- window_lease adds units in advance to the cost, and returns how many: at most one part in share of what the cost leaves.
local function window_lease(s, want, share)
  local ahead = math.min(want, math.floor((s.left - s.cost) / share))
  s.cost = s.cost + ahead
  return ahead
end

local function window_charge(s)
  s.used = s.used + math.min(s.cost, s.left)
  return string.format('%.0f:%.0f:%.0f', s.till, s.used, s.before), math.ceil((s.till - s.now) / 1000)
end

local function window_refund(value, now, cost, count, length, calendar, sliding, mark)
  local s = window_look(value, now, cost, count, length, calendar, sliding)
  if s.till == mark then
    s.used = math.max(s.used - cost, 0)
  elseif s.till == mark + length then -- of the window before
    s.before = math.max(s.before - cost, 0)
  end
  if s.used + s.before == 0 then
    return nil
  end
  return string.format('%.0f:%.0f:%.0f', s.till, s.used, s.before), math.ceil((s.till - now) / 1000)
end

local function window_reading(s)
  return s.till, s.used, s.before
end

-- log_at returns the instant of unit i of a log, from 1.
local function log_at(s, i)
  local from = s.from + (i - 1) * s.width
  return s.base + (tonumber(string.sub(s.value, from, from + s.width - 1)) or 0)
end

-- log_after returns the first unit after an instant, by halves.
local function log_after(s, instant)
  local low, high = 1, s.n + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if log_at(s, middle) > instant then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

-- log_look finds a sliding log. The value is WIDTH:BASE: and then for each unit, in order, its instant as microseconds after
-- BASE, in WIDTH digits: to find a unit takes no scan, and to drop and add units copies text.
local function log_look(value, now, cost, count, window)
  local s = {now = now, cost = cost, count = count, window = window, value = value, n = 0, width = 0, base = 0, from = 1}
  if value then
    local width, base, from = string.match(value, '^(%d+):(%d+):()')
    width, base = tonumber(width), tonumber(base)
    if width and width >= 1 and width <= 16 and base < 9007199254740992 then
      s.width, s.base, s.from = width, base, from
      s.n = math.floor((#value - from + 1) / width)
    end
  end
  s.first, s.last = log_after(s, now - window), log_after(s, now + window) - 1
  s.used = math.max(s.last - s.first + 1, 0)
  s.left = math.max(count - s.used, 0)
  s.room = cost <= s.left
  return s
end

-- log_kept returns the units that count, as they are written with a width and a base.
local function log_kept(s, width, base)
  if width == s.width and base == s.base then
    return string.sub(s.value, s.from + (s.first - 1) * width, s.from + s.last * width - 1)
  end
  local units = {}
  for i = s.first, s.last do
    units[#units + 1] = string.format('%0' .. width .. '.0f', log_at(s, i) - base)
  end
  return table.concat(units)
end

local function log_charge(s)
  local width = #string.format('%.0f', 2 * s.window) -- what lies in a log never spans two windows
  local at, base, kept = s.now, s.now, ''
  if s.used > 0 then
    at, base = math.max(s.now, log_at(s, s.last)), s.base
    if width ~= s.width or at - base >= 10 ^ width then
      base = log_at(s, s.first)
    end
    kept = log_kept(s, width, base)
  end
  local unit = string.format('%0' .. width .. '.0f', at - base)
  local value = string.format('%.0f:%.0f:', width, base) .. kept .. string.rep(unit, math.min(s.cost, s.left))
  for k, v in pairs(log_look(value, s.now, s.cost, s.count, s.window)) do
    s[k] = v
  end
  local newest = s.used > 0 and log_at(s, s.last) or s.now
  return value, math.ceil((newest + s.window - s.now) / 1000)
end

-- log_refund takes the arguments of window_refund: a log has two, and the others are not looked at.
local function log_refund(value, now, cost, count, window, _, _, mark)
  local s = log_look(value, now, cost, count, window)
  if s.used == 0 then
    return nil
  end
  local at, n = math.max(s.first, log_after(s, mark - 1)), 0
  while n < cost and at + n <= s.last and log_at(s, at + n) == mark do
    n = n + 1
  end
  if n == s.used then
    return nil
  end
  local kept, from = log_kept(s, s.width, s.base), (at - s.first) * s.width
  local newest = at + n > s.last and n > 0 and log_at(s, at - 1) or log_at(s, s.last)
  kept = string.sub(kept, 1, from) .. string.sub(kept, from + n * s.width + 1)
  return string.format('%.0f:%.0f:', s.width, s.base) .. kept, math.ceil((newest + window - now) / 1000)
end

-- log_reading returns the units that count and the instants of three of them, 0 for none: the one that must go for one more
-- to pass, the one that must go for the cost to pass, and the newest.
local function log_reading(s)
  if s.used == 0 then
    return 0, 0, 0, 0
  end
  local enough = 0
  if s.cost > 0 and s.cost <= s.count and s.cost > s.count - s.used then
    enough = log_at(s, s.first + s.used - (s.count - s.cost) - 1)
  end
  return s.used, log_at(s, s.first + math.max(s.used - s.count, 0)), enough, log_at(s, s.last)
end

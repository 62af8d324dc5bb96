-- Charges all limits of one decision, or looks at them, as one step. All numbers are integers below 2^53.
-- ARGV[1]  take, settle or peek
-- ARGV[2]  the time in microseconds, for tests; empty: this server's clock
-- then for each key: count, step and span as microseconds and parts of 1/count microsecond, flags (1 enforced,
-- 2 charged when allowed, 4 charged when refused; take only)
-- Returns the time, then for each key: had room, was charged, TAT in microseconds and parts.
local op, now, hold = ARGV[1], tonumber(ARGV[2]), 0
if now then
  hold = 3600000 -- the time given may stand still, so keys must outlive their exact moment
else
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end

local stored = redis.call('MGET', unpack(KEYS))
local n, allowed = #KEYS, true
local tat, part, room, flags, nextTat, nextPart = {}, {}, {}, {}, {}, {}

for i = 1, n do
  local a = 3 + (i - 1) * 6
  local count = tonumber(ARGV[a])
  local f = tonumber(ARGV[a + 5])
  local last, lastPart = now + tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
  local u, p = now, 0
  if stored[i] then
    local us, ps = string.match(stored[i], '^(%d+)%.?(%d*)$')
    u, p = tonumber(us) or now, tonumber(ps) or 0
    if p >= count then -- written under another count
      u, p = u + 1, 0
    end
    if u < now then
      u, p = now, 0
    elseif u > last or (u == last and p > lastPart) then
      u, p = last, lastPart
    end
  end
  local nu, np = u + tonumber(ARGV[a + 1]), p + tonumber(ARGV[a + 2])
  if np >= count then
    nu, np = nu + 1, np - count
  end
  local ok = nu < last or (nu == last and np <= lastPart)
  if op == 'settle' then
    if not ok then
      nu, np = last, lastPart
    end
  elseif not ok and f % 2 == 1 then
    allowed = false
  end
  tat[i], part[i], room[i], flags[i], nextTat[i], nextPart[i] = u, p, ok, f, nu, np
end

local out = {now}
for i = 1, n do
  local free = ARGV[4 + (i - 1) * 6] == '0' and ARGV[5 + (i - 1) * 6] == '0'
  local charge = false
  if op == 'settle' then
    charge = not free
  elseif op == 'take' and room[i] and not free then
    if allowed then
      charge = math.floor(flags[i] / 2) % 2 == 1
    else
      charge = math.floor(flags[i] / 4) % 2 == 1
    end
  end
  if charge then
    local u, p = nextTat[i], nextPart[i]
    local ahead, value = u - now, string.format('%.0f', u)
    if p > 0 then
      ahead, value = ahead + 1, value .. '.' .. string.format('%.0f', p)
    end
    redis.call('SET', KEYS[i], value, 'PX', string.format('%.0f', math.ceil(ahead / 1000) + hold))
    tat[i], part[i] = u, p
  end
  local o = 2 + (i - 1) * 4
  out[o], out[o + 1] = room[i] and 1 or 0, charge and 1 or 0
  out[o + 2], out[o + 3] = tat[i], part[i]
end
return out

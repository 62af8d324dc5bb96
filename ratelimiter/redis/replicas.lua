-- Says that a replica lives and counts those that do. Times are milliseconds.
-- KEYS[1]  the sorted set of replicas, each by when it was last heard of
-- ARGV[1]  the time, for tests; empty: this server's clock
-- ARGV[2]  the replica's id
-- ARGV[3]  for how long a replica that is not heard of counts
-- ARGV[4]  how many replicas are kept, those heard of last
local set, id, expiry, most = KEYS[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
redis.call('ZREMRANGEBYSCORE', set, '-inf', now - expiry)
-- Heard of later than now, before the clock was set back: it lives for as long as one heard of now.
for _, ahead in ipairs(redis.call('ZRANGEBYSCORE', set, '(' .. string.format('%d', now), '+inf')) do
  redis.call('ZADD', set, now, ahead)
end
redis.call('ZADD', set, now, id)
redis.call('ZREMRANGEBYRANK', set, 0, -1 - most)
redis.call('PEXPIRE', set, expiry)
return redis.call('ZCARD', set)

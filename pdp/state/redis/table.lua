-- What both scripts begin with. A table is four keys in one slot:
--   records  hash: ID -> "version expires deleted value"; times in microseconds, 0 for never
--   order    sorted set: ID by the sequence of its last write
--   ends     sorted set: ID by when it ends
--   meta     hash: epoch, last sequence, last sequence of a record that was swept
local records, order, ends, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

-- Numbers beyond 14 digits, which tostring would round.
local function whole_number(n) return string.format('%.0f', n) end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- A server under memory pressure may have evicted some of the keys: then all is lost, and replicas write back what they hold.
local state = redis.call('HMGET', meta, 'epoch', 'sequence', 'swept')
local count = redis.call('HLEN', records)
if redis.call('ZCARD', order) ~= count or redis.call('ZCARD', ends) ~= count or not state[1] and count > 0 then
  redis.call('UNLINK', records, order, ends, meta)
  state = {false, false, false}
end
local last, swept = tonumber(state[2] or 0), tonumber(state[3] or 0)

-- What has ended goes, a bounded part at a time.
local over = redis.call('ZRANGEBYSCORE', ends, '-inf', whole_number(now), 'LIMIT', 0, 100)
if #over > 0 then
  for _, id in ipairs(over) do
    swept = math.max(swept, tonumber(redis.call('ZSCORE', order, id)))
  end
  redis.call('HDEL', records, unpack(over))
  redis.call('ZREM', order, unpack(over))
  redis.call('ZREM', ends, unpack(over))
  redis.call('HSET', meta, 'swept', whole_number(swept))
end

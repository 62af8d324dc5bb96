-- ARGV: id, value, expires, deleted, if absent, version (0: a new write), an epoch if there is none, channel
local id, value, expires, deleted = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local given, above = tonumber(ARGV[6]), 0
local old = redis.call('HGET', records, id)
if old then
  local version, ended, gone = string.match(old, '^(%d+) (%d+) (%d) ')
  above = tonumber(version)
  local stands = gone == '0' and (ended == '0' or tonumber(ended) > now)
  if ARGV[5] == '1' and stands or given > 0 and given <= above then
    return 0
  end
end
local sequence = math.max(last + 1, now)
local version = given > 0 and given or math.max(sequence, above + 1)
redis.call('HSET', records, id, whole_number(version) .. ' ' .. expires .. ' ' .. deleted .. ' ' .. value)
redis.call('ZADD', order, whole_number(sequence), id)
redis.call('ZADD', ends, expires == '0' and '+inf' or expires, id)
if not state[1] then
  redis.call('HSET', meta, 'epoch', ARGV[7])
end
redis.call('HSET', meta, 'sequence', whole_number(sequence))
redis.call('PUBLISH', ARGV[8], '')
return 1

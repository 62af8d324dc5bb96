-- ARGV: epoch and sequence of the cursor, 1 for a page after the first, most records, most bytes
-- Returns: epoch, sequence to go on from, whether these are the first of all records, whether there are more, the time, and
-- of each record the ID and what stands under it.
local info = redis.pcall('INFO', 'replication')
local server = type(info) == 'string' and string.match(info, 'master_replid:(%x+)') or ''
local epoch = (state[1] or 'none') .. '-' .. string.sub(server, 1, 16)
local since, most, room = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local whole = ARGV[1] ~= epoch or since > last or since < swept and ARGV[3] == '0'
if whole then
  since = 0
end
local out = {epoch, '', whole and 1 or 0, 0, whole_number(now)}
local found = redis.call('ZRANGEBYSCORE', order, '(' .. whole_number(since), '+inf', 'WITHSCORES', 'LIMIT', 0, most + 1)
local at = 1
while at < #found and at < 2 * most and room > 0 do
  local ids = {}
  for i = at, math.min(at + 198, #found - 1, 2 * most - 1), 2 do
    ids[#ids + 1] = found[i]
  end
  local raw = redis.call('HMGET', records, unpack(ids))
  for i, id in ipairs(ids) do
    out[#out + 1] = id
    out[#out + 1] = raw[i]
    room = room - #id - #raw[i]
  end
  since = found[at + 2 * #ids - 1]
  at = at + 2 * #ids
end
if at < #found then
  out[4] = 1
  out[2] = whole_number(tonumber(since))
else
  out[2] = whole_number(last)
end
return out

-- Forgets one counter of gcra: see records.lua, which stands before this text. Returns 1 if there was one.
-- KEYS[1]  where it lies
-- ARGV[1]  the name of its record
local key = KEYS[1]
local text = call('MGET', key)[1]
local number, position = nil, nil
if text then
  number, position = found(text, ARGV[1])
end
if text and not number and #text % RECORD_BYTES == LIFE_BYTES then
  return 0 -- the records of others
elseif not number or #text == RECORD_BYTES + LIFE_BYTES then
  return call('DEL', key)
end
-- Zeros are no counter: the key's other records may be written at any moment, and its next life goes without them.
call('SETRANGE', key, string.format('%d', position - 1), pack(STATE, 0, 0))
return unpack_values(STATE, text, position) == 0 and 0 or 1

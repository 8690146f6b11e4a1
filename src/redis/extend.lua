-- Lets the lease of a claim end later.
--
-- KEYS[1]  the key of the id
-- ARGV[1]  the token of the claim, 16 bytes
-- ARGV[2]  the new remaining time in milliseconds; a later end is kept
--
-- Returns 1 if the claim is held, and 0 if nothing was changed.
local held = redis.call('GETRANGE', KEYS[1], 0, 16)
if held ~= 'C' .. ARGV[1] then
  return 0
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1

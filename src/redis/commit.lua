-- Records a claimed id as handled.
--
-- KEYS[1]  the key of the id
-- ARGV[1]  the token of the claim, 16 bytes
-- ARGV[2]  the ttl in milliseconds
-- ARGV[3]  the value
-- ARGV[4]  '1' if the id is recorded also if no claim on it exists
--
-- Returns 1 if the id is recorded with this token, and 0 if nothing was changed.
local held = redis.call('GET', KEYS[1])
if held then
  if string.sub(held, 2, 17) ~= ARGV[1] then
    return 0
  end
  -- The reply to an earlier attempt was lost.
  if string.sub(held, 1, 1) == 'D' then
    return 1
  end
elseif ARGV[4] ~= '1' then
  return 0
end
redis.call('SET', KEYS[1], 'D' .. ARGV[1] .. ARGV[3], 'PX', ARGV[2])
return 1

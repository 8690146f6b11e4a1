-- Claims an id, or records it if a value is given.
--
-- KEYS[1]  the key of the id
-- ARGV[1]  the caller's token, 16 bytes
-- ARGV[2]  the lease, or the ttl of a record, in milliseconds
-- ARGV[3]  the value of a record; absent for a claim
--
-- Returns {0} if the id is the caller's, {1, age, remaining} if it is in flight,
-- {2, remaining, value} if it is recorded, and {3} if the key has another layout.
local held = redis.call('GET', KEYS[1])
if not held then
  local new
  if ARGV[3] then
    new = 'D' .. ARGV[1] .. ARGV[3]
  else
    local time = redis.call('TIME')
    new = 'C' .. ARGV[1] .. time[1] .. string.format('%06d', time[2])
  end
  redis.call('SET', KEYS[1], new, 'PX', ARGV[2])
  return {0}
end
-- The reply to an earlier attempt was lost.
if string.sub(held, 2, 17) == ARGV[1] then
  return {0}
end
local state = string.sub(held, 1, 1)
local remaining = redis.call('PTTL', KEYS[1])
if state == 'C' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local since = math.floor((tonumber(string.sub(held, 18)) or 0) / 1000)
  return {1, math.max(now - since, 0), remaining}
elseif state == 'D' then
  return {2, remaining, string.sub(held, 18)}
end
return {3}

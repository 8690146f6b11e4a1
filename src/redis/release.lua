-- Releases a claim, or removes a recorded id if the token is empty.
--
-- KEYS[1]  the key of the id
-- ARGV[1]  the token of the claim, or an empty string
--
-- Returns the value of the removed key, or nil if nothing was changed.
local held = redis.call('GET', KEYS[1])
if not held then
  return false
end
if ARGV[1] == '' then
  if string.sub(held, 1, 1) ~= 'D' then
    return false
  end
elseif string.sub(held, 1, 17) ~= 'C' .. ARGV[1] then
  return false
end
redis.call('DEL', KEYS[1])
return string.sub(held, 18)

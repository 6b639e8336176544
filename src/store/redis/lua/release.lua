-- Lets mail pass for ARGV[2] ms, from ARGV[1] on or from now.

local now = tonumber(ARGV[1])
if not now then
  local parts = redis.call('TIME')
  now = parts[1] * 1000 + math.floor(parts[2] / 1000)
end
redis.call('SET', KEYS[1], string.format('%.0f', now + ARGV[2]), 'PX', string.format('%.0f', ARGV[2] + 3600000))
return 1

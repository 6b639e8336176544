-- In the slot of a network: how many clocks its account has. Where these are more than ARGV[1], also the first ARGV[2] of them, and when
-- the clock began by which a network over its cap is judged. KEYS: the account, that clock.

local running = redis.call('ZCARD', KEYS[1])
if running <= tonumber(ARGV[1]) then return { running, {}, '' } end
return { running, redis.call('ZRANGE', KEYS[1], 0, ARGV[2] - 1), redis.call('GET', KEYS[2]) or '' }

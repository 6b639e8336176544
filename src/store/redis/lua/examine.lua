-- Tries on keys of its own each command that the other scripts use, so that what is forbidden is known before mail comes. Returns the
-- errors, each after the name of its command.

local key, sorted = KEYS[1], KEYS[2]
local errors = {}

local function try(command, ...)
  local result = redis.pcall(command, ...)
  if type(result) == 'table' and result.err then
    errors[#errors + 1] = string.lower(command) .. ' ' .. result.err
  end
end

try('TIME')
try('SET', key, '1', 'PX', 60000)
try('GET', key)
try('MGET', key)
try('DEL', key)
try('ZADD', sorted, 1, 'x')
try('PEXPIRE', sorted, 60000)
try('ZCARD', sorted)
try('ZRANGE', sorted, 0, 0)
try('ZREMRANGEBYSCORE', sorted, '-inf', '(0')
try('ZREM', sorted, 'x')
return errors

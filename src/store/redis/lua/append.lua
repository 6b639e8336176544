-- The account of a network: the clocks begun for it, in the order in which they were begun.

local function remove(account, entries)
  if #entries > 0 then
    call('ZREM', account, unpack(entries))
  end
end

-- Scores are times, some milliseconds more where that is needed to keep the order: whole numbers, as Redis takes others for text, and
-- reads that anew each time it passes them.
local function append(account, entries)
  if #entries == 0 then return end
  local lasting = retry_window + SLACK
  call('ZREMRANGEBYSCORE', account, '-inf', '(' .. text(now - lasting))
  local last = call('ZRANGE', account, '-1', '-1', 'WITHSCORES')[2]
  local score = last and max(now, math.floor(last) + 1) or now
  local scored = {}
  for i = 1, #entries do
    scored[2 * i - 1], scored[2 * i] = text(score + i - 1), entries[i]
  end
  call('ZADD', account, unpack(scored))
  call('PEXPIRE', account, text(lasting))
end

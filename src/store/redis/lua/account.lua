-- Step 3 of the model: the account of a network, the clocks begun for it in the order in which they were begun.

local STEP = 1 / 1024
local MAX_SWEPT = 64

local function first_of(entry)
  return (struct.unpack('>I6', string.sub(entry, 17)))
end

-- Whether so many clocks may begin; and the entries that leave: those long expired in any case.
local function make_room(account, begins)
  if begins == 0 then return true, {} end
  if begins > a.network_cap then return false, {} end
  local running = redis.call('ZCARD', account)
  if running + begins <= a.network_cap then return true, {} end

  local oldest = redis.call('ZRANGE', account, 0, MAX_SWEPT + begins - 1)
  -- Expired ones do not count, but end only when a store may have dropped them already: the clock may yet be set back.
  local over, leaving = 0, {}
  for i = 1, math.min(#oldest, MAX_SWEPT) do
    local first = first_of(oldest[i])
    if since(first, a.now) <= a.retry_window then break end
    over = i
    if first + a.retry_window + SLACK < a.now then leaving[#leaving + 1] = oldest[i] end
  end
  local excess = math.min(math.max(running - over + begins - a.network_cap, 0), begins)
  local gone = { unpack(leaving) }
  for i = over + 1, over + excess do
    if not oldest[i] or since(first_of(oldest[i]), a.now) <= 2 * a.min_delay then return false, gone end
    leaving[#leaving + 1] = oldest[i]
  end
  return true, leaving
end

local function remove(account, entries)
  if #entries > 0 then
    redis.call('ZREM', account, unpack(entries))
  end
end

-- Scores are times, a little more where that is needed to keep the order.
local function append(account, entries)
  if #entries == 0 then return end
  local lasts = a.retry_window + SLACK
  redis.call('ZREMRANGEBYSCORE', account, '-inf', '(' .. text(a.now - lasts))
  local last = redis.call('ZRANGE', account, -1, -1, 'WITHSCORES')[2]
  local score = math.max(a.now, tonumber(last) or 0)
  local scored = {}
  for i, entry in ipairs(entries) do
    scored[2 * i - 1], scored[2 * i] = string.format('%.17g', score + i * STEP), entry
  end
  redis.call('ZADD', account, unpack(scored))
  redis.call('PEXPIRE', account, text(lasts))
end

-- Ends a clock that had to make room, unless it was begun anew meanwhile.
local function end_clock(key, first)
  if (read_clock(redis.call('GET', key))) == first then
    redis.call('DEL', key)
  end
end

-- Brings the accounts up to date: what had to leave for new clocks, whose own clocks end, and what changed by the attempt itself.
-- Only where all keys are on one server.
local function settle(account, leaving, changed)
  remove(account, leaving)
  for _, entry in ipairs(leaving) do
    end_clock(name(string.sub(entry, 1, 16), 'c'), first_of(entry))
  end
  for i = 1, #changed.leave, 2 do
    remove(name(changed.leave[i], 'a'), { changed.leave[i + 1] })
  end
  append(account, changed.come)
end

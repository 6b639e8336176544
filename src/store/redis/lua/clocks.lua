-- Step 2 of the model: the clocks, and what they say.

-- When each began, expired or not, and in the account of which network; those that run; the earliest of these, and whose it is; how
-- many have to be begun.
local began, networks, runs, earliest, earliest_of, begins = {}, {}, {}, nil, nil, 0
for i = 1, n do
  local first
  if found[2 * n + i] then
    first, networks[i] = read_clock(found[2 * n + i])
    began[i] = first
  end
  if first and now - first <= retry_window then
    runs[i] = first
    if not earliest or first < earliest then
      earliest, earliest_of = first, i
    end
  else
    begins = begins + 1
  end
end

local function is_mature(first)
  return first and first <= now and now - first >= min_delay
end

-- What a clock that begins is kept as, for how long, and the end of its entry in the account of its network.
local now_text, lasts, moment = text(now), text(retry_window + SLACK), struct.pack('>I6', now)
local clock = now_text .. ' ' .. network

-- What changes in the accounts of networks: entries that leave, as network and entry by turns, and those that come into the account of
-- the attempt's network. An entry is the hash at the end of a clock's key, and when it began.
local leave, come = {}, {}

local function leave_account(i)
  if began[i] and networks[i] ~= '' then
    leave[#leave + 1] = networks[i]
    leave[#leave + 1] = string.sub(KEYS[2 * n + i], -16) .. struct.pack('>I6', began[i])
  end
end

local function begin(i)
  local key = KEYS[2 * n + i]
  leave_account(i)
  call('SET', key, clock, 'PX', lasts)
  come[#come + 1] = string.sub(key, -16) .. moment
end

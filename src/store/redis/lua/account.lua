-- Step 3 of the model: whether the account of a network has room. Only where all keys are on one server.

local MAX_SWEPT = 64

local function first_of(entry)
  return (struct.unpack('>I6', string.sub(entry, 17)))
end

-- Whether `begins` clocks may begin; and the entries that leave: those long expired in any case.
local function make_room(account, begins)
  if begins == 0 then return true end
  if begins > network_cap then return false end
  local running = call('ZCARD', account)
  if running + begins <= network_cap then return true end

  local oldest = call('ZRANGE', account, 0, MAX_SWEPT + begins - 1)
  -- Expired ones do not count, but end only when a store may have dropped them already: the clock may yet be set back.
  local over, leaving = 0, {}
  for i = 1, math.min(#oldest, MAX_SWEPT) do
    local first = first_of(oldest[i])
    if now - first <= retry_window then break end
    over = i
    if first + retry_window + SLACK < now then leaving[#leaving + 1] = oldest[i] end
  end
  local excess = math.min(max(running - over + begins - network_cap, 0), begins)
  local gone = { unpack(leaving) }
  for i = over + 1, over + excess do
    if not oldest[i] or max(now - first_of(oldest[i]), 0) <= 2 * min_delay then return false, gone end
    leaving[#leaving + 1] = oldest[i]
  end
  return true, leaving
end

-- Brings the accounts up to date: what had to leave for new clocks, whose own clocks end unless they were begun anew meanwhile, and what
-- changed by the attempt itself. The keys that records are found under come from their hashes: the part in braces chooses the slot.
local function settle(account, leaving)
  local function name(hash, kind)
    return format('greylag:{%02x%02x}', string.byte(hash, 1, 2)) .. kind .. hash
  end
  if leaving then
    remove(account, leaving)
    for _, entry in ipairs(leaving) do
      local key = name(string.sub(entry, 1, 16), 'c')
      local value = call('GET', key)
      if value and (read_clock(value)) == first_of(entry) then
        call('DEL', key)
      end
    end
  end
  for i = 1, #leave, 2 do
    remove(name(leave[i], 'a'), { leave[i + 1] })
  end
  append(account, come)
end

-- Whether a clock matured of an SPF domain, or of one of the other kinds.
local function has_matured(of_spf)
  if not earliest then return false end
  for i = 1, n do
    if (string.sub(kinds, i, i) == 's') == of_spf and is_mature(runs[i]) then return true end
  end
  return false
end

local account = KEYS[3 * n + 1]
local has_room, leaving = make_room(account, begins)
local answer, value = 'first', min_delay
if earliest then
  local waited = max(now - earliest, 0)
  if waited < min_delay then
    answer, value = 'early', min_delay - waited
  else
    answer, value = 'matured', waited
  end
elseif not has_room then
  -- Judged by the clock of (network, recipient's domain), which proves nothing.
  local key = KEYS[3 * n + 2]
  local kept = call('GET', key)
  local first = kept and read_clock(kept)
  if first and now - first > retry_window then first = nil end
  if record and (not first or now < first) then
    keep(key, now_text .. ' ', now + retry_window)
  end
  local left = first and min_delay - max(now - first, 0) or min_delay
  answer, value = 'capped', (not first or left > 0) and left or nil
end
if record then
  write(has_room)
  settle(account, leaving)
end

local around = call('MGET', unpack(KEYS, 3 * n + 3))
local is_first = answer == 'first'
local counts = is_first and first_counts == 1
local spf_passes = spf_counts == 1 and stand(KEYS[3 * n + 3], around[1], has_matured(true), counts)
local other_passes = other_counts == 1 and stand(KEYS[3 * n + 4], around[2], has_matured(false), counts)
if spf_passes or other_passes then
  return { 'promoted', spf_passes and 's' or 'o' }
end

if value and answer ~= 'matured' then
  for i = 3, #around do
    if around[i] and now <= tonumber(around[i]) then return { 'released' } end
  end
end
if is_first then return { answer } end
return { answer, value and text(value) or '', earliest_of and text(earliest_of) }

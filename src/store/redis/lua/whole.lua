-- A decision on one server: all of the model in one step. KEYS, after those of the clocks: the account of the network, the capped
-- clock, the standing of the SPF domain and of the address, the releases. ARGV[17] has 's' and 'o' for the standings that count.

local STANDINGS = { s = KEYS[3 * n + 3], o = KEYS[3 * n + 4] }

local function counts(kind)
  return string.find(ARGV[17], kind, 1, true)
end

local it = read()
if it.known_by then
  local renewed = a.record and renew(it) or ''
  for kind, key in pairs(STANDINGS) do
    if counts(kind) and string.find(renewed, kind, 1, true) then renew_standing(key) end
  end
  return { it.known_by, text(it.known_as) }
end

local account = KEYS[3 * n + 1]
local has_room, leaving = make_room(account, it.begins)
local answer, value
if has_room or it.earliest then
  answer, value = judge(it)
else
  answer, value = 'capped', judge_capped(KEYS[3 * n + 2])
end
if a.record then
  settle(account, leaving, write(it, has_room))
end

local promoted
for _, kind in ipairs({ 's', 'o' }) do
  if counts(kind) then
    local passes = stand(STANDINGS[kind], has_matured(it, kind == 's'), answer == 'first')
    promoted = promoted or (passes and kind)
  end
end
if promoted then
  return { 'promoted', promoted }
end

if value and answer ~= 'matured' then
  for _, expires in ipairs(redis.call('MGET', unpack(KEYS, 3 * n + 5))) do
    if a.now <= tonumber(expires or -1) then return { 'released' } end
  end
end
return { answer, value and text(value) or '', it.earliest_of and text(it.earliest_of) }

-- Step 4 of the model: how far an identity is on its way to pass as a whole.

local DAY = 86400000
local MAX_DISTINCT = 8

local function read_standing(value)
  if not value then return nil end
  local fields = {}
  for field in string.gmatch(value, '%S+') do
    fields[#fields + 1] = field
  end
  local function distinct(list)
    local numbers = {}
    for number in string.gmatch(list, '%d+') do
      numbers[#numbers + 1] = number
    end
    return numbers
  end
  return {
    promoted = fields[1] == '1',
    expires = tonumber(fields[2]),
    since = tonumber(fields[3]),
    day = tonumber(fields[4]),
    first_seen = tonumber(fields[5]),
    matured = tonumber(fields[6]),
    senders = distinct(fields[7]),
    recipients = distinct(fields[8]),
  }
end

local function keep_standing(key, standing)
  local numbers = { standing.expires, standing.since, standing.day, standing.first_seen, standing.matured }
  for i, value in ipairs(numbers) do
    numbers[i] = text(value)
  end
  local value = { standing.promoted and '1' or '0', table.concat(numbers, ' '),
    ',' .. table.concat(standing.senders, ','), ',' .. table.concat(standing.recipients, ',') }
  keep(key, table.concat(value, ' '), standing.expires)
end

local function insert(numbers, number)
  for _, present in ipairs(numbers) do
    if present == number then return end
  end
  if #numbers < MAX_DISTINCT then
    numbers[#numbers + 1] = number
  end
end

local function begin_day(standing)
  if max(now - standing.day, 0) >= DAY then
    standing.day, standing.first_seen, standing.matured = now, 0, 0
  end
end

-- Counts for or against the standing kept as `value` under `key`; whether the identity passes as a whole.
local function stand(key, value, matured, is_first)
  if not value and not matured then return nil end
  local it = read_standing(value)
  if it and now > it.expires then it = nil end
  local promoted = it and it.promoted
  if not record then return promoted end
  if matured then
    it = it or { since = now, day = now, expires = now, first_seen = 0, matured = 0, senders = {}, recipients = {} }
    begin_day(it)
    it.matured = it.matured + 1
    insert(it.senders, sender)
    insert(it.recipients, recipient)
    it.expires = max(it.expires, now + pass_ttl)
    it.promoted = it.promoted
      or (#it.senders >= senders and #it.recipients >= recipients and max(now - it.since, 0) >= span)
  elseif it and (is_first or it.promoted) then
    if is_first then
      begin_day(it)
      it.first_seen = it.first_seen + 1
      if it.first_seen > bearable * max(it.matured, 1) then
        call('DEL', key)
        return promoted
      end
    end
    if it.promoted and is_worn(it.expires) then
      it.expires = now + pass_ttl
    end
  else
    return promoted
  end
  keep_standing(key, it)
  return promoted
end

-- Renews the standing under `key` with the proofs of its identity, once that is promoted.
local function renew_standing(key)
  local it = read_standing(call('GET', key))
  if it and it.promoted and now <= it.expires and is_worn(it.expires) then
    it.expires = now + pass_ttl
    keep_standing(key, it)
  end
end

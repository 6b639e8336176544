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
  if since(standing.day, a.now) >= DAY then
    standing.day, standing.first_seen, standing.matured = a.now, 0, 0
  end
end

-- Counts for or against the standing under `key`; whether the identity passes as a whole.
local function stand(key, matured, is_first)
  local senders, recipients, span, bearable = unpack(a.promotion)
  local it = read_standing(redis.call('GET', key))
  if it and a.now > it.expires then it = nil end
  local promoted = it and it.promoted
  if not a.record then return promoted end
  if matured then
    it = it or { since = a.now, day = a.now, expires = a.now, first_seen = 0, matured = 0, senders = {}, recipients = {} }
    begin_day(it)
    it.matured = it.matured + 1
    insert(it.senders, a.sender)
    insert(it.recipients, a.recipient)
    it.expires = math.max(it.expires, a.now + a.pass_ttl)
    it.promoted = it.promoted
      or (#it.senders >= senders and #it.recipients >= recipients and since(it.since, a.now) >= span)
  elseif it and (is_first or it.promoted) then
    if is_first then
      begin_day(it)
      it.first_seen = it.first_seen + 1
      if it.first_seen > bearable * math.max(it.matured, 1) then
        redis.call('DEL', key)
        return promoted
      end
    end
    if it.promoted and is_worn(it.expires) then
      it.expires = a.now + a.pass_ttl
    end
  else
    return promoted
  end
  keep_standing(key, it)
  return promoted
end

-- Renews the standing under `key` with the proofs of its identity, once that is promoted.
local function renew_standing(key)
  local it = read_standing(redis.call('GET', key))
  if it and it.promoted and a.now <= it.expires and is_worn(it.expires) then
    it.expires = a.now + a.pass_ttl
    keep_standing(key, it)
  end
end

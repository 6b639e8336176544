-- Steps 1 and 2 of the model: proofs and clocks. KEYS: of each identity the pair, then of each the proof of the triplet, then of
-- each the clock.

-- What stands there now: who is known, and when the clocks began.
local function read()
  local found = n > 0 and redis.call('MGET', unpack(KEYS, 1, 3 * n)) or {}
  local it = { began = {}, networks = {}, proven = {}, expires = {}, begins = 0 }
  for i = 1, n do
    local pair, triplet = tonumber(found[i] or -1), tonumber(found[n + i] or -1)
    local by, expires
    if a.promote_pairs and a.now <= pair then
      by, expires = 'pair', pair
    elseif a.now <= triplet then
      by, expires = 'triplet', triplet
    end
    it.proven[i], it.expires[i] = by, expires
    if by and not it.known_by then
      it.known_by, it.known_as = by, i
    end
    local first, network = read_clock(found[2 * n + i])
    it[i], it.networks[i] = first, network
    if first and since(first, a.now) <= a.retry_window then
      it.began[i] = first
      if not it.earliest or first < it.earliest then
        it.earliest, it.earliest_of = first, i
      end
    else
      it.begins = it.begins + 1
    end
  end
  return it
end

local function is_mature(first)
  return first and first <= a.now and a.now - first >= a.min_delay
end

local function prove(i)
  local key = a.promote_pairs and KEYS[i] or KEYS[n + i]
  local expires = math.max(a.now + a.pass_ttl, tonumber(redis.call('GET', key) or 0))
  keep(key, text(expires), expires)
end

-- All proofs in use are renewed. A triplet proven while pairs were not promoted proves its pair now. Returns the letters of the
-- identities whose proofs were.
local function renew(it)
  local kinds = ''
  for i = 1, n do
    local by = it.proven[i]
    if by and ((a.promote_pairs and by == 'triplet') or is_worn(it.expires[i])) then
      prove(i)
      kinds = kinds .. string.sub(a.kinds, i, i)
    end
  end
  return kinds
end

local function judge(it)
  if not it.earliest then
    return 'first', a.min_delay
  end
  local waited = since(it.earliest, a.now)
  if waited < a.min_delay then
    return 'early', a.min_delay - waited
  end
  return 'matured', waited
end

-- When the clock of each identity began, expired or not; empty where there is none.
local function began(it)
  local times = {}
  for i = 1, n do
    times[i] = it[i] and text(it[i]) or ''
  end
  return times
end

-- The hash at the end of a clock's key.
local function hash_of(key)
  return string.sub(key, -16)
end

-- A clock in the account of its network.
local function entry(key, first)
  return hash_of(key) .. struct.pack('>I6', first)
end

-- What `write` and `add` change in the accounts of networks: entries that leave, as network and entry by turns, and those that come
-- into the account of the attempt's network.
local function changes()
  return { leave = {}, come = {} }
end

local function leave(it, i, changed)
  if it[i] and it.networks[i] ~= '' then
    changed.leave[#changed.leave + 1] = it.networks[i]
    changed.leave[#changed.leave + 1] = entry(KEYS[2 * n + i], it[i])
  end
end

local function begin(it, i, changed)
  local key = KEYS[2 * n + i]
  leave(it, i, changed)
  keep(key, text(a.now) .. ' ' .. a.network, a.now + a.retry_window)
  changed.come[#changed.come + 1] = entry(key, a.now)
end

-- Ends what matured, and begins what has room: what was never seen; and what was seen at a time yet to come, by a clock that was set
-- back since.
local function write(it, has_room)
  local changed = changes()
  for i = 1, n do
    local first = it.began[i]
    if is_mature(first) then
      prove(i)
      redis.call('DEL', KEYS[2 * n + i])
      leave(it, i, changed)
    elseif has_room and (not first or a.now < first) then
      begin(it, i, changed)
    end
  end
  return changed
end

-- How many clocks identities found out later have to begin: those of proven ones are not needed.
local function unseen(it)
  local count = 0
  for i = 1, n do
    if not it.began[i] and not it.proven[i] then count = count + 1 end
  end
  return count
end

-- Begins the clocks of identities found out later.
local function add(it, has_room)
  local changed = changes()
  for i = 1, n do
    if has_room and not it.proven[i] and (not it.began[i] or a.now < it.began[i]) then
      begin(it, i, changed)
    end
  end
  return changed
end

-- Whether a clock matured of an SPF domain, or of one of the other kinds.
local function has_matured(it, of_spf)
  for i = 1, n do
    if is_spf(i) == of_spf and is_mature(it.began[i]) then return true end
  end
  return false
end

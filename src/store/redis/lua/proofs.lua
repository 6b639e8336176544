-- Step 1 of the model: who is known. KEYS: of each identity the pair, then of each the proof of the triplet, then of each the clock.

local found = n > 0 and call('MGET', unpack(KEYS, 1, 3 * n)) or {}
local proven, expires, known_by, known_as = {}, {}, nil, nil
for i = 1, n do
  local pair, triplet = found[i] and tonumber(found[i]), found[n + i] and tonumber(found[n + i])
  if pair and promote_pairs and now <= pair then
    proven[i], expires[i] = 'pair', pair
  elseif triplet and now <= triplet then
    proven[i], expires[i] = 'triplet', triplet
  end
  if proven[i] and not known_by then
    known_by, known_as = proven[i], i
  end
end

local function prove(i)
  local key = promote_pairs and KEYS[i] or KEYS[n + i]
  local until_when = max(now + pass_ttl, tonumber(call('GET', key) or 0))
  keep(key, text(until_when), until_when)
end

-- All proofs in use are renewed. A triplet proven while pairs were not promoted proves its pair now. Returns the letters of the
-- identities whose proofs were.
local function renew()
  local renewed = ''
  for i = 1, n do
    if proven[i] and ((promote_pairs and proven[i] == 'triplet') or is_worn(expires[i])) then
      prove(i)
      renewed = renewed .. string.sub(kinds, i, i)
    end
  end
  return renewed
end

-- A decision on one server: all of the model in one step. KEYS, after those of the clocks: the account of the network, the capped
-- clock, the standing of the SPF domain and of the address, the releases.

if known_by then
  local renewed = record and renew() or ''
  if renewed ~= '' then
    local is_spf, is_other = string.find(renewed, 's', 1, true), string.find(renewed, 'o', 1, true)
    if spf_counts == 1 and is_spf then renew_standing(KEYS[3 * n + 3]) end
    if other_counts == 1 and is_other then renew_standing(KEYS[3 * n + 4]) end
  end
  return { known_by, text(known_as) }
end

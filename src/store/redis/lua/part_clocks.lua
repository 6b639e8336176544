-- A decision on a Cluster, in the slot of the sender: proofs and clocks, as if the account of the network had room. Returns the time,
-- the answer, and what other slots have to know.

local it = read()
if it.known_by then
  if a.record then renew(it) end
  return { text(a.now), it.known_by, text(it.known_as) }
end
local answer, value = judge(it)
local changed = a.record and write(it, true) or changes()
return {
  text(a.now), answer, text(value), text(it.earliest_of or 0), text(it.begins),
  has_matured(it, true) and '1' or '0', has_matured(it, false) and '1' or '0', changed.leave, changed.come,
}

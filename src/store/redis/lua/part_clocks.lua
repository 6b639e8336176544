-- A decision on a Cluster, in the slot of the sender: proofs and clocks, as if the account of the network had room. Returns the time;
-- of who is known, by what, as which identity, and the letters of the proofs that were renewed; of others, when the clocks began,
-- and what changed in the accounts of networks.

local it = read()
if it.known_by then
  return { text(a.now), it.known_by, text(it.known_as), a.record and renew(it) or '', {}, {}, {} }
end
local changed = a.record and write(it, true) or changes()
return { text(a.now), '', '', '', began(it), changed.leave, changed.come }

-- Adds identities to an attempt that was made before, in the slot of the sender of a Cluster, as if the account had room.

local it = read()
local changed = add(it, true)
return { text(a.now), text(unseen(it)), changed.leave, changed.come }

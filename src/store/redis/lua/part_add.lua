-- Adds identities to an attempt that was made before, in the slot of the sender of a Cluster, as if the account had room. Returns what
-- `part_clocks` does, and for each identity in the place of the letters whether it is proven.

local it = read()
local changed = add(it, true)
local proven = ''
for i = 1, n do
  proven = proven .. (it.proven[i] and '1' or '0')
end
return { text(a.now), '', '', proven, began(it), changed.leave, changed.come }

-- Adds identities to an attempt that was made before, on one server. KEYS, after those of the clocks: the account of the network.

local unseen = 0
for i = 1, n do
  if not runs[i] and not proven[i] then unseen = unseen + 1 end
end
local account = KEYS[3 * n + 1]
local has_room, leaving = make_room(account, unseen)
add(has_room)
settle(account, leaving)
return 1

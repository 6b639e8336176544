-- Adds identities to an attempt that was made before, on one server. KEYS, after those of the clocks: the account of the network.

local it = read()
local account = KEYS[3 * n + 1]
local has_room, leaving = make_room(account, unseen(it))
settle(account, leaving, add(it, has_room))
return 1

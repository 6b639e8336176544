-- In the slot of a network: whether ARGV[17] clocks may begin. If so those of the further arguments come into the account. Returns
-- that, and the entries that left, whose clocks have to be ended.

local has_room, leaving = make_room(KEYS[1], number(ARGV[17]))
if a.record then
  remove(KEYS[1], leaving)
  if has_room then
    append(KEYS[1], { unpack(ARGV, 18) })
  end
end
return { has_room and '1' or '0', leaving }

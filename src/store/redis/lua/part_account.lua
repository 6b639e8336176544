-- In the slot of a network: the account loses the first ARGV[17] of the entries that follow, and has the others come.

local leaving = number(ARGV[17])
remove(KEYS[1], { unpack(ARGV, 18, 17 + leaving) })
append(KEYS[1], { unpack(ARGV, 18 + leaving) })
return 1

-- In the slot of a network: the account loses the first ARGV[6] of the entries that follow, and has the others come.

local leaving = tonumber(ARGV[6])
remove(KEYS[1], { unpack(ARGV, 7, 6 + leaving) })
append(KEYS[1], { unpack(ARGV, 7 + leaving) })
return 1

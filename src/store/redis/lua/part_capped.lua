-- In the slot of a capped clock: the time left, empty when nothing is.

local left = judge_capped(KEYS[1])
return left and text(left) or ''

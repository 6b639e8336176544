-- In the slot of an identity: renews its standing.

renew_standing(KEYS[1])
return 1

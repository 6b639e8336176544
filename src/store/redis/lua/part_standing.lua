-- In the slot of an identity: whether it passes as a whole. ARGV[17]: whether a clock of it matured, ARGV[18]: whether this was a first
-- attempt.

return stand(KEYS[1], ARGV[17] == '1', ARGV[18] == '1') and '1' or '0'

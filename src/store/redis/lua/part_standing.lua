-- In the slot of an identity: whether it passes as a whole. ARGV[6]: whether a clock of it matured, ARGV[7]: whether this was a first
-- attempt.

return stand(KEYS[1], call('GET', KEYS[1]), ARGV[6] == '1', ARGV[7] == '1') and '1' or '0'

-- A decision on a Cluster, in the slot of the sender: proofs and clocks, as if the account of the network had room. Returns the time;
-- of who is known, by what, as which identity, and the letters of the proofs that were renewed; of others, when the clocks began,
-- expired or not, and what changed in the accounts of networks.

if known_by then
  return { text(now), known_by, text(known_as), record and renew() or '', {}, {}, {} }
end

-- Adds identities to an attempt that was made before, in the slot of the sender of a Cluster, as if the account had room. Returns what
-- `part_clocks` does, and for each identity in the place of the letters whether it is proven.

add(true)
local flags = ''
for i = 1, n do
  flags = flags .. (proven[i] and '1' or '0')
  began[i] = began[i] and text(began[i]) or ''
end
return { now_text, '', '', flags, began, leave, come }

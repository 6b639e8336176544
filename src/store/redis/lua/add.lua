-- Begins the clocks of identities found out later: those of proven ones are not needed.
local function add(has_room)
  for i = 1, n do
    if has_room and not proven[i] and (not runs[i] or now < runs[i]) then
      begin(i)
    end
  end
end

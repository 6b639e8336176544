-- Ends what matured, and begins what has room: what was never seen; and what was seen at a time yet to come, by a clock that was set
-- back since.
local function write(has_room)
  for i = 1, n do
    local first = runs[i]
    if is_mature(first) then
      prove(i)
      call('DEL', KEYS[2 * n + i])
      leave_account(i)
    elseif has_room and (not first or now < first) then
      begin(i)
    end
  end
end

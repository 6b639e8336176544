-- Judges by the clock of (network, recipient's domain), which proves nothing. Returns the time left, nil when nothing is.
local function judge_capped(key)
  local first = read_clock(redis.call('GET', key))
  if first and since(first, a.now) > a.retry_window then first = nil end
  if a.record and (not first or a.now < first) then
    keep(key, text(a.now) .. ' ', a.now + a.retry_window)
  end
  if not first then return a.min_delay end
  local left = a.min_delay - since(first, a.now)
  return left > 0 and left or nil
end

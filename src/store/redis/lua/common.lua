-- What every script of a decision begins with: its arguments, the time, and how records are written.
-- The behaviour is that of src/store/model; where a name here is a name there, it is the same thing.

-- Expired records stay for so long: a clock that was ahead, and is set right, finds what it knew.
local SLACK = 3600000

local function number(argument)
  return tonumber(argument) or 0
end

-- Whole, and never in exponents.
local function text(value)
  return string.format('%.0f', value)
end

-- The time since `earlier`; none when the clock was set back in between.
local function since(earlier, now)
  return math.max(now - earlier, 0)
end

local function time()
  local parts = redis.call('TIME')
  return parts[1] * 1000 + math.floor(parts[2] / 1000)
end

local a = {
  now = (tonumber(ARGV[1]) or time()) - number(ARGV[2]),
  record = ARGV[3] == '1',
  -- One letter for each identity, strongest first; 's' is an SPF domain, 'o' another.
  kinds = ARGV[4],
  min_delay = number(ARGV[5]),
  retry_window = number(ARGV[6]),
  pass_ttl = number(ARGV[7]),
  promote_pairs = ARGV[8] == '1',
  network = ARGV[9],
  network_cap = number(ARGV[10]),
  -- Different senders, different recipients, span, first attempts for each matured one.
  promotion = ARGV[11] ~= '' and { number(ARGV[11]), number(ARGV[12]), number(ARGV[13]), number(ARGV[14]) },
  sender = ARGV[15],
  recipient = ARGV[16],
}
local n = #a.kinds

local function is_spf(i)
  return string.sub(a.kinds, i, i) == 's'
end

local function keep(key, value, expires)
  redis.call('SET', key, value, 'PX', text(math.min(since(a.now, expires) + SLACK, 4e15)))
end

local function is_worn(expires)
  return since(a.now, expires) < a.pass_ttl - a.pass_ttl / 8
end

-- The keys that records are found under, from their hashes: the part in braces chooses the slot.
local function name(hash, kind)
  return string.format('greylag:{%02x%02x}', string.byte(hash, 1, 2)) .. kind .. hash
end

-- The first attempt and the network of a clock, as they are kept.
local function read_clock(value)
  if not value then return nil end
  local blank = string.find(value, ' ', 1, true)
  return tonumber(string.sub(value, 1, blank - 1)), string.sub(value, blank + 1)
end

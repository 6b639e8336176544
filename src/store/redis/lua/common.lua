-- What every script of a decision begins with: its arguments, the time, and how records are written.
-- The behaviour is that of src/store/model; where a name here is a name there, it is the same thing.
--
-- A script is made anew each time it runs, and what it does between its commands costs more than they do: so arguments come packed,
-- what happens in one place stands there and is no function, and what is written more than once is made into text once.

-- Expired records stay for so long: a clock that was ahead, and is set right, finds what it knew.
local SLACK = 3600000

local call, max, format = redis.call, math.max, string.format

-- One letter for each identity, strongest first; 's' is an SPF domain, 'o' another.
local kinds, network, sender, recipient = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local n = #kinds
-- Flags, then times and numbers, as src/store/redis/question.rs packs them. `now` is the time, or how long ago it is.
local is_given, record, promote_pairs, spf_counts, other_counts, first_counts, now, min_delay, retry_window, pass_ttl, span,
  network_cap, senders, recipients, bearable = struct.unpack('>BBBBBBI8I8I8I8I8I4I4I4I4', ARGV[5])
record, promote_pairs = record == 1, promote_pairs == 1
if is_given == 0 then
  local clock = call('TIME')
  now = clock[1] * 1000 + math.floor(clock[2] / 1000) - now
end

-- Whole, and never in exponents.
local function text(value)
  return format('%.0f', value)
end

local function keep(key, value, expires)
  call('SET', key, value, 'PX', text(math.min(max(expires - now, 0) + SLACK, 4e15)))
end

local function is_worn(expires)
  return max(expires - now, 0) < pass_ttl - pass_ttl / 8
end

-- The first attempt and the network of a clock, as they are kept.
local function read_clock(value)
  local blank = string.find(value, ' ', 1, true)
  return tonumber(string.sub(value, 1, blank - 1)), string.sub(value, blank + 1)
end

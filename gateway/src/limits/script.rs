//! What the shared store runs: drawing from all of a call's limits at once, or from none, by the store's own clock.
//! The arithmetic is that of `bucket.rs`, in microseconds since 2025-06-15 so that a double has room for their fractions.

/// KEYS: buckets and places. ARGV: the place's name, how long it lasts in µs; for each key its kind (`r`equests, `t`okens,
/// `p`laces), limit and cost. Answers whether all was drawn, else the number of the key that refuses longest and its wait in µs;
/// then for each key what is left and the µs until all of it is back.
pub const DRAW: &str = r#"
local clock = redis.call('TIME')
local now = (tonumber(clock[1]) - 1750000000) * 1000000 + tonumber(clock[2])
local minute = 60000000
local states, after, refuses, longest = {}, {}, 0, -1
for i, key in ipairs(KEYS) do
  local kind, limit, cost = ARGV[3 * i], tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
  local wait, left, reset = 0, 0, 0
  if kind == 'p' then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
    left = limit - redis.call('ZCARD', key)
    if left < 1 then wait = 1000000 end
  else
    local one = minute / limit
    local most = minute
    if kind == 't' then most = 60 * minute end
    local full = tonumber(redis.call('GET', key) or now)
    full = math.min(math.max(full, now), now + most)
    wait = full + one * math.min(cost, limit) - minute - now
    if wait > 1 then
      reset = full - now
    else
      after[i] = math.min(full + one * cost, now + most)
      reset = after[i] - now
      wait = 0
    end
    left = (minute - reset) / one + 0.001
  end
  if wait > 0 and wait > longest then refuses, longest = i, wait end
  states[2 * i - 1] = math.floor(math.max(left, 0))
  states[2 * i] = math.floor(reset)
end
if refuses == 0 then
  for i, key in ipairs(KEYS) do
    if ARGV[3 * i] == 'p' then
      redis.call('ZADD', key, string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
      redis.call('PEXPIRE', key, math.ceil(tonumber(ARGV[2]) / 1000))
    elseif after[i] > now then
      redis.call('SET', key, string.format('%.3f', after[i]), 'PX', math.ceil((after[i] - now) / 1000) + 1)
    end
  end
end
local answer = { refuses, math.ceil(math.max(longest, 0)) }
for _, it in ipairs(states) do answer[#answer + 1] = it end
return answer
"#;

/// KEYS: as above. ARGV, for each: kind, limit, amount. Tokens are corrected by a signed amount, requests drawn whether or not
/// there are any, places (their names are the amount) given back.
pub const NOTE: &str = r#"
local clock = redis.call('TIME')
local now = (tonumber(clock[1]) - 1750000000) * 1000000 + tonumber(clock[2])
local minute = 60000000
for i, key in ipairs(KEYS) do
  local kind, limit, amount = ARGV[3 * i - 2], tonumber(ARGV[3 * i - 1]), ARGV[3 * i]
  if kind == 'p' then
    redis.call('ZREM', key, amount)
  else
    local most = minute
    if kind == 't' then most = 60 * minute end
    local full = math.max(tonumber(redis.call('GET', key) or now), now)
    full = math.min(full + minute / limit * tonumber(amount), now + most)
    if full > now then
      redis.call('SET', key, string.format('%.3f', full), 'PX', math.ceil((full - now) / 1000) + 1)
    else
      redis.call('DEL', key)
    end
  end
end
return #KEYS
"#;

/// KEYS: the list of processes, then places. ARGV: this process, how long it is believed to live in µs, how long a place lasts in
/// µs, then the name of each place. Renews them all and answers how many processes live.
pub const BEAT: &str = r#"
local clock = redis.call('TIME')
local now = (tonumber(clock[1]) - 1750000000) * 1000000 + tonumber(clock[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.ceil(tonumber(ARGV[2]) / 1000))
for i = 2, #KEYS do
  redis.call('ZADD', KEYS[i], string.format('%.0f', now + tonumber(ARGV[3])), ARGV[i + 2])
  redis.call('PEXPIRE', KEYS[i], math.ceil(tonumber(ARGV[3]) / 1000))
end
return redis.call('ZCARD', KEYS[1])
"#;

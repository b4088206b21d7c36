//! Scripts that answer a question at one point in time.

/// Live cells in the order of their keys. `KEYS`: order, cells. `ARGV`: where to begin, as `ZRANGEBYLEX` wants it; where to end; the
/// time; how many.
pub(crate) const SCAN: &str = r"
local from, found, limit = ARGV[1], {}, tonumber(ARGV[4])
while #found < limit * 2 do
    local names = redis.call('ZRANGEBYLEX', KEYS[1], from, ARGV[2], 'LIMIT', 0, 200)
    if #names == 0 then break end
    local cells = redis.call('HMGET', KEYS[2], unpack(names))
    for i, name in ipairs(names) do
        from = '(' .. name
        local expires = cells[i] and string.match(cells[i], '^%d+ ([%d-]+)\n')
        if expires and (expires == '-' or tonumber(expires) > tonumber(ARGV[3])) then
            found[#found + 1] = name
            found[#found + 1] = cells[i]
            if #found >= limit * 2 then break end
        end
    end
end
return found
";

/// Counts and the first message. `KEYS`: counts, flight, delayed, live, items. `ARGV`: the time.
pub(crate) const DEPTH: &str = r"
local counts = redis.call('HMGET', KEYS[1], 'live', 'blocked', 'buried', 'enqueued', 'acked')
local after = '(' .. ARGV[1]
local first = redis.call('ZRANGE', KEYS[4], 0, 0)[1]
return {
    counts, redis.call('ZCOUNT', KEYS[2], after, '+inf'), redis.call('ZCOUNT', KEYS[3], after, '+inf'),
    first and redis.call('HGET', KEYS[5], first) or ''
}
";

/// Messages by number. `KEYS`: live, buried, items, bodies. `ARGV`: behind which; how many of each list. Answers triples of number, item, body.
pub(crate) const PEEK: &str = r"
local found = {}
for i = 1, 2 do
    if ARGV[2 + i] == '1' then
        local ids = redis.call('ZRANGEBYSCORE', KEYS[i], '(' .. ARGV[1], '+inf', 'LIMIT', 0, ARGV[2])
        if #ids > 0 then
            local items, bodies = redis.call('HMGET', KEYS[3], unpack(ids)), redis.call('HMGET', KEYS[4], unpack(ids))
            for j, id in ipairs(ids) do
                found[#found + 1], found[#found + 2], found[#found + 3] = id, items[j], bodies[j]
            end
        end
    end
end
return found
";

/// Takes, renews or releases a lease. `KEYS`: leases. `ARGV`: key, owner, now, ttl in microseconds. Answers the token, or 0.
/// A lease is `token end owner`.
pub(crate) const LEASE: &str = r"
local now, ttl = tonumber(ARGV[3]), tonumber(ARGV[4])
if not now then local time = redis.call('TIME') now = time[1] * 1000000 + time[2] end
local held = redis.call('HGET', KEYS[1], ARGV[1])
local token, ends, owner = 0, 0, ''
if held then
    token, ends, owner = string.match(held, '^(%d+) (-?%d+) (.*)$')
    token, ends = tonumber(token), tonumber(ends)
end
local is_held = held and now < ends
if is_held and owner ~= ARGV[2] then return 0 end
if not is_held then
    if ttl == 0 then return 0 end
    token = token + 1
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %.0f %s', token, now + ttl, ARGV[2]))
return token
";

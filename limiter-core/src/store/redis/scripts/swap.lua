-- KEYS: the state. ARGV: the time, if it is not the server's; the value's beginning as it was seen, all of it but of a
-- log; the new value, empty where the key is to go; the instant until which it matters.
read_clock(ARGV[1])
local seen, new = ARGV[2], ARGV[3]
local raw = redis.call('GETRANGE', KEYS[1], 0, PREFIX - 1)
local s = raw ~= '' and parse(KEYS[1], raw)
if raw ~= '' and not s then return { FOREIGN, now, 1 } end
if (raw == '' and seen ~= '') or (raw ~= '' and (seen == '' or not is_same(s, seen))) then return { STALE, now } end
if new == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], new, expiry(tonumber(ARGV[4])))
end
return { ALLOWED, now }

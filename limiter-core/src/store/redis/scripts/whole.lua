-- KEYS: the state. ARGV: the time, if it is not the server's; the quota. Everything of a log under that quota.
read_clock(ARGV[1])
local s = open(KEYS[1], read_ask(ARGV[2]), '')
if not s then return { FOREIGN, now, 1 } end
if s.kind == SLIDING_LOG and s.raw ~= '' and not s.changed then
    return { ALLOWED, now, { s.raw:sub(1, s.rows_at), redis.call('GET', s.key) } }
end
return look(ALLOWED, { s })

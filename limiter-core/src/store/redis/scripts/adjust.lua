-- KEYS: the state. ARGV: what to do; the time, if it is not the server's; what the demand asks; what became of its
-- state under a new quota; the instant of the take or of the block's end.
local what, at = ARGV[1], tonumber(ARGV[5])
read_clock(ARGV[2])
local ask = read_ask(ARGV[3])
local s = open(KEYS[1], ask, ARGV[4])
if not s then return { FOREIGN, now, 1 } end
if s.changed then return look(CHANGED, { s }) end
local kind = kind_of(s)
if kind.is_too_large(s) then return { TOO_LARGE, now, 1 } end
if what == 'block' then
    s.blocked = at
elseif what == 'block at least' then
    s.blocked = max(s.blocked, at)
else
    if what ~= 'charge' then
        -- Units reserved ahead, or a take from before a change of the quota.
        if s.flags % 2 == 1 or (s.flags == 2 and at < (unpack('>I7', s.extras))) then return { RARE, now } end
        kind.refund(s, ask, at)
    end
    if what ~= 'refund' then kind.take(s, ask) end
end
kind.save(s, ask)
return { ALLOWED, now, kind.answer(ask, s) }

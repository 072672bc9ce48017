-- KEYS: a state a demand. ARGV: take, peek or look; the time, if it is not the server's; then what each demand asks,
-- and what became of its state under a new quota.
local mode = ARGV[1]
read_clock(ARGV[2])
local asks, states, waits = {}, {}, {}
local status = ALLOWED
for i, key in ipairs(KEYS) do
    local ask = read_ask(ARGV[2 * i + 1])
    local s = open(key, ask, ARGV[2 * i + 2])
    if not s then return { FOREIGN, now, i } end
    asks[i], states[i] = ask, s
    if s.changed then
        status = CHANGED
    elseif s.kind and kind_of(s).is_too_large(s) then
        return { TOO_LARGE, now, i }
    elseif status ~= CHANGED and ask.asks and (s.blocked > now or not kind_of(s).fits(s, ask)) then
        status = DENIED
    end
end
if mode == 'look' then return look(ALLOWED, states) end
if status == CHANGED then return look(CHANGED, states) end

local reply = { status, now }
for i, s in ipairs(states) do
    if s.kind == SLIDING_LOG then
        waits[i] = status == DENIED and asks[i].asks and log.waits(s, asks[i])
    else
        reply[i + 2] = s.raw -- as it was found
    end
end
if mode == 'take' then
    for i, s in ipairs(states) do
        local kind, ask = kind_of(s), asks[i]
        if ask.asks then
            if status == ALLOWED then
                kind.take(s, ask)
                kind.save(s, ask)
            elseif kind.pull_back(s, ask) or #ARGV[2 * i + 2] > 0 then
                kind.save(s, ask) -- also a state under a new quota, so that the wait that is told holds
            end
        end
    end
end
for i, s in ipairs(states) do
    if s.kind == SLIDING_LOG then reply[i + 2] = log.answer(asks[i], s, waits[i]) end
end
return reply

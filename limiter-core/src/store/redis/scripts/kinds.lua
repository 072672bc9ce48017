local function kind_of(s)
    return s.kind == SLIDING_LOG and log or small
end

-- A state, opened; nothing where what is stored is none of ours.
local function open(key, ask, given)
    local s = load(key, ask, given)
    if s and s.kind then kind_of(s).open(s, ask) end
    return s
end

local function look(status, states)
    local reply = { status, now }
    for i, s in ipairs(states) do reply[i + 2] = s.kind and kind_of(s).seen(s) or '' end
    return reply
end

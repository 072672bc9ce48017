-- What is asked and what is stored, taken apart. Numbers are doubles, exact to 2^53: nothing here passes that.
-- A value: version, quota (its length before it), flags, block, extras that only the client reads, then cells.
local VERSION, PREFIX = 1, 1024
local GCRA, FIXED_WINDOW, SLIDING_WINDOW, SLIDING_LOG = 1, 2, 3, 4
local FOREIGN, DENIED, ALLOWED, CHANGED, RARE, STALE = -1, 0, 1, 2, 3, 4
local unpack, pack, floor, max, min = struct.unpack, struct.pack, math.floor, math.max, math.min
local now, injected

local function read_clock(text)
    injected = text ~= ''
    if injected then
        now = tonumber(text)
    else
        local time = redis.call('TIME')
        now = min(tonumber(time[1]) * 1000000 + tonumber(time[2]), 3 * 2 ^ 50 - 1)
    end
end

local RATES = {
    [GCRA] = { '>I7I2I7I2I7I2I2', { 'cost', 'cost_ticks', 'room', 'room_ticks', 'most', 'most_ticks', 'per_us' } },
    [FIXED_WINDOW] = { '>I7I7I7', { 'cost', 'limit', 'period' } },
    [SLIDING_WINDOW] = { '>I7I7I7', { 'cost', 'limit', 'period' } },
    [SLIDING_LOG] = { '>I7I7I7I7', { 'cost', 'limit', 'period', 'cell' } },
}

-- A demand: its quota as states carry it, whether it asks for anything, and its rates.
local function read_ask(bytes)
    local length, at = unpack('>I2', bytes)
    local ask = { lead = bytes:sub(at, at + length - 1), rates = {} }
    at = at + length
    ask.kind, ask.n, ask.asks = ask.lead:byte(4), ask.lead:byte(5), bytes:byte(at) == 1
    if not ask.kind then return ask end
    at = at + 1
    local format, names = RATES[ask.kind][1], RATES[ask.kind][2]
    for i = 1, ask.n do
        local values, rate = { unpack(format, bytes, at) }, {}
        for place, name in ipairs(names) do rate[name] = values[place] end
        at, ask.rates[i] = values[#values], rate
    end
    return ask
end

local CELL_BYTES = { [GCRA] = 9, [FIXED_WINDOW] = 14, [SLIDING_WINDOW] = 21, [SLIDING_LOG] = 18 }
local LOG_HEAD = 12

-- A stored value; nothing where it is none of ours.
local function parse(key, raw)
    if #raw < 13 or raw:byte(1) ~= VERSION then return nil end
    local length = unpack('>I2', raw, 2)
    local s = { key = key, raw = raw, lead = raw:sub(1, 3 + length), kind = raw:byte(4), n = raw:byte(5) }
    local bytes = CELL_BYTES[s.kind]
    local at = 4 + length
    if not bytes or #raw < at + 7 then return nil end
    s.flags, s.blocked, s.at = unpack('>BI7', raw, at)
    local extras = s.flags % 2 * 8 + floor(s.flags / 2) % 2 * (7 + 8 * s.n)
    s.extras = raw:sub(s.at, s.at + extras - 1)
    s.at = s.at + extras
    local size = s.at - 1 + s.n * bytes
    if s.kind == SLIDING_LOG then
        if #raw < size + LOG_HEAD then return nil end
    elseif #raw ~= size then
        return nil
    end
    return s
end

local function fresh(key, ask)
    return { key = key, raw = '', lead = ask.lead, kind = ask.kind, n = ask.n, flags = 0, blocked = 0, extras = '' }
end

-- Whether a stored value is still the one whose beginning the client saw.
local function is_same(s, seen)
    return s.raw:sub(1, #seen) == seen and (s.kind == SLIDING_LOG or #s.raw == #seen)
end

-- The state of a key. Made under another quota, it is `changed`: only the client can carry it over, and hands in as
-- `given` what it saw and what became of it. Nothing where what is stored is none of ours.
local function load(key, ask, given)
    local raw = redis.call('GETRANGE', key, 0, PREFIX - 1)
    if raw == '' then return fresh(key, ask) end
    local s = parse(key, raw)
    if not s or s.lead == ask.lead then return s end
    if given ~= '' then
        local length, at = unpack('>I4', given)
        if is_same(s, given:sub(at, at + length - 1)) then return parse(key, given:sub(at + length)) end
    end
    s.changed = true
    return s
end

local function digits(number)
    return string.format('%.0f', number)
end

-- How long a key is kept that matters until then: by the server's own time a second more, by another clock an hour.
local function expiry(matters_until)
    local last = max(matters_until, now)
    if injected then return 'PX', digits(floor((last - now) / 1000) + 3601000) end
    return 'PXAT', digits(floor(last / 1000) + 1000)
end

local function head_of(s)
    return s.lead .. pack('>BI7', s.flags, s.blocked) .. s.extras
end

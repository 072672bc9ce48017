-- What is asked and what is stored, taken apart. Numbers are doubles, exact to 2^53: nothing here passes that.
-- A value: version, quota (its length before it), flags, block, extras that only the client reads, then cells.
local VERSION, PREFIX, LAST = 1, 1024, '1023'
local GCRA, FIXED_WINDOW, SLIDING_WINDOW, SLIDING_LOG = 1, 2, 3, 4
local TOO_LARGE, FOREIGN, DENIED, ALLOWED, CHANGED, RARE, STALE = -2, -1, 0, 1, 2, 3, 4
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

-- One rate of what is asked, and where the next begins.
local READ = {}
READ[GCRA] = function(bytes, at)
    local cost, cost_ticks, room, room_ticks, most, most_ticks, per_us, after =
        unpack('>I7I2I7I2I7I2I2', bytes, at)
    return {
        cost = cost, cost_ticks = cost_ticks, room = room, room_ticks = room_ticks,
        most = most, most_ticks = most_ticks, per_us = per_us,
    }, after
end
READ[FIXED_WINDOW] = function(bytes, at)
    local cost, limit, period, after = unpack('>I7I7I7', bytes, at)
    return { cost = cost, limit = limit, period = period }, after
end
READ[SLIDING_WINDOW] = READ[FIXED_WINDOW]
READ[SLIDING_LOG] = function(bytes, at)
    local cost, limit, period, cell, after = unpack('>I7I7I7I7', bytes, at)
    return { cost = cost, limit = limit, period = period, cell = cell }, after
end

-- A demand: its quota as states carry it, whether it asks for anything, and its rates.
local function read_ask(bytes)
    local length, at = unpack('>I2', bytes)
    local lead, rates = bytes:sub(at, at + length - 1), {}
    at = at + length
    local kind, n = lead:byte(4, 5)
    local ask = { lead = lead, kind = kind, n = n, asks = bytes:byte(at) == 1, rates = rates }
    if not kind then return ask end
    local read = READ[kind]
    at = at + 1
    for i = 1, n do rates[i], at = read(bytes, at) end
    return ask
end

local CELL_BYTES = { [GCRA] = 9, [FIXED_WINDOW] = 14, [SLIDING_WINDOW] = 21, [SLIDING_LOG] = 18 }
local LOG_HEAD = 12

-- A state, with room for what is to be known of it: a table that grows is slow.
local function new_state(key, raw, lead, kind, n, flags, blocked, extras, at)
    return {
        key = key, raw = raw, lead = lead, kind = kind, n = n, flags = flags, blocked = blocked, extras = extras,
        at = at, changed = false, cells = false, revision = 0, rows = 0, merge_at = 0, rows_at = 0, width = 0,
        whole = true, body = '', period = false, first = false, base = false, newest = false, total = false,
        views = false,
    }
end

-- A stored value; nothing where it is none of ours.
local function parse(key, raw)
    if #raw < 13 or raw:byte(1) ~= VERSION then return nil end
    local length = unpack('>I2', raw, 2)
    local kind, n = raw:byte(4, 5)
    local bytes = CELL_BYTES[kind]
    local at = 4 + length
    if not bytes or #raw < at + 7 then return nil end
    local lead = raw:sub(1, at - 1)
    local flags, blocked
    flags, blocked, at = unpack('>BI7', raw, at)
    local extras = ''
    if flags > 0 then
        extras = raw:sub(at, at + flags % 2 * 8 + floor(flags / 2) % 2 * 7 - 1)
        at = at + #extras
    end
    local size = at - 1 + n * bytes
    if kind == SLIDING_LOG then
        if #raw < size + LOG_HEAD then return nil end
    elseif #raw ~= size then
        return nil
    end
    return new_state(key, raw, lead, kind, n, flags, blocked, extras, at)
end

local function fresh(key, ask)
    return new_state(key, '', ask.lead, ask.kind, ask.n, 0, 0, '', nil)
end

-- Whether a stored value is still the one whose beginning the client saw.
local function is_same(s, seen)
    return s.raw:sub(1, #seen) == seen and (s.kind == SLIDING_LOG or #s.raw == #seen)
end

-- The state of a key. Made under another quota, it is `changed`: only the client can carry it over, and hands in as
-- `given` what it saw and what became of it. Nothing where what is stored is none of ours.
local function load(key, ask, given)
    local raw = redis.call('GETRANGE', key, '0', LAST)
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

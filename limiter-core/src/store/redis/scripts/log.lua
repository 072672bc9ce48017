-- Logs: one string of rows, the oldest first, each with a stamp and a running total a rate. Short ones are read and
-- written whole; of long ones only the rows that are looked at, found by halving.
local ROW = 14
local FEW_ROWS = 64
local LONGEST = 500 * 1024 * 1024
local log = {}

local function read_newest(s)
    s.newest, s.total, s.views = {}, {}, {}
    local row, at = s.body, (s.rows - 1) * s.width
    if s.rows > 0 and not s.whole then
        row = redis.call('GETRANGE', s.key, s.rows_at + at, s.rows_at + at + s.width - 1)
        at = 0
    end
    for i = 1, s.n do
        if s.first[i] < s.rows then
            s.newest[i], s.total[i] = unpack('>I7I7', row, at + (i - 1) * ROW + 1)
        else
            s.newest[i], s.total[i] = 0, s.base[i]
        end
    end
end

function log.open(s, ask)
    s.period, s.first, s.base, s.width = {}, {}, {}, ROW * s.n
    if not s.at then
        s.revision, s.rows, s.merge_at, s.whole, s.body = now % 2 ^ 32, 0, FEW_ROWS, true, ''
        for i = 1, ask.n do s.period[i], s.first[i], s.base[i] = ask.rates[i].period, 0, 0 end
    else
        local at
        s.revision, s.rows, s.merge_at, at = unpack('>I4I4I4', s.raw, s.at)
        for i = 1, s.n do s.period[i], s.first[i], s.base[i], at = unpack('>I7I4I7', s.raw, at) end
        s.rows_at, s.whole = at - 1, #s.raw < PREFIX
        if s.whole then s.body = s.raw:sub(at, s.rows_at + s.rows * s.width) end
    end
    read_newest(s)
end

-- Stamp and running total of a rate's row, counted from 0.
local function cell(s, i, row)
    local at = row * s.width + (i - 1) * ROW
    if s.whole then return unpack('>I7I7', s.body, at + 1) end
    at = s.rows_at + at
    return unpack('>I7I7', redis.call('GETRANGE', s.key, at, at + ROW - 1))
end

-- The first row from `from` on that is stamped `opens` or later, found in steps that double.
local function first_since(s, i, opens, from)
    if from >= s.rows then return s.rows end
    local oldest = cell(s, i, from)
    if oldest >= opens then return from end
    local function is_old(row)
        return row < s.rows and cell(s, i, row) < opens
    end
    local low, step = from, 1
    while is_old(low + step - 1) do
        low, step = low + step, step * 2
    end
    local high = low + step - 1
    while low < high do
        local middle = floor((low + high) / 2)
        if is_old(middle) then low = middle + 1 else high = middle end
    end
    return min(low, s.rows)
end

local function total_before(s, i, row)
    if row == s.first[i] then return s.base[i] end
    local _, total = cell(s, i, row - 1)
    return total
end

local function stamp_at(at, width)
    local past = at % width
    return past == 0 and at or at + width - past
end

-- A rate's window: what a take is stamped with, the first row inside, the total before it, units inside, and whether
-- stamps lie too far ahead.
local function view(s, i, rate)
    if s.views[i] then return s.views[i] end
    local own = stamp_at(now, rate.cell)
    local stamp = max(own, min(s.newest[i], own + rate.period))
    local first = first_since(s, i, now - rate.period, s.first[i])
    local base = total_before(s, i, first)
    local v = { stamp = stamp, first = first, base = base, inside = s.total[i] - base, ahead = s.newest[i] > stamp }
    s.views[i] = v
    return v
end

-- The time until `cost` units fit: until the unit that must leave first has.
local function wait(s, i, rate, v, cost)
    local over = v.inside - (rate.limit - cost)
    if over <= 0 then return 0 end
    local low, high = v.first, s.rows - 1
    local stamp, total = cell(s, i, low)
    if total - v.base < over then
        low = low + 1
        while low < high do
            local middle = floor((low + high) / 2)
            stamp, total = cell(s, i, middle)
            if total - v.base < over then low = middle + 1 else high = middle end
        end
        stamp = cell(s, i, low)
    end
    return min(stamp, v.stamp) + rate.period + 1 - now
end

local function replace_from(s, row, bytes, count)
    if s.whole then
        s.body = s.body:sub(1, row * s.width) .. bytes
    elseif count > 0 then
        redis.call('SETRANGE', s.key, s.rows_at + row * s.width, bytes)
    end
    s.rows = row + count
end

-- Writes the rows from `from` on anew, each as `change` leaves it; rows without units go, and neighbours with the same
-- stamps become one.
local function rewrite(s, from, change)
    local bytes = ''
    if from < s.rows then
        bytes = s.whole and s.body:sub(from * s.width + 1)
            or redis.call('GETRANGE', s.key, s.rows_at + from * s.width, s.rows_at + s.rows * s.width - 1)
    end
    local previous, moved, rows, count = {}, {}, {}, 0
    local last, last_stamps
    for i = 1, s.n do previous[i] = s.first[i] >= from and s.base[i] or total_before(s, i, from) end
    for row = from, s.rows - 1 do
        local stamps, totals, packed = {}, {}, {}
        for i = 1, s.n do stamps[i], totals[i] = unpack('>I7I7', bytes, (row - from) * s.width + (i - 1) * ROW + 1) end
        change(row, stamps, totals)
        local holds, joins = false, count > 0
        for i = 1, s.n do
            packed[i] = pack('>I7I7', stamps[i], totals[i])
            if row >= s.first[i] then
                holds = holds or totals[i] ~= previous[i]
                previous[i] = totals[i]
                joins = joins and (last < s.first[i] or last_stamps[i] == stamps[i])
            end
        end
        if holds then
            if not joins then count = count + 1 end
            rows[count], last, last_stamps = table.concat(packed), row, stamps
            for i = 1, s.n do
                if row >= s.first[i] and not moved[i] then moved[i] = from + count - 1 end
            end
        end
    end
    for i = 1, s.n do
        if s.first[i] >= from then s.first[i] = moved[i] or from + count end
    end
    replace_from(s, from, table.concat(rows), count)
    read_newest(s)
end

-- Forgets what has left a rate's window, and moves what is stamped too far ahead to the edge.
local function settle(s, i, v)
    s.first[i], s.base[i] = v.first, v.base
    if v.first == s.rows then s.newest[i], s.total[i] = 0, v.base end
    if not v.ahead then return end
    local edge = first_since(s, i, v.stamp, v.first)
    if s.n == 1 then
        replace_from(s, edge, pack('>I7I7', v.stamp, s.total[1]), 1)
        read_newest(s)
    else
        rewrite(s, edge, function(row, stamps)
            if row >= s.first[i] then stamps[i] = v.stamp end
        end)
    end
end

-- Whether another row could pass what a server lets a string hold, so that a write would fail half-way.
function log.is_too_large(s)
    return (s.rows + 2) * s.width > LONGEST
end

function log.fits(s, ask)
    for i = 1, ask.n do
        local rate = ask.rates[i]
        if view(s, i, rate).inside > rate.limit - rate.cost then return false end
    end
    return true
end

-- A rate, the time until the cost fits.
function log.waits(s, ask)
    local waits = {}
    for i = 1, ask.n do
        local rate = ask.rates[i]
        waits[i] = wait(s, i, rate, view(s, i, rate), rate.cost)
    end
    return waits
end

function log.take(s, ask)
    local views, row = {}, ''
    for i = 1, ask.n do
        local rate = ask.rates[i]
        local v = view(s, i, rate)
        settle(s, i, v)
        v.units = min(rate.cost, max(0, 2 * rate.limit - v.inside))
        if v.units > 2 ^ 53 - s.total[i] then
            local base = s.base[i]
            s.base[i] = 0
            rewrite(s, s.first[i], function(at, _, totals)
                if at >= s.first[i] then totals[i] = totals[i] - base end
            end)
        end
        views[i] = v
    end
    local joins = s.rows > 0
    for i = 1, s.n do
        -- What a rate has no room for leaves its newest stamp as it is.
        local stamp = views[i].units > 0 and views[i].stamp or s.newest[i]
        joins = joins and s.first[i] < s.rows and s.newest[i] == stamp
        local v = views[i]
        s.newest[i], s.total[i] = stamp, s.total[i] + v.units
        row = row .. pack('>I7I7', stamp, s.total[i])
        v.first, v.base, v.inside, v.ahead = s.first[i], s.base[i], v.inside + v.units, false
    end
    s.views = views
    replace_from(s, joins and s.rows - 1 or s.rows, row, 1)
end

function log.pull_back(s, ask)
    local pulled = false
    for i = 1, ask.n do
        local rate = ask.rates[i]
        local v = view(s, i, rate)
        if v.ahead then
            settle(s, i, v)
            pulled = true
        end
    end
    return pulled
end

-- Takes back, a rate, up to its cost of what carries the stamp of `taken`.
function log.refund(s, ask, taken)
    for i = 1, ask.n do
        local rate = ask.rates[i]
        settle(s, i, view(s, i, rate))
    end
    local from, gone, before = s.rows, {}, {}
    local low = {}
    for i = 1, ask.n do
        local rate = ask.rates[i]
        local stamp = stamp_at(taken, rate.cell)
        low[i] = first_since(s, i, stamp, s.first[i])
        local high = first_since(s, i, stamp + 1, low[i])
        before[i] = total_before(s, i, low[i])
        local held = total_before(s, i, high) - before[i]
        gone[i] = min(rate.cost, held)
        if gone[i] > 0 then from = min(from, low[i]) end
        if gone[i] > 0 and gone[i] == held then
            if low[i] == s.first[i] then
                s.first[i] = high
            else
                gone.stamp, gone.high = gone.stamp or {}, gone.high or {}
                gone.stamp[i], gone.high[i] = cell(s, i, low[i] - 1), high
            end
        end
    end
    if from == s.rows then return end
    rewrite(s, from, function(row, stamps, totals)
        for i = 1, s.n do
            if row >= low[i] and gone[i] > 0 then
                totals[i] = max(before[i], totals[i] - gone[i])
                if gone.stamp and gone.stamp[i] and row < gone.high[i] then stamps[i] = gone.stamp[i] end
            end
        end
    end)
end

function log.save(s, ask)
    s.revision = (s.revision + 1) % 2 ^ 32
    local matters_until, dead, mixed = s.blocked, s.rows, false
    for i = 1, ask.n do
        local rate = ask.rates[i]
        if s.first[i] < s.rows then matters_until = max(matters_until, s.newest[i] + s.period[i] + 1) end
        dead, mixed = min(dead, s.first[i]), mixed or rate.cell ~= ask.rates[1].cell
    end
    if mixed and s.rows - dead >= s.merge_at then
        rewrite(s, dead, function() end)
        s.merge_at = max(FEW_ROWS, 2 * (s.rows - dead))
    end
    if dead > 0 and (s.whole or 2 * dead > s.rows) then
        if s.whole then
            s.body = s.body:sub(dead * s.width + 1)
        else
            s.body = dead == s.rows and ''
                or redis.call('GETRANGE', s.key, s.rows_at + dead * s.width, s.rows_at + s.rows * s.width - 1)
            s.whole = true
        end
        s.rows, s.views = s.rows - dead, {}
        for i = 1, s.n do s.first[i] = s.first[i] - dead end
    end
    local head = head_of(s) .. pack('>I4I4I4', s.revision, s.rows, s.merge_at)
    for i = 1, s.n do head = head .. pack('>I7I4I7', s.period[i], s.first[i], s.base[i]) end
    local word, time = expiry(matters_until)
    if s.whole then
        redis.call('SET', s.key, head .. s.body, word, time)
    else
        -- The expiry first: should it be refused, the head still tells of none of the rows that were appended.
        redis.call(word == 'PX' and 'PEXPIRE' or 'PEXPIREAT', s.key, time)
        redis.call('SETRANGE', s.key, 0, head)
    end
end

-- The block, and a rate: the wait for the cost, where there is one; units inside; the time until all are back, and
-- until one is.
function log.answer(ask, s, waits)
    local answer = { s.blocked }
    for i = 1, ask.n do
        local rate = ask.rates[i]
        local v, reset, next_unit = view(s, i, rate), 0, 0
        if v.inside > 0 then reset = min(s.newest[i], v.stamp) + rate.period + 1 - now end
        if v.inside >= rate.limit then next_unit = wait(s, i, rate, v, 1) end
        local at = 4 * i - 2
        answer[at], answer[at + 1], answer[at + 2], answer[at + 3] = waits and waits[i] or 0, v.inside, reset, next_unit
    end
    return answer
end

-- For who cannot read all of a log: its head, the units a rate has in use, and the whole of it where it is short.
function log.seen(s)
    if s.raw == '' then return '' end
    local seen = { s.raw:sub(1, s.rows_at), s.whole and s.raw or '' }
    for i = 1, s.n do
        local first = first_since(s, i, now - s.period[i], s.first[i])
        seen[i + 2] = s.total[i] - total_before(s, i, first)
    end
    return seen
end

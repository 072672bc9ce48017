-- Buckets and windows: a few numbers a rate, kept in `cells`, read and written whole.
local CELLS = { [GCRA] = '>I7I2', [FIXED_WINDOW] = '>I7I7', [SLIDING_WINDOW] = '>I7I7I7' }
local WIDTH = { [GCRA] = 2, [FIXED_WINDOW] = 2, [SLIDING_WINDOW] = 3 }

local function open_small(s)
    local cells, at, width = {}, s.at, WIDTH[s.kind]
    for i = 1, s.n do
        local cell = { 0, 0, 0 }
        if at then
            local values = { unpack(CELLS[s.kind], s.raw, at) }
            for place = 1, width do cell[place] = values[place] end
            at = values[width + 1]
        end
        cells[i] = cell
    end
    s.cells = cells
end

local function save_small(s, matters_until)
    local parts = { head_of(s) }
    for i, cell in ipairs(s.cells) do parts[i + 1] = pack(CELLS[s.kind], cell[1], cell[2], cell[3]) end
    s.raw = table.concat(parts)
    redis.call('SET', s.key, s.raw, expiry(max(matters_until, s.blocked)))
end

-- Amounts of a bucket are pairs: microseconds, and ticks of 1/per_us below one of them.
local function less(a, a_ticks, b, b_ticks)
    return a < b or (a == b and a_ticks < b_ticks)
end

local gcra = {}

-- The time until the bucket is empty, and whether it lies too far ahead.
function gcra.level(cell, rate)
    if cell[1] < now then return 0, 0, false end
    local level, ticks = cell[1] - now, cell[2]
    if less(rate.most, rate.most_ticks, level, ticks) then return rate.most, rate.most_ticks, true end
    return level, ticks, false
end

function gcra.fits(cell, rate)
    local level, ticks = gcra.level(cell, rate)
    return not less(rate.room, rate.room_ticks, level, ticks)
end

function gcra.is_ahead(cell, rate)
    local _, _, ahead = gcra.level(cell, rate)
    return ahead
end

function gcra.take(cell, rate, with_cost)
    local level, ticks = gcra.level(cell, rate)
    if with_cost then
        level, ticks = level + rate.cost, ticks + rate.cost_ticks
        if ticks >= rate.per_us then level, ticks = level + 1, ticks - rate.per_us end
        if less(rate.most, rate.most_ticks, level, ticks) then level, ticks = rate.most, rate.most_ticks end
    end
    cell[1], cell[2] = now + level, ticks
end

function gcra.refund(cell, rate, taken)
    local level, ticks = gcra.level(cell, rate)
    local held, held_ticks = rate.cost - max(0, now - taken), rate.cost_ticks
    if held >= 0 then
        if less(level, ticks, held, held_ticks) then
            level, ticks = 0, 0
        else
            level, ticks = level - held, ticks - held_ticks
            if ticks < 0 then level, ticks = level - 1, ticks + rate.per_us end
        end
    end
    cell[1], cell[2] = now + level, ticks
end

function gcra.matters_until(cell)
    return cell[1] + 1
end

-- The window of now; a clock that stepped back stays in the stored one, at most one ahead of its own.
local function index_of(cell, rate)
    local here = floor(now / rate.period)
    return max(here, min(cell[1], here + 1))
end

local fixed_window = {}

function fixed_window.count(cell, rate)
    local index = index_of(cell, rate)
    return index, cell[1] >= index and cell[2] or 0
end

function fixed_window.fits(cell, rate)
    local _, count = fixed_window.count(cell, rate)
    return count <= rate.limit - rate.cost
end

function fixed_window.is_ahead(cell, rate)
    return cell[1] > index_of(cell, rate)
end

function fixed_window.take(cell, rate, with_cost)
    local index, count = fixed_window.count(cell, rate)
    if with_cost then count = count + min(rate.cost, 2 * rate.limit - count) end
    cell[1], cell[2] = index, count
end

function fixed_window.refund(cell, rate, taken)
    local index, count = fixed_window.count(cell, rate)
    if floor(taken / rate.period) == index then count = max(0, count - rate.cost) end
    cell[1], cell[2] = index, count
end

function fixed_window.matters_until(cell, rate)
    return cell[2] > 0 and (cell[1] + 1) * rate.period or 0
end

-- floor(a * b / c), for b <= c < 2^50, in steps of three bits where the product passes 2^53.
local function scaled(a, b, c)
    local whole, rest = floor(a / c) * b, a % c
    if rest * b < 2 ^ 53 then return whole + floor(rest * b / c) end
    local quotient, remainder = 0, 0
    for shift = 48, 0, -3 do
        local sum = remainder * 8 + rest * (floor(b / 2 ^ shift) % 8)
        quotient, remainder = quotient * 8 + floor(sum / c), sum % c
    end
    return whole + quotient
end

local sliding_window = {}

function sliding_window.counts(cell, rate)
    local index = index_of(cell, rate)
    if cell[1] >= index then return index, cell[2], cell[3] end
    return index, 0, cell[1] + 1 == index and cell[2] or 0
end

-- Units of the window before that still count.
function sliding_window.carried(index, previous, rate)
    return scaled(previous, min((index + 1) * rate.period - now, rate.period), rate.period)
end

function sliding_window.fits(cell, rate)
    local index, count, previous = sliding_window.counts(cell, rate)
    return sliding_window.carried(index, previous, rate) + count <= rate.limit - rate.cost
end

sliding_window.is_ahead = fixed_window.is_ahead

function sliding_window.take(cell, rate, with_cost)
    local index, count, previous = sliding_window.counts(cell, rate)
    if with_cost then
        local room = max(0, 2 * rate.limit - sliding_window.carried(index, previous, rate))
        count = max(count, min(count + rate.cost, room))
    end
    cell[1], cell[2], cell[3] = index, count, previous
end

function sliding_window.refund(cell, rate, taken)
    local index, count, previous = sliding_window.counts(cell, rate)
    local window = floor(taken / rate.period)
    if window == index then
        count = max(0, count - rate.cost)
    elseif window + 1 == index then
        previous = max(0, previous - rate.cost)
    end
    cell[1], cell[2], cell[3] = index, count, previous
end

function sliding_window.matters_until(cell, rate)
    if cell[2] == 0 and cell[3] == 0 then return 0 end
    return (cell[1] + 2) * rate.period
end

local METERS = { [GCRA] = gcra, [FIXED_WINDOW] = fixed_window, [SLIDING_WINDOW] = sliding_window }
local small = { open = open_small }

function small.fits(s, ask)
    local meter = METERS[s.kind]
    for i, rate in ipairs(ask.rates) do
        if not meter.fits(s.cells[i], rate) then return false end
    end
    return true
end

function small.take(s, ask)
    local meter = METERS[s.kind]
    for i, rate in ipairs(ask.rates) do meter.take(s.cells[i], rate, true) end
end

-- Pulls back what lies too far ahead; whether anything did.
function small.pull_back(s, ask)
    local meter, pulled = METERS[s.kind], false
    for i, rate in ipairs(ask.rates) do
        if meter.is_ahead(s.cells[i], rate) then
            meter.take(s.cells[i], rate, false)
            pulled = true
        end
    end
    return pulled
end

function small.refund(s, ask, taken)
    local meter = METERS[s.kind]
    for i, rate in ipairs(ask.rates) do meter.refund(s.cells[i], rate, taken) end
end

function small.save(s, ask)
    local meter, matters_until = METERS[s.kind], 0
    for i, rate in ipairs(ask.rates) do matters_until = max(matters_until, meter.matters_until(s.cells[i], rate)) end
    save_small(s, matters_until)
end

-- The client does the same arithmetic on what is stored.
function small.answer(_, s)
    return s.raw
end

function small.seen(s)
    return s.raw
end

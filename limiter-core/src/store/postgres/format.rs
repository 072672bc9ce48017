//! What is asked of the server's routines and what they answer, in integers.
//!
//! A key's row holds its quota as text, and `cells`: a few numbers a rate. A bucket's instant is a pair of microseconds
//! and ticks, so that nothing passes 2⁵⁴. What is rare, units reserved ahead or left over from a change to a smaller
//! quota, is in `rest`; the server never looks into it.

use super::error::Failure;
use crate::{
    Algorithm, Decision, KeyState, Quota, Timestamp,
    algorithm::{Cells, Counted, Counts, Level, Logs, Mode, RateReport, Report, Units, View, decide, judge},
    quota::Plan,
    store::{
        Adjust, Demand,
        stored_key::{StoredKey, StoredKeys},
    },
};
use smallvec::SmallVec;

/// Numbers a rate in an ask.
const ASK: usize = 7;

/// Numbers a rate that the server tells of a log.
const SEEN_OF_LOG: usize = 6;

/// The name of a key in the tables: its limiter's name, how often that was restarted if it was, and the key.
pub(super) fn name(keys: &StoredKeys, scope: &crate::store::Scope, key: &[u8]) -> Vec<u8> {
    let limiter = StoredKeys::default().store(scope.name().as_bytes());
    let start = if scope.start() > 0 { scope.start().to_string() } else { String::new() };
    // No digit begins a stored key, and the limiter's name is as long as it says.
    let length = u8::try_from(limiter.len()).unwrap_or(u8::MAX);
    let key: StoredKey = keys.store(key);
    [&[length][..], &limiter, start.as_bytes(), &key].concat()
}

/// How many numbers a rate has in a row.
fn width(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Gcra | Algorithm::FixedWindow => 2,
        Algorithm::SlidingWindow | Algorithm::SlidingLog => 3,
    }
}

/// A number as the server takes it. What passes 2⁶³ is never computed with there.
pub(super) fn bigint(number: u64) -> i64 {
    i64::from_ne_bytes(number.to_ne_bytes())
}

/// The number of a bigint.
pub(super) fn number(bigint: i64) -> u64 {
    u64::from_ne_bytes(bigint.to_ne_bytes())
}

/// Adds what a routine needs to know of `quota` and `cost`.
pub(super) fn push_ask(asks: &mut Vec<i64>, quota: &Quota, cost: u64) {
    let algorithm = match quota.algorithm() {
        Algorithm::Gcra => 1,
        Algorithm::FixedWindow => 2,
        Algorithm::SlidingWindow => 3,
        Algorithm::SlidingLog => 4,
    };
    // More than two limits of units are as good as two, and never needed of a bucket, which has its own numbers.
    let most = quota.rates().last().map_or(0, |rate| 2 * rate.limit().min(1 << 52));
    let shown = if algorithm == 1 { cost.min(1) } else { cost.min(most) };
    asks.extend([algorithm, bigint(shown), quota.rates().len() as i64, width(quota.algorithm()) as i64]);
    match quota.plan() {
        Plan::Gcra(buckets) => asks.extend(buckets.iter().flat_map(|bucket| bucket.numbers(cost).map(bigint))),
        _ => asks.extend(quota.rates().iter().flat_map(|rate| {
            let cell = rate.cells().map_or(1, |cells| rate.period_us().div_ceil(u64::from(cells)));
            let mut numbers = [0; ASK];
            numbers[..3].copy_from_slice(&[rate.period_us(), rate.limit(), cell].map(bigint));
            numbers
        })),
    }
}

/// What a routine found: of each key its block, and its cells or its log's window, before anything was taken.
#[derive(Debug)]
pub(super) enum Seen {
    State(KeyState),
    Log { blocked_until: u64, rates: SmallVec<[LogSeen; 4]> },
}

/// One rate's window over its log.
#[derive(Debug)]
pub(super) struct LogSeen {
    /// The stamp of a take now.
    stamp: u64,
    /// Units inside.
    inside: u64,
    /// Stamps: the newest, the oldest inside, of the unit that must leave before the cost fits, and before one fits.
    newest: u64,
    oldest: u64,
    for_cost: u64,
    for_one: u64,
}

/// Reads what a routine found of a key under `quota`, and leaves the rest of `numbers`.
pub(super) fn read_seen(numbers: &mut &[i64], quota: &Quota) -> Result<Seen, Failure> {
    let of_rates = quota.rates().len();
    let [is_there, blocked_until] = *split(numbers, 2)? else { return Err(SHORT) };
    let blocked_until = number(blocked_until);
    if quota.algorithm() != Algorithm::SlidingLog {
        let cells = split(numbers, of_rates * width(quota.algorithm()))?;
        if is_there == 0 {
            return Ok(Seen::State(KeyState::default()));
        }
        return Ok(Seen::State(KeyState { blocked_until, cells: read_cells(quota, cells)?, ..KeyState::default() }));
    }
    let rates = split(numbers, of_rates * SEEN_OF_LOG)?.chunks_exact(SEEN_OF_LOG).map(|rate| {
        let rate: [i64; SEEN_OF_LOG] = rate.try_into().unwrap_or_default();
        let [stamp, inside, newest, oldest, for_cost, for_one] = rate.map(number);
        LogSeen { stamp, inside, newest, oldest, for_cost, for_one }
    });
    Ok(Seen::Log { blocked_until, rates: rates.collect() })
}

pub(super) const SHORT: Failure = Failure::Garbage { what: "the server's answer is cut short" };

fn split<'a>(numbers: &mut &'a [i64], at: usize) -> Result<&'a [i64], Failure> {
    let (first, rest) = numbers.split_at_checked(at).ok_or(SHORT)?;
    *numbers = rest;
    Ok(first)
}

/// The decision over what was found of each demand's key.
pub(super) fn decide_on(demands: &[Demand<'_>], seen: Vec<Seen>, now: Timestamp, mode: Mode) -> Decision {
    let mut states = Vec::with_capacity(demands.len());
    let mut logs = Vec::new();
    for (place, seen) in seen.into_iter().enumerate() {
        match seen {
            Seen::State(state) => states.push(state),
            Seen::Log { blocked_until, rates } => {
                states.push(KeyState::default());
                logs.push((place, blocked_until, rates));
            }
        }
    }
    let mut views: Vec<View<'_>> = demands
        .iter()
        .zip(&mut states)
        .map(|(demand, state)| View { quota: demand.quota, state, cost: demand.cost })
        .collect();
    if logs.is_empty() {
        return decide(&mut views, now, mode);
    }
    let mut reports: Vec<Report> = views.iter_mut().map(|view| Report::on(view, now, None)).collect();
    for (place, blocked_until, rates) in &logs {
        reports[*place] = log_report(&demands[*place], *blocked_until, rates, now);
    }
    if mode == Mode::Take && reports.iter().all(|report| report.wait == Some(0)) {
        reports = views.iter_mut().map(|view| Report::on(view, now, Some(true))).collect();
        for (place, blocked_until, rates) in &logs {
            reports[*place] = log_report(&demands[*place], *blocked_until, rates, now);
        }
        for (place, _, rates) in logs.iter().filter(|(place, ..)| demands[*place].cost > 0) {
            reports[*place].rates = log_rates(&demands[*place], rates, now, demands[*place].cost);
        }
    }
    let demands: Vec<_> =
        demands.iter().zip(reports).map(|(demand, report)| (demand.quota, demand.cost, report)).collect();
    judge(now, &demands)
}

fn log_report(demand: &Demand<'_>, blocked_until: u64, rates: &[LogSeen], now: Timestamp) -> Report {
    let blocked = blocked_until.saturating_sub(now.as_micros());
    let rates = log_rates(demand, rates, now, 0);
    let longest = rates.iter().map(|rate| rate.wait).max().unwrap_or(0);
    let wait = match demand.cost {
        0 => Some(0),
        cost if cost > demand.quota.capacity() => None,
        _ => Some(blocked.max(longest)),
    };
    Report { wait, blocked, rates }
}

/// What each rate's window says after `taken` units more, none or all that the demand asks for.
fn log_rates(demand: &Demand<'_>, rates: &[LogSeen], now: Timestamp, taken: u64) -> SmallVec<[RateReport; 4]> {
    let of = |(rate, seen): (&crate::Rate, &LogSeen)| {
        let leaves_after = |stamp: u64| (stamp.min(seen.stamp) + rate.period_us() + 1).saturating_sub(now.as_micros());
        let inside = seen.inside.saturating_add(taken);
        let newest = if taken > 0 { seen.stamp } else { seen.newest };
        let asks = demand.cost > 0 && demand.cost <= demand.quota.capacity();
        let fits = !asks || taken > 0 || seen.inside + demand.cost <= rate.limit();
        RateReport {
            level: Level {
                remaining: rate.limit().saturating_sub(inside),
                reset_after_us: if inside > 0 { leaves_after(newest) } else { 0 },
            },
            wait: if fits { 0 } else { leaves_after(seen.for_cost) },
            next_unit: match (taken, inside) {
                (_, inside) if inside < rate.limit() => 0,
                (0, _) => leaves_after(seen.for_one),
                // Full just now: the oldest unit leaves first.
                _ if seen.inside > 0 => leaves_after(seen.oldest),
                _ => leaves_after(seen.stamp),
            },
        }
    };
    demand.quota.rates().iter().zip(rates).map(of).collect()
}

/// What `adjust` leaves of what was found: the answer is a look afterwards.
pub(super) fn adjust_seen(demand: &Demand<'_>, seen: Seen, adjust: Adjust, now: Timestamp) -> Decision {
    match seen {
        Seen::State(mut state) => state.adjust(demand.quota, now, demand.cost, adjust),
        log @ Seen::Log { .. } => decide_on(&[Demand { cost: 0, ..*demand }], vec![log], now, Mode::Peek),
    }
}

/// A whole state as its row and its logs' runs.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) cells: Vec<i64>,
    pub(super) rest: Option<Vec<i64>>,
    /// Rate, counted from 1, total before, stamp.
    pub(super) runs: Vec<(i32, i64, i64)>,
}

pub(super) fn write_row(quota: &Quota, state: &KeyState) -> Stored {
    let mut row = Stored::default();
    match (&state.cells, quota.plan()) {
        (Cells::Gcra(cells), Plan::Gcra(buckets)) => {
            row.cells.extend(buckets.iter().zip(cells).flat_map(|(bucket, empty_at)| {
                let (micros, ticks) = bucket.split(*empty_at);
                [micros, ticks].map(bigint)
            }));
        }
        (Cells::FixedWindow(cells), _) => {
            row.cells.extend(cells.iter().flat_map(|of| [of.index, of.count].map(bigint)));
        }
        (Cells::SlidingWindow(cells), _) => {
            row.cells.extend(cells.iter().flat_map(|of| [of.index, of.count, of.previous].map(bigint)));
        }
        (Cells::SlidingLog(logs), _) => {
            for (rate, i) in (1..).zip(0..quota.rates().len()) {
                let (mut total, mut newest) = (0, 0);
                for Units { stamp, units } in logs.runs(i) {
                    row.runs.push((rate, bigint(total), bigint(stamp)));
                    newest = stamp;
                    total += units;
                }
                row.cells.extend([newest, total, 0].map(bigint));
            }
        }
        _ => row.cells.resize(quota.rates().len() * width(quota.algorithm()), 0),
    }
    row.rest = match [state.reserved, state.changed_at] {
        [0, 0] => None,
        rest => Some(rest.map(bigint).into()),
    };
    row
}

/// The state of a row under the quota it was made under.
pub(super) fn read_row(quota: &Quota, blocked_until: u64, row: &Stored) -> Result<KeyState, Failure> {
    let cells = match quota.algorithm() {
        Algorithm::SlidingLog => read_logs(quota, row)?,
        _ => read_cells(quota, &row.cells)?,
    };
    let mut state = KeyState { blocked_until, cells, ..KeyState::default() };
    if let Some([reserved, changed_at]) = row.rest.as_deref() {
        (state.reserved, state.changed_at) = (number(*reserved), number(*changed_at));
    }
    Ok(state)
}

fn read_cells(quota: &Quota, cells: &[i64]) -> Result<Cells, Failure> {
    let width = width(quota.algorithm());
    if cells.len() != width * quota.rates().len() {
        return Err(Failure::Garbage { what: "a key's row has not the numbers that its quota needs" });
    }
    let rates = cells.chunks_exact(width).map(|cells| {
        let at = |i: usize| cells.get(i).map_or(0, |cell| number(*cell));
        (at(0), at(1), at(2))
    });
    Ok(match quota.plan() {
        Plan::Gcra(buckets) => Cells::Gcra(
            buckets.iter().zip(rates).map(|(bucket, (micros, ticks, _))| bucket.join(micros, ticks)).collect(),
        ),
        Plan::FixedWindow(_) => Cells::FixedWindow(rates.map(|(index, count, _)| Counted { index, count }).collect()),
        Plan::SlidingWindow(_) => {
            Cells::SlidingWindow(rates.map(|(index, count, previous)| Counts { index, count, previous }).collect())
        }
        Plan::SlidingLog(_) => Cells::Fresh,
    })
}

fn read_logs(quota: &Quota, row: &Stored) -> Result<Cells, Failure> {
    const WRONG: Failure = Failure::Garbage { what: "a log's row and its runs do not agree" };
    if row.cells.len() != 3 * quota.rates().len() {
        return Err(WRONG);
    }
    let logs = (1..).zip(row.cells.chunks_exact(3)).map(|(rate, cells): (i32, _)| {
        let [_, total, base] = *cells else { return Err(WRONG) };
        let runs: Vec<_> = row.runs.iter().filter(|(of, before, _)| *of == rate && *before >= base).collect();
        let ends = runs.iter().skip(1).map(|(_, before, _)| *before).chain([total]);
        let units = |((_, before, stamp), end): (&&(i32, i64, i64), i64)| {
            let units = end.checked_sub(*before).filter(|units| *units > 0).ok_or(WRONG)?;
            Ok(Units { stamp: number(*stamp), units: number(units) })
        };
        runs.iter().zip(ends).map(units).collect::<Result<Vec<_>, _>>()
    });
    Ok(Cells::SlidingLog(Logs::of_runs(logs.collect::<Result<Vec<_>, _>>()?)))
}

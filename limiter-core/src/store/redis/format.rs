//! What a key's value holds, and what a script is asked: bytes, numbers the most significant first.
//!
//! | part | bytes |
//! | --- | --- |
//! | version | 1 |
//! | length of the quota, then the quota | 2, and about 7 with one rate |
//! | flags: what extras there are | 1 |
//! | end of the block, in microseconds | 7 |
//! | extras: reserved (ticks); the instant of the last change of the quota | 8; 7 |
//! | `gcra`, a rate: microseconds, ticks below one | 7, 2 |
//! | `fixed_window`, a rate: index, count | 7, 7 |
//! | `sliding_window`, a rate: index, count, the count before | 7, 7, 7 |
//! | `sliding_log`: revision, rows, rows at which to merge | 4, 4, 4 |
//! | then a rate: period, first row, running total before it | 7, 4, 7 |
//! | then a row and rate, the oldest first: stamp, running total | 7, 7 |

use crate::{
    Algorithm, KeyState, Quota, Rate,
    algorithm::{Cells, Counted, Counts, Gcra, Logs, Units},
    quota::Plan,
};
use smallvec::SmallVec;
use std::time::Duration;

/// The format of names and values.
pub(super) const VERSION: u8 = 1;

/// Bytes that a script reads of a value at once: all of a bucket or window, and the head of a log.
const MOST: usize = 1023;

/// Extras.
const RESERVED: u8 = 1;
const CHANGED: u8 = 2;

/// No bucket is empty later: the last instant, and the farthest that state lies ahead.
const LATEST_US: u64 = 1 << 52;

/// A log's threshold for merging rows, before the first time.
const FEW_ROWS: u32 = 64;

/// What every value made under `quota` begins with; `None` where a value would not fit what a script reads.
pub(super) fn lead(quota: &Quota) -> Option<Vec<u8>> {
    let rates = u8::try_from(quota.rates().len()).ok()?;
    let mut bytes = vec![number_of(quota.algorithm()), rates];
    for rate in quota.rates() {
        let cells = u64::from(rate.cells().unwrap_or(0));
        for number in [rate.limit(), rate.period_us(), rate.burst_size().unwrap_or(0), cells] {
            put_varint(&mut bytes, number);
        }
    }
    let most = 3 + bytes.len() + 8 + 15 + 12 + (8 + 21) * usize::from(rates);
    if most > MOST {
        return None;
    }
    let mut lead = vec![VERSION];
    put(&mut lead, bytes.len() as u64, 2);
    lead.extend(bytes);
    Some(lead)
}

/// What a script is asked for one demand, under a quota with this lead; `asks` is false where it can only look.
pub(super) fn ask(lead: &[u8], quota: &Quota, cost: u64, asks: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(lead.len() + 3 + 29 * quota.rates().len());
    put(&mut bytes, lead.len() as u64, 2);
    bytes.extend(lead);
    bytes.push(u8::from(asks));
    match quota.plan() {
        Plan::Gcra(buckets) => {
            for bucket in buckets {
                let [per_us, pairs @ ..] = bucket.numbers(cost);
                for [micros, ticks] in pairs.as_chunks().0 {
                    put(&mut bytes, *micros, 7);
                    put(&mut bytes, *ticks, 2);
                }
                put(&mut bytes, per_us, 2);
            }
        }
        _ => {
            for rate in quota.rates() {
                put(&mut bytes, cost.min(2 * rate.limit()), 7);
                put(&mut bytes, rate.limit(), 7);
                put(&mut bytes, rate.period_us(), 7);
                if quota.algorithm() == Algorithm::SlidingLog {
                    put(&mut bytes, cell_of(rate), 7);
                }
            }
        }
    }
    bytes
}

/// What a script is asked where the state is only looked at, under whatever quota it was made.
pub(super) const LOOK: &[u8] = &[0, 0, 0];

/// What a state's script is told of one that was carried over: what was seen, and what became of it.
pub(super) fn given(seen: &[u8], carried: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + seen.len() + carried.len());
    put(&mut bytes, seen.len() as u64, 4);
    bytes.extend(seen);
    bytes.extend(carried);
    bytes
}

fn cell_of(rate: &Rate) -> u64 {
    rate.cells().map_or(1, |cells| rate.period_us().div_ceil(cells.into()))
}

/// `state` as a value that begins with `lead`.
pub(super) fn encode(lead: &[u8], quota: &Quota, state: &KeyState, revision: u32) -> Vec<u8> {
    let mut bytes = lead.to_vec();
    let flags = if state.reserved > 0 { RESERVED } else { 0 } | if state.changed_at > 0 { CHANGED } else { 0 };
    bytes.push(flags);
    put(&mut bytes, state.blocked_until, 7);
    if state.reserved > 0 {
        put(&mut bytes, state.reserved, 8);
    }
    if state.changed_at > 0 {
        put(&mut bytes, state.changed_at, 7);
    }
    let mut prepared = state.clone();
    prepared.prepare(quota);
    match (&prepared.cells, quota.plan()) {
        (Cells::Gcra(cells), Plan::Gcra(buckets)) => {
            for (empty_at, bucket) in cells.iter().zip(buckets) {
                let (micros, ticks) = bucket.split(*empty_at);
                put(&mut bytes, micros, 7);
                put(&mut bytes, ticks, 2);
            }
        }
        (Cells::FixedWindow(cells), _) => {
            cells.iter().for_each(|cell| [cell.index, cell.count].iter().for_each(|n| put(&mut bytes, *n, 7)));
        }
        (Cells::SlidingWindow(cells), _) => {
            let numbers = cells.iter().flat_map(|cell| [cell.index, cell.count, cell.previous]);
            numbers.for_each(|number| put(&mut bytes, number, 7));
        }
        (Cells::SlidingLog(logs), _) => encode_log(&mut bytes, quota, logs, revision),
        _ => {}
    }
    bytes
}

/// Rates' runs end in the same row; a rate's rows before its first are never read.
fn encode_log(bytes: &mut Vec<u8>, quota: &Quota, logs: &Logs, revision: u32) {
    let columns: Vec<Vec<Units>> = (0..quota.rates().len()).map(|i| logs.runs(i).collect()).collect();
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    let (stored_rows, merge_at) = (rows as u64, u64::from(FEW_ROWS).max(2 * rows as u64));
    [revision.into(), stored_rows, merge_at].iter().for_each(|number| put(bytes, *number, 4));
    for (rate, column) in quota.rates().iter().zip(&columns) {
        put(bytes, rate.period_us(), 7);
        put(bytes, (rows - column.len()) as u64, 4);
        put(bytes, 0, 7);
    }
    let mut totals = vec![0; columns.len()];
    for row in 0..rows {
        for (column, total) in columns.iter().zip(&mut totals) {
            let run = (row + column.len()).checked_sub(rows).and_then(|i| column.get(i));
            let Units { stamp, units } = run.copied().unwrap_or(Units { stamp: 0, units: 0 });
            *total += units;
            put(bytes, stamp, 7);
            put(bytes, *total, 7);
        }
    }
}

/// A value, or a log's without its rows: the quota it was made under, and its state. `None` where it is none of ours.
pub(super) fn decode(value: &[u8]) -> Option<(Quota, KeyState)> {
    let mut from = Bytes(value);
    if from.byte()? != VERSION {
        return None;
    }
    let length = usize::try_from(from.number(2)?).ok()?;
    let quota = decode_quota(from.take(length)?)?;
    let flags = from.byte()?;
    let blocked_until = from.number(7)?;
    let reserved = if flags & RESERVED > 0 { from.number(8)? } else { 0 };
    let changed_at = if flags & CHANGED > 0 { from.number(7)? } else { 0 };
    let cells = decode_cells(&mut from, &quota)?;
    Some((quota, KeyState { blocked_until, reserved, changed_at, cells }))
}

fn decode_cells(from: &mut Bytes<'_>, quota: &Quota) -> Option<Cells> {
    let rates = quota.rates();
    Some(match quota.plan() {
        Plan::Gcra(buckets) => {
            let cell = |bucket: &Gcra| Some(bucket.join(from.number_to(LATEST_US, 7)?, from.number(2)?));
            Cells::Gcra(buckets.iter().map(cell).collect::<Option<_>>()?)
        }
        Plan::FixedWindow(_) => {
            let cell = |rate: &Rate| {
                let (index, most) = (from.number(7)?, 2 * rate.limit());
                Some(Counted { index, count: from.number_to(most, 7)? })
            };
            Cells::FixedWindow(rates.iter().map(cell).collect::<Option<_>>()?)
        }
        Plan::SlidingWindow(_) => {
            let cell = |rate: &Rate| {
                let (index, most) = (from.number(7)?, 2 * rate.limit());
                Some(Counts { index, count: from.number_to(most, 7)?, previous: from.number_to(most, 7)? })
            };
            Cells::SlidingWindow(rates.iter().map(cell).collect::<Option<_>>()?)
        }
        Plan::SlidingLog(_) => Cells::SlidingLog(decode_log(from, rates.len())?),
    })
}

fn decode_log(from: &mut Bytes<'_>, rates: usize) -> Option<Logs> {
    let (_revision, rows, _merge_at) = (from.number(4)?, from.number(4)?, from.number(4)?);
    let head = |_| Some((from.number(7)?, from.number(4)?, from.number(7)?));
    let heads: Vec<_> = (0..rates).map(head).collect::<Option<_>>()?;
    let mut columns: Vec<Vec<Units>> = vec![Vec::new(); rates];
    let mut totals: Vec<u64> = heads.iter().map(|(_, _, base)| *base).collect();
    // Of a long log, only the head may be here.
    for row in 0..if from.0.is_empty() { 0 } else { rows } {
        for ((column, total), (_, first, _)) in columns.iter_mut().zip(&mut totals).zip(&heads) {
            let (stamp, now) = (from.number_to(2 * LATEST_US, 7)?, from.number(7)?);
            if row >= *first {
                let newest = column.last().map_or(0, |run| run.stamp);
                if stamp < newest {
                    return None;
                }
                column.push(Units { stamp, units: now.checked_sub(*total)? });
                *total = now;
            }
        }
    }
    Some(Logs::of_runs(columns))
}

fn decode_quota(bytes: &[u8]) -> Option<Quota> {
    let mut from = Bytes(bytes);
    let number = from.byte()?;
    let algorithm = Algorithm::ALL.into_iter().find(|algorithm| number_of(*algorithm) == number)?;
    let count = from.byte()?;
    let rate = |_| {
        let [limit, period, burst, cells] = [from.varint()?, from.varint()?, from.varint()?, from.varint()?];
        let mut rate = Rate::new(limit, Duration::from_micros(period)).ok()?;
        if burst > 0 {
            rate = rate.burst(burst).ok()?;
        }
        if cells > 0 {
            rate = rate.resolution(u32::try_from(cells).ok()?).ok()?;
        }
        Some(rate)
    };
    let rates: SmallVec<[Rate; 4]> = (0..count).map(rate).collect::<Option<_>>()?;
    Quota::new(algorithm, rates).ok()
}

fn number_of(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Gcra => 1,
        Algorithm::FixedWindow => 2,
        Algorithm::SlidingWindow => 3,
        Algorithm::SlidingLog => 4,
    }
}

/// The lowest `width` bytes of a number.
fn put(bytes: &mut Vec<u8>, number: u64, width: usize) {
    bytes.extend(&number.to_be_bytes()[8 - width..]);
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn number(&mut self, width: usize) -> Option<u64> {
        Some(self.take(width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn number_to(&mut self, most: u64, width: usize) -> Option<u64> {
        self.number(width).filter(|number| *number <= most)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Timestamp,
        algorithm::{Mode, View, decide},
        store::Adjust,
    };

    const QUOTAS: [&str; 7] = [
        "5/s",
        "5/s burst 9, 100/h",
        "999983/s",
        "fixed_window 5/s, 100/h",
        "sliding_window 5/s",
        "sliding_log 5/s, 100/h resolution 7",
        "sliding_log 4503599627370496/1200000s",
    ];

    /// States with all that one can hold.
    fn states(quota: &Quota) -> Vec<KeyState> {
        let at = |micros| Timestamp::from_micros(1_760_000_000_000_000 + micros);
        let larger: Quota = "fixed_window 20/s, 300/h".parse().unwrap();
        let mut used = KeyState::default();
        used.charge(&larger, at(0), 20);
        let mut states = vec![KeyState::default(), used.carried_over(&larger, quota, at(1))];
        let mut state = KeyState::default();
        for (step, adjust) in [Adjust::Charge, Adjust::Charge, Adjust::Reserve].into_iter().enumerate() {
            state.adjust(quota, at(100 * step as u64), 2, adjust);
            states.push(state.clone());
        }
        state.block(at(5_000_000));
        states.push(state);
        states
    }

    #[test]
    fn what_is_decoded_answers_as_what_was_encoded() {
        for quota in QUOTAS.map(|text| text.parse::<Quota>().unwrap()) {
            let lead = lead(&quota).unwrap();
            for mut state in states(&quota) {
                let value = encode(&lead, &quota, &state, 7);
                let (decoded_quota, mut decoded) = decode(&value).unwrap();
                assert_eq!(decoded_quota, quota);
                assert_eq!((decoded.reserved, decoded.changed_at), (state.reserved, state.changed_at));
                for now in [0, 50, 900_000, 2_000_000] {
                    let now = Timestamp::from_micros(1_760_000_000_000_000 + now);
                    let answer = |state| decide(&mut [View { quota: &quota, state, cost: 3 }], now, Mode::Take);
                    assert_eq!(answer(&mut decoded), answer(&mut state), "{quota}");
                }
            }
        }
    }

    #[test]
    fn no_bytes_are_too_strange() {
        for quota in QUOTAS.map(|text| text.parse::<Quota>().unwrap()) {
            let value = encode(&lead(&quota).unwrap(), &quota, &states(&quota)[4], 7);
            for length in 0..value.len() {
                assert!(decode(&value[..length]).is_none() || quota.algorithm() == Algorithm::SlidingLog, "{quota}");
            }
            for place in 0..value.len() {
                for byte in [0, 1, 0x7f, 0xff] {
                    let mut changed = value.clone();
                    changed[place] = byte;
                    if let Some((quota, mut state)) = decode(&changed) {
                        let now = Timestamp::from_micros(1_760_000_000_000_500);
                        decide(&mut [View { quota: &quota, state: &mut state, cost: 1 }], now, Mode::Take);
                    }
                }
            }
        }
    }

    #[test]
    fn too_many_rates_for_one_value_are_refused() {
        let rates = |count| (0..count).map(|n: u32| Rate::new(1 << n, Duration::from_micros(1 << (n + 10))).unwrap());
        assert!(lead(&Quota::fixed_window(rates(16)).unwrap()).is_some());
        assert!(lead(&Quota::fixed_window(rates(38)).unwrap()).is_none());
    }
}

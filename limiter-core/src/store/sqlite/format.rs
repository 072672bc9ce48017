//! A key's state as bytes: a version, what kind of cells, and varints.
//!
//! The newest runs of a log are in these bytes too; older ones stand in blocks of their own ([`Blocks`] says which), so that
//! a take rewrites few of them, whatever the limit.
//!
//! What is read is checked against the quota it was made under: bytes that no release wrote are told from state.

use crate::{
    Algorithm, KeyState, Quota,
    algorithm::{Cells, Counted, Counts, Log, Logs},
};
use smallvec::SmallVec;

/// The version of what [`state`] and [`runs`] write.
pub(super) const VERSION: u8 = 1;

/// Runs of one block.
pub(super) const BLOCK: u64 = 64;

/// Which runs of a log are in blocks, by number: those from `from` to `to`, a block for each [`BLOCK`] of them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Blocks {
    /// The number of the oldest run that still counts; earlier ones may still stand in the first block.
    pub(super) oldest: u64,
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Blocks {
    pub(super) fn is_none(&self) -> bool {
        self.from == self.to
    }

    /// The number of the first run that is not in a block.
    pub(super) fn newest_from(&self) -> u64 {
        if self.is_none() { self.oldest } else { self.to }
    }
}

/// The blocks of each log of a state; none for other states.
pub(super) type AllBlocks = SmallVec<[Blocks; 1]>;

/// Bytes that no release wrote, or one that came later than this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Garbled {
    /// Another version.
    Version(u8),
    /// Cut short, too long, or numbers that the quota does not allow.
    Bytes,
}

const FRESH: u8 = 0;
const GCRA: u8 = 1;
const FIXED_WINDOW: u8 = 2;
const SLIDING_WINDOW: u8 = 3;
const SHARED_LOG: u8 = 4;
const LOGS_APART: u8 = 5;
const KIND: u8 = 0b111;
const BLOCKED: u8 = 0b1000;
const RESERVED: u8 = 0b1_0000;
const CHANGED: u8 = 0b10_0000;

/// Numbers of runs, stamps and units stay below this, so that no sum of two overflows.
const MOST: u64 = 1 << 60;

/// `state` as bytes, without the runs that are in `blocks`.
pub(super) fn state(state: &KeyState, blocks: &[Blocks]) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(64));
    out.0.extend([VERSION, 0]);
    let mut tag = match &state.cells {
        Cells::Fresh => FRESH,
        Cells::Gcra(_) => GCRA,
        Cells::FixedWindow(_) => FIXED_WINDOW,
        Cells::SlidingWindow(_) => SLIDING_WINDOW,
        Cells::SlidingLog(Logs::Shared { .. }) => SHARED_LOG,
        Cells::SlidingLog(Logs::Apart(_)) => LOGS_APART,
    };
    if state.blocked_until > 0 {
        tag |= BLOCKED;
        out.number(state.blocked_until);
    }
    if state.reserved > 0 {
        tag |= RESERVED;
        out.number(state.reserved);
    }
    if state.changed_at > 0 {
        tag |= CHANGED;
        out.number(state.changed_at);
    }
    if let Some(place) = out.0.get_mut(1) {
        *place = tag;
    }
    match &state.cells {
        Cells::Fresh => {}
        Cells::Gcra(cells) => out.list(cells, |out, empty_at| out.number(*empty_at)),
        Cells::FixedWindow(cells) => out.list(cells, |out, cell| out.numbers([cell.index, cell.count])),
        Cells::SlidingWindow(cells) => {
            out.list(cells, |out, cell| out.numbers([cell.index, cell.count, cell.previous]));
        }
        Cells::SlidingLog(logs) => {
            out.number(logs.each().len() as u64);
            for (log, blocks) in logs.each().iter().zip(blocks) {
                out.numbers([blocks.oldest, blocks.from, blocks.to]);
                out.runs(log.runs_of(blocks.newest_from()..u64::MAX));
            }
            if let Logs::Shared { first, .. } = logs {
                out.list(first, |out, number| out.number(*number));
            }
        }
    }
    out.0
}

/// Reads what [`state`] wrote of a state under `quota`. Of a log it has the newest runs only.
pub(super) fn read_state(bytes: &[u8], quota: &Quota) -> Result<(KeyState, AllBlocks), Garbled> {
    let mut read = Reader::new(bytes)?;
    let tag = read.byte()?;
    let mut number_if = |flag: u8| if tag & flag == 0 { Ok(0) } else { read.number() };
    let (blocked_until, reserved, changed_at) = (number_if(BLOCKED)?, number_if(RESERVED)?, number_if(CHANGED)?);
    let rates = quota.rates();
    let mut all_blocks = AllBlocks::new();
    let cells = match tag & KIND {
        FRESH => Cells::Fresh,
        GCRA => Cells::Gcra(read.list(rates.len(), Reader::number)?),
        FIXED_WINDOW => Cells::FixedWindow(
            read.list(rates.len(), |read| Ok(Counted { index: read.number()?, count: read.small()? }))?,
        ),
        SLIDING_WINDOW => Cells::SlidingWindow(read.list(rates.len(), |read| {
            Ok(Counts { index: read.number()?, count: read.small()?, previous: read.small()? })
        })?),
        kind @ (SHARED_LOG | LOGS_APART) => {
            let count = if kind == SHARED_LOG { 1 } else { rates.len() };
            let mut logs = read.list::<SmallVec<[Log; 1]>, _>(count, |read| {
                let blocks = Blocks { oldest: read.small()?, from: read.small()?, to: read.small()? };
                let length = blocks.to.checked_sub(blocks.from).ok_or(Garbled::Bytes)?;
                let holds_oldest = blocks.from <= blocks.oldest && blocks.oldest < blocks.to;
                if !length.is_multiple_of(BLOCK) || (length > 0 && !holds_oldest) {
                    return Err(Garbled::Bytes);
                }
                all_blocks.push(blocks);
                Ok(Log::from_kept(blocks.newest_from(), read.runs()?))
            })?;
            if kind == LOGS_APART {
                Cells::SlidingLog(Logs::Apart(logs))
            } else {
                let log = logs.pop().ok_or(Garbled::Bytes)?;
                let end = log.numbers().end;
                let first = read.list(rates.len(), |read| read.number().and_then(|n| check(n <= end, n)))?;
                Cells::SlidingLog(Logs::Shared { log, first })
            }
        }
        _ => return Err(Garbled::Bytes),
    };
    read.end()?;
    let state = KeyState { blocked_until, reserved, changed_at, cells };
    check(fits(&state.cells, quota), (state, all_blocks))
}

/// The runs of one block as bytes.
pub(super) fn runs(runs: impl Iterator<Item = (u64, u64)>) -> Vec<u8> {
    let mut out = Writer(vec![VERSION]);
    out.runs(runs);
    out.0
}

/// Reads what [`runs`] wrote: stamps and units of one block.
pub(super) fn read_runs(bytes: &[u8]) -> Result<Vec<(u64, u64)>, Garbled> {
    let mut read = Reader::new(bytes)?;
    let runs = read.runs()?;
    read.end()?;
    check(runs.len() as u64 == BLOCK, runs)
}

struct Writer(Vec<u8>);

impl Writer {
    /// Seven bits a byte, the lowest first; the eighth says that more follow.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn numbers<const N: usize>(&mut self, numbers: [u64; N]) {
        numbers.into_iter().for_each(|number| self.number(number));
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        items.iter().for_each(|item| write(self, item));
    }

    /// Stamps grow: each is written as what it is above the one before.
    fn runs(&mut self, runs: impl Iterator<Item = (u64, u64)>) {
        let at = self.0.len();
        let (mut count, mut last) = (0_u64, 0);
        for (stamp, units) in runs {
            self.numbers([stamp.wrapping_sub(last), units]);
            last = stamp;
            count += 1;
        }
        let runs = self.0.split_off(at);
        self.number(count);
        self.0.extend(runs);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Garbled> {
        match bytes {
            [VERSION, rest @ ..] => Ok(Self(rest)),
            [other, ..] => Err(Garbled::Version(*other)),
            [] => Err(Garbled::Bytes),
        }
    }

    fn byte(&mut self) -> Result<u8, Garbled> {
        let (first, rest) = self.0.split_first().ok_or(Garbled::Bytes)?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, Garbled> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Garbled::Bytes);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Garbled::Bytes)
    }

    fn small(&mut self) -> Result<u64, Garbled> {
        self.number().and_then(|number| check(number < MOST, number))
    }

    /// A list of `length` items, and no other.
    fn list<C: FromIterator<T>, T>(
        &mut self,
        length: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, Garbled>,
    ) -> Result<C, Garbled> {
        check(self.number()? == length as u64, ())?;
        (0..length).map(|_| item(self)).collect()
    }

    fn runs(&mut self) -> Result<Vec<(u64, u64)>, Garbled> {
        let count = self.number()?;
        let (mut last, mut total, mut runs) = (0_u64, 0_u64, Vec::new());
        for i in 0..count {
            let (step, units) = (self.small()?, self.small()?);
            last += step;
            total += units;
            check((i == 0 || step > 0) && last < MOST && total < MOST, ())?;
            runs.push((last, units));
        }
        Ok(runs)
    }

    fn end(&self) -> Result<(), Garbled> {
        check(self.0.is_empty(), ())
    }
}

/// Whether cells are of the quota's algorithm, and count no more than it lets a key owe.
fn fits(cells: &Cells, quota: &Quota) -> bool {
    let within = |units: u64, i: usize| quota.rates().get(i).is_some_and(|rate| units <= 2 * rate.limit());
    match (cells, quota.algorithm()) {
        (Cells::Fresh, _) | (Cells::Gcra(_), Algorithm::Gcra) | (Cells::SlidingLog(_), Algorithm::SlidingLog) => true,
        (Cells::FixedWindow(cells), Algorithm::FixedWindow) => {
            cells.iter().enumerate().all(|(i, cell)| within(cell.count, i))
        }
        (Cells::SlidingWindow(cells), Algorithm::SlidingWindow) => {
            cells.iter().enumerate().all(|(i, cell)| within(cell.count, i) && within(cell.previous, i))
        }
        _ => false,
    }
}

fn check<T>(holds: bool, value: T) -> Result<T, Garbled> {
    if holds { Ok(value) } else { Err(Garbled::Bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Timestamp, store::Adjust};

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(1_760_000_000_000_000 + micros)
    }

    fn blocks_of(state: &KeyState) -> AllBlocks {
        let none = |log: &Log| Blocks { oldest: log.numbers().start, from: 0, to: 0 };
        match &state.cells {
            Cells::SlidingLog(logs) => logs.each().iter().map(none).collect(),
            _ => AllBlocks::new(),
        }
    }

    /// States of every kind, each with its quota.
    fn states() -> Vec<(KeyState, Quota)> {
        let mut all = Vec::new();
        for text in [
            "5/s",
            "7/s burst 9, 100/min",
            "fixed_window 5/s, 100/h",
            "sliding_window 5/s, 100/h",
            "sliding_log 5/s",
            "sliding_log 5/s, 50/min, 100/h",
            "sliding_log 5/s resolution 3, 50/min",
        ] {
            let quota: Quota = text.parse().unwrap();
            let mut state = KeyState::default();
            all.push((state.clone(), quota.clone()));
            for i in 0..20 {
                state.charge(&quota, at(700_000 * i), 1 + i % 3);
                all.push((state.clone(), quota.clone()));
            }
            state.charge(&quota, at(14_000_000), 9); // parts logs
            state.adjust(&quota, at(15_000_000), 2, Adjust::Reserve);
            state.block(at(60_000_000));
            all.push((state.clone(), quota.clone()));
            let smaller: Quota = "fixed_window 1/s, 2/min".parse().unwrap();
            all.push((state.carried_over(&quota, &smaller, at(15_000_001)), smaller));
        }
        all
    }

    #[test]
    fn every_kind_of_state_reads_back_as_it_was() {
        for (state, quota) in states() {
            let bytes = super::state(&state, &blocks_of(&state));
            let (read, blocks) = read_state(&bytes, &quota).unwrap();
            // Totals count from another base: the same runs are what makes the same log.
            assert_eq!(super::state(&read, &blocks), bytes, "{quota}");
            assert_eq!(read.idle_at_us(&quota, at(15_500_000)), state.idle_at_us(&quota, at(15_500_000)), "{quota}");
            assert_eq!(read.remaining(&quota, at(15_500_000)), state.remaining(&quota, at(15_500_000)), "{quota}");
        }
    }

    #[test]
    fn no_bytes_panic_and_another_version_is_told() {
        for (state, quota) in states() {
            let bytes = super::state(&state, &blocks_of(&state));
            assert_eq!(read_state(&[&[VERSION + 1], &bytes[1..]].concat(), &quota), Err(Garbled::Version(VERSION + 1)));
            for end in 0..bytes.len() {
                assert!(read_state(&bytes[..end], &quota).is_err(), "{quota}: cut at {end}");
            }
            for place in 1..bytes.len() {
                for byte in [0, 1, 0x7f, 0x80, 0xff, bytes[place] ^ 0x11] {
                    let mut other = bytes.clone();
                    other[place] = byte;
                    if let Ok((mut read, _)) = read_state(&other, &quota) {
                        for now in [Timestamp::MIN, at(0), at(15_000_000), Timestamp::MAX] {
                            let mut copy = read.clone();
                            copy.adjust(&quota, now, 3, Adjust::Refund { taken: at(700_000) });
                            copy.adjust(&quota, now, 1, Adjust::Reserve);
                            read.charge(&quota, now, 2);
                            let _ = read.carried_over(&quota, &"3/min".parse().unwrap(), now);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_block_is_as_long_as_blocks_are() {
        let whole: Vec<(u64, u64)> = (0..BLOCK).map(|i| (1000 + i * i + i, i + 1)).collect();
        assert_eq!(read_runs(&runs(whole.iter().copied())), Ok(whole.clone()));
        assert_eq!(read_runs(&runs(whole[1..].iter().copied())), Err(Garbled::Bytes));
    }
}

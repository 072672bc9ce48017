//! A key's state in its slot's words.
//!
//! | word | holds |
//! | --- | --- |
//! | 0 | the head |
//! | 1, 2 | the key's hash |
//! | 3 | the algorithm, the number of rates, flags, and the instant of the last change to a smaller quota |
//! | 4 | the quota's fingerprint |
//! | 5 | what a packed state is counted from |
//! | 6 | the end of the block |
//! | 7 | the reserved instant of a single bucket |
//! | 8… | ten a rate: limit, period, burst or resolution, units that found no room, and six of its state |
//!
//! The state of one bucket, or of one fixed window, without a block lies packed in the head.

use super::{
    chain::{Blocks, Chain, LOG_WORDS},
    core::Core,
    error::Fault,
    head::Head,
    layout::{RATE_WORDS, SLOT_HEADER},
    packed::Packed,
    words::{Name, Words},
};
use crate::{
    Algorithm, KeyState, Quota, Rate, Timestamp,
    algorithm::{Cells, Counted, Counts, FixedWindow, Gcra, Log, Logs},
};
use smallvec::{SmallVec, smallvec};
use std::time::Duration;

pub(super) const FIRST: usize = 1;
pub(super) const SECOND: usize = 2;
pub(super) const META: usize = 3;
pub(super) const FINGERPRINT: usize = 4;
pub(super) const BASE: usize = 5;
const BLOCKED: usize = 6;
const RESERVED: usize = 7;

/// The words of a rate: limit, period, option; then its state.
const STATE: usize = 3;
const FIRST_RUN: usize = STATE + LOG_WORDS;

/// Flags of the word META, above four bits each for algorithm and number of rates.
pub(super) const IS_PACKED: u64 = 1 << 8;
const IS_FRESH: u64 = 1 << 9;
const IS_APART: u64 = 1 << 10;
const CHANGED_SHIFT: u32 = 12;

pub(super) type Copied = SmallVec<[u64; 18]>;

/// What a look at a slot finds. A state is not boxed: a decision on one key then allocates nothing.
#[allow(clippy::large_enum_variant)]
pub(super) enum Look {
    /// A step owns it.
    Owned,
    Free,
    State(Found),
    /// Words that nothing here can have written.
    Corrupt,
}

/// A state as it was while the slot's head was `head`.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) slot: usize,
    pub(super) head: Head,
    pub(super) state: KeyState,
    words: Copied,
}

/// Reads a slot that others may write to meanwhile: again, until nothing changed between.
pub(super) fn look(words: Words<'_>, slot: usize) -> Look {
    loop {
        let head = words.head(slot);
        if head.is_owned() {
            return Look::Owned;
        }
        if !head.is_settled() {
            return Look::Free;
        }
        let copied = copy(words, slot);
        let state = copied.as_ref().and_then(|copied| decode(words, copied, head));
        if words.head(slot) != head {
            continue;
        }
        return match copied.zip(state) {
            Some((words, state)) => Look::State(Found { slot, head, state, words }),
            None => Look::Corrupt,
        };
    }
}

fn copy(words: Words<'_>, slot: usize) -> Option<Copied> {
    let at = words.layout.slot(slot);
    let rates = rates_of(words.get(at + META));
    if rates == 0 || rates > words.layout.max_rates {
        return None;
    }
    let copied: Copied = (0..SLOT_HEADER + RATE_WORDS * rates).map(|i| words.get(at + i)).collect();
    (rates_of(copied[META]) == rates).then_some(copied) // else somebody wrote between
}

/// The chains of a slot that the caller owns, or that nobody changes.
pub(super) fn chains(words: Words<'_>, slot: usize) -> impl Iterator<Item = Chain> {
    let copied = copy(words, slot).filter(is_log).unwrap_or_default();
    let rates = copied.len().saturating_sub(SLOT_HEADER) / RATE_WORDS;
    let logs = if copied.get(META).is_some_and(|meta| meta & IS_APART == 0) { rates.min(1) } else { rates };
    (0..logs).map(move |i| Chain::from_words(&rate(&copied, i)[STATE..]))
}

fn is_log(copied: &Copied) -> bool {
    algorithm_of(copied[META]) == Some(Algorithm::SlidingLog) && copied[META] & IS_FRESH == 0
}

impl Found {
    pub(super) fn name(&self) -> Name {
        Name { first: self.words[FIRST], second: self.words[SECOND] }
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.words[FINGERPRINT]
    }

    /// Whether the state was made under `quota`; an error where it says so, and is of another number of rates.
    pub(super) fn is_under(&self, quota: &Quota) -> Result<bool, Fault> {
        match self.fingerprint() == quota.fingerprint() {
            true if !self.has_rates_of(quota) => Err(Fault::Corrupt),
            is_under => Ok(is_under),
        }
    }

    /// The quota the state was made under.
    pub(super) fn quota(&self, core: &Core) -> Option<Quota> {
        core.quota(self.fingerprint(), || self.stored_quota()).filter(|quota| self.has_rates_of(quota))
    }

    fn has_rates_of(&self, quota: &Quota) -> bool {
        rates_of(self.words[META]) == quota.rates().len()
    }

    /// The same, built from what the slot says of it.
    pub(super) fn stored_quota(&self) -> Option<Quota> {
        let rates: Option<Vec<Rate>> = (0..rates_of(self.words[META])).map(|i| self.rate(i)).collect();
        let quota = Quota::new(algorithm_of(self.words[META])?, rates?).ok()?;
        (quota.fingerprint() == self.fingerprint()).then_some(quota)
    }

    fn rate(&self, i: usize) -> Option<Rate> {
        let words = rate(&self.words, i);
        let built = Rate::new(words[0], Duration::from_micros(words[1])).ok()?;
        match (algorithm_of(self.words[META])?, words[2]) {
            (_, 0) => Some(built),
            (Algorithm::SlidingLog, cells) => built.resolution(u32::try_from(cells).ok()?).ok(),
            (_, burst) => built.burst(burst).ok(),
        }
    }

    pub(super) fn has_log(&self) -> bool {
        matches!(self.state.cells, Cells::SlidingLog(_))
    }

    /// Whether forgetting the key changes nothing.
    pub(super) fn is_idle(&self, core: &Core, now: Timestamp) -> bool {
        self.quota(core).is_some_and(|quota| self.state.is_idle(&quota, now))
    }

    /// The chain and the log of the same place in this state, if it has one.
    fn log(&self, i: usize) -> Option<(Chain, &Log)> {
        let log = match &self.state.cells {
            Cells::SlidingLog(Logs::Shared { log, .. }) => (i == 0).then_some(log),
            Cells::SlidingLog(Logs::Apart(logs)) => logs.get(i),
            _ => None,
        }?;
        Some((Chain::from_words(&rate(&self.words, i)[STATE..]), log))
    }
}

fn decode(words: Words<'_>, copied: &Copied, head: Head) -> Option<KeyState> {
    let meta = copied[META];
    let algorithm = algorithm_of(meta)?;
    let n = rates_of(meta);
    let state = |i: usize, word: usize| rate(copied, i)[STATE + word];
    // Nothing counts more than twice its limit, which the arithmetic relies on.
    let count = |i: usize, word: usize| state(i, word).min(rate(copied, i)[0].saturating_mul(2));
    let cells = match algorithm {
        _ if meta & IS_FRESH != 0 => Cells::Fresh,
        Algorithm::Gcra if meta & IS_PACKED != 0 => Cells::Gcra(smallvec![Gcra::unpack(copied[BASE], head.payload())]),
        Algorithm::FixedWindow if meta & IS_PACKED != 0 => {
            Cells::FixedWindow(smallvec![FixedWindow::unpack(copied[BASE], head.payload())])
        }
        Algorithm::Gcra => Cells::Gcra((0..n).map(|i| state(i, 0)).collect()),
        Algorithm::FixedWindow => {
            Cells::FixedWindow((0..n).map(|i| Counted { index: state(i, 0), count: count(i, 1) }).collect())
        }
        Algorithm::SlidingWindow => Cells::SlidingWindow(
            (0..n).map(|i| Counts { index: state(i, 0), count: count(i, 1), previous: count(i, 2) }).collect(),
        ),
        Algorithm::SlidingLog => {
            let log = |i: usize| Chain::from_words(&rate(copied, i)[STATE..]).log(words);
            Cells::SlidingLog(if meta & IS_APART != 0 {
                Logs::Apart((0..n).map(log).collect::<Option<_>>()?)
            } else {
                let (log, first) = (log(0)?, |i| rate(copied, i)[FIRST_RUN]);
                let runs = log.runs.len() as u64;
                Logs::Shared { first: (0..n).map(|i| first(i).min(runs)).collect(), log }
            })
        }
    };
    let changed_at = meta >> CHANGED_SHIFT;
    Some(KeyState { blocked_until: copied[BLOCKED], reserved: copied[RESERVED], changed_at, cells })
}

/// The words of a state under `quota`, in the place of what was `found` there; and its packed part. `None` where a log
/// finds no blocks.
pub(super) fn encode(
    words: Words<'_>,
    slot: usize,
    name: Name,
    quota: &Quota,
    state: &KeyState,
    found: Option<&Found>,
    blocks: &mut Blocks,
) -> Option<(Copied, u64)> {
    let rates = quota.rates();
    let mut out: Copied = smallvec![0; SLOT_HEADER + RATE_WORDS * rates.len()];
    (out[FIRST], out[SECOND], out[FINGERPRINT]) = (name.first, name.second, quota.fingerprint());
    (out[BLOCKED], out[RESERVED]) = (state.blocked_until, state.reserved);
    let algorithm = Algorithm::ALL.iter().position(|of| *of == quota.algorithm()).unwrap_or(0);
    let mut meta = algorithm as u64 | (rates.len() as u64) << 4;
    for (i, rate) in rates.iter().enumerate() {
        let option = rate.burst_size().or(rate.cells().map(u64::from)).unwrap_or(0);
        rate_mut(&mut out, i)[..3].copy_from_slice(&[rate.limit(), rate.period_us(), option]);
    }
    meta |= state.changed_at << CHANGED_SHIFT;
    let mut payload = 0;
    let can_pack = state.blocked_until == 0 && state.changed_at == 0;
    match &state.cells {
        Cells::Fresh => meta |= IS_FRESH,
        Cells::Gcra(cells) => match &cells[..] {
            [cell] if can_pack => (out[BASE], payload) = packed::<Gcra>(cell, &mut meta),
            cells => cells.iter().enumerate().for_each(|(i, cell)| put(&mut out, i, &[*cell])),
        },
        Cells::FixedWindow(cells) => match &cells[..] {
            [cell] if can_pack && FixedWindow::pack(FixedWindow::base(cell), cell).is_some() => {
                (out[BASE], payload) = packed::<FixedWindow>(cell, &mut meta);
            }
            cells => cells.iter().enumerate().for_each(|(i, cell)| put(&mut out, i, &[cell.index, cell.count])),
        },
        Cells::SlidingWindow(cells) => {
            for (i, cell) in cells.iter().enumerate() {
                put(&mut out, i, &[cell.index, cell.count, cell.previous]);
            }
        }
        Cells::SlidingLog(logs) => {
            let none = (Chain::default(), &Log::default());
            let mut kept = 0;
            let mut chain = |i: usize, log: &Log| {
                let before = found.and_then(|found| found.log(i));
                kept = i + 1;
                let (chain, old) = before.unwrap_or(none);
                chain.update(words, slot, old, log, blocks)
            };
            match logs {
                Logs::Shared { log, first } => {
                    put(&mut out, 0, &chain(0, log)?.to_words());
                    for (i, first) in first.iter().enumerate() {
                        rate_mut(&mut out, i)[FIRST_RUN] = first.saturating_sub(log.gone);
                    }
                }
                Logs::Apart(logs) => {
                    meta |= IS_APART;
                    for (i, log) in logs.iter().enumerate() {
                        put(&mut out, i, &chain(i, log)?.to_words());
                    }
                }
            }
            drop_logs(words, found, kept, blocks);
        }
    }
    if !matches!(state.cells, Cells::SlidingLog(_)) {
        drop_logs(words, found, 0, blocks);
    }
    out[META] = meta;
    Some((out, payload))
}

/// The blocks of a state that goes away.
pub(super) fn drop_logs(words: Words<'_>, found: Option<&Found>, from: usize, blocks: &mut Blocks) {
    let Some(found) = found else { return };
    let logs = (from..rates_of(found.words[META])).filter_map(|i| found.log(i));
    blocks.unused.extend(logs.flat_map(|(chain, _)| chain.blocks(words)));
}

fn packed<M: Packed>(cell: &M::State, meta: &mut u64) -> (u64, u64) {
    *meta |= IS_PACKED;
    let base = M::base(cell);
    (base, M::pack(base, cell).unwrap_or(0))
}

fn put(out: &mut Copied, i: usize, words: &[u64]) {
    rate_mut(out, i)[STATE..STATE + words.len()].copy_from_slice(words);
}

fn rate(copied: &[u64], i: usize) -> &[u64] {
    &copied[SLOT_HEADER + i * RATE_WORDS..][..RATE_WORDS]
}

fn rate_mut(out: &mut Copied, i: usize) -> &mut [u64] {
    &mut out[SLOT_HEADER + i * RATE_WORDS..][..RATE_WORDS]
}

fn rates_of(meta: u64) -> usize {
    usize::try_from((meta >> 4) & 0xf).unwrap_or(0)
}

fn algorithm_of(meta: u64) -> Option<Algorithm> {
    Algorithm::ALL.get(usize::try_from(meta & 0xf).unwrap_or(usize::MAX)).copied()
}

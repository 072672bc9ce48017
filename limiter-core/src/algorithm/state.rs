//! What a key keeps.

use super::{
    Bank, Meter, Mode, View, decide, fixed_window::Counted, projection::when, sliding_log::Logs, sliding_window::Counts,
};
use crate::{Decision, Quota, Rate, clock::Timestamp, quota::Plan, store::Adjust};
use smallvec::SmallVec;
use std::time::Duration;

/// The state of one key under one quota: what a store keeps.
///
/// The default is a key never seen, for any quota. A state made under another quota carries its units in use over at
/// the first decision under the new one.
///
/// ```
/// use limiter_core::{KeyState, Quota, Timestamp};
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let (quota, now): (Quota, _) = ("5/s".parse()?, Timestamp::from_micros(1_760_000_000_000_000));
/// let mut state = KeyState::default();
/// state.charge(&quota, now, 2);
/// assert!(!state.is_idle(&quota, now));
/// state.refund(&quota, now, 2, now);
/// assert!(state.is_idle(&quota, now));
/// # Ok(())
/// # }
/// ```
///
/// [`decide`](super::decide) asks before it takes.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct KeyState {
    /// Every take of a cost above 0 is denied until then.
    pub(crate) blocked_until: u64,
    /// Of a single bucket: the instant, in ticks, at which it would be empty had it held the reserved units alone. What
    /// is refunded of others does not let it fall below.
    pub(crate) reserved: u64,
    /// The instant of the last change of the quota; 0 where there was none. What was taken before it is counted under
    /// this quota as taken in one piece: what each take of it still holds is not known any more.
    pub(crate) changed_at: u64,
    pub(crate) cells: Cells,
}

/// What is kept for the rates; `Fresh` before the first write.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) enum Cells {
    #[default]
    Fresh,
    Gcra(SmallVec<[u64; 1]>),
    FixedWindow(SmallVec<[Counted; 1]>),
    SlidingWindow(SmallVec<[Counts; 1]>),
    SlidingLog(Logs),
}

/// Runs `$body` with the bank of a quota's rates and its state; `$fresh` where the cells are of another kind.
macro_rules! with_cells {
    ($quota:expr, $cells:expr, |$bank:ident, $state:ident| $body:expr, $fresh:expr) => {
        match ($quota.plan(), $cells) {
            ($crate::quota::Plan::Gcra($bank), $crate::algorithm::Cells::Gcra($state)) => $body,
            ($crate::quota::Plan::FixedWindow($bank), $crate::algorithm::Cells::FixedWindow($state)) => $body,
            ($crate::quota::Plan::SlidingWindow($bank), $crate::algorithm::Cells::SlidingWindow($state)) => $body,
            ($crate::quota::Plan::SlidingLog($bank), $crate::algorithm::Cells::SlidingLog($state)) => $body,
            _ => $fresh,
        }
    };
}
pub(crate) use with_cells;

impl KeyState {
    /// Makes `quota`'s cells where there are none yet, or only those of another algorithm, which a store that mixes
    /// states up may hand in.
    pub(crate) fn prepare(&mut self, quota: &Quota) {
        if !with_cells!(quota, &self.cells, |_bank, _state| true, false) {
            self.cells = Cells::new(quota);
        }
    }

    /// Does what `adjust` says with `cost` units at `now`, and answers.
    pub fn adjust(&mut self, quota: &Quota, now: Timestamp, cost: u64, adjust: Adjust) -> Decision {
        match adjust {
            Adjust::Reserve => return self.reserve(quota, now, cost),
            Adjust::Charge => self.charge(quota, now, cost),
            Adjust::Refund { taken } => self.refund(quota, now, cost, taken),
            Adjust::Restamp { taken } => {
                self.refund(quota, now, cost, taken);
                self.charge(quota, now, cost);
            }
            Adjust::Block { until } => self.block(until),
            Adjust::BlockAtLeast { until } => self.blocked_until = self.blocked_until.max(until.as_micros()),
        }
        decide(&mut [View { quota, state: self, cost: 0 }], now, Mode::Peek)
    }

    /// Takes `cost` units as of the earliest instant at which they fit, where the state can lie that far ahead.
    fn reserve(&mut self, quota: &Quota, now: Timestamp, cost: u64) -> Decision {
        let at = when(self, quota, now, cost, Duration::ZERO, quota.reach());
        let first = decide(&mut [View { quota, state: self, cost }], now, Mode::Take);
        let is_far = at.saturating_since(now) > quota.reach() || self.blocked_until > now.as_micros();
        if first.allowed() || is_far || !decide(&mut [View { quota, state: self, cost }], at, Mode::Peek).allowed() {
            return first;
        }
        let (now, instant) = (now.as_micros(), at.as_micros());
        if !with_cells!(quota, &self.cells, |bank, state| bank.has_room_ahead(state, now, cost), false) {
            return first;
        }
        with_cells!(quota, &mut self.cells, |bank, state| bank.take_ahead(state, now, instant, cost), ());
        if let Plan::Gcra(buckets) = quota.plan()
            && let [bucket] = &buckets[..]
        {
            bucket.take(&mut self.reserved, instant, cost);
        }
        decide(&mut [View { quota, state: self, cost: 0 }], at, Mode::Peek)
    }

    /// Takes `cost` units without asking; see [`Mode`](super::Mode) for what asks.
    ///
    /// A key can be left at most one full quota in debt.
    pub fn charge(&mut self, quota: &Quota, now: Timestamp, cost: u64) {
        self.prepare(quota);
        let now = now.as_micros();
        with_cells!(quota, &mut self.cells, |bank, state| bank.take(state, now, cost), ());
    }

    /// Returns what a take of `cost` units at `taken` still holds: a bucket has drained part of it since, a window or
    /// an entry may have passed. It never mints. Of a take from before a change of the quota nothing comes back.
    pub fn refund(&mut self, quota: &Quota, now: Timestamp, cost: u64, taken: Timestamp) {
        self.prepare(quota);
        let (now, taken) = (now.as_micros(), taken.as_micros());
        if taken < self.changed_at {
            return;
        }
        let before = self.bucket().map_or(0, |empty_at| *empty_at);
        with_cells!(quota, &mut self.cells, |bank, state| bank.refund(state, now, cost, taken), ());
        let least = self.reserved.min(before);
        if let Some(empty_at) = self.bucket() {
            *empty_at = (*empty_at).max(least);
        }
    }

    /// Pulls back what lies too far ahead of `now`, as a take does.
    pub(crate) fn pull_back(&mut self, quota: &Quota, now: Timestamp) {
        with_cells!(quota, &mut self.cells, |bank, state| bank.pull_back(state, now.as_micros()), ());
    }

    /// The state of a single bucket, if that is what it is.
    fn bucket(&mut self) -> Option<&mut u64> {
        match &mut self.cells {
            Cells::Gcra(cells) => match cells.as_mut_slice() {
                [empty_at] => Some(empty_at),
                _ => None,
            },
            _ => None,
        }
    }

    /// Denies every take of a cost above 0 until `until`; an instant in the past ends a block.
    pub fn block(&mut self, until: Timestamp) {
        self.blocked_until = until.as_micros();
    }

    /// Whole units left at `now`, the least over the rates; 0 while the key is blocked.
    pub(crate) fn remaining(&self, quota: &Quota, now: Timestamp) -> u64 {
        let at = now.as_micros();
        if self.blocked_until > at {
            return 0;
        }
        with_cells!(
            quota,
            &self.cells,
            |bank, state| (0..bank.len()).map(|i| bank.level(i, state, at).remaining).min().unwrap_or(0),
            quota.capacity()
        )
    }

    /// Whether nothing was ever written: a key never seen.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.blocked_until == 0 && matches!(self.cells, Cells::Fresh)
    }

    /// Whether forgetting the key would change nothing, unless the clock steps back: every unit is back and no block
    /// holds.
    #[must_use]
    pub fn is_idle(&self, quota: &Quota, now: Timestamp) -> bool {
        let now = now.as_micros();
        self.blocked_until <= now
            && with_cells!(
                quota,
                &self.cells,
                |bank, state| (0..bank.len()).all(|i| bank.level(i, state, now).reset_after_us == 0),
                matches!(self.cells, Cells::Fresh)
            )
    }

    /// The instant from which the key [is idle](Self::is_idle) if nothing more is taken, or a later one. In microseconds:
    /// it may lie after the end of time.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn idle_at_us(&self, quota: &Quota, now: Timestamp) -> u64 {
        let at = now.as_micros();
        let reset_us = with_cells!(
            quota,
            &self.cells,
            |bank, state| (0..bank.len()).map(|i| bank.level(i, state, at).reset_after_us).max().unwrap_or(0),
            0
        );
        at.saturating_add(reset_us).max(self.blocked_until)
    }

    /// The state under `new` of a key that was kept under `old`, changed at `now`: each new rate is charged with the
    /// units in use under the old rate of the same period, else with the most in use under any, at most to full.
    #[must_use]
    pub fn carried_over(&self, old: &Quota, new: &Quota, now: Timestamp) -> Self {
        let at = now.as_micros();
        let used: SmallVec<[u64; 4]> = with_cells!(
            old,
            &self.cells,
            |bank, state| (0..bank.len()).map(|i| bank.in_use(i, state, at)).collect(),
            SmallVec::new()
        );
        self.carried_over_with(&used, old, new, now)
    }

    /// [`carried_over`](Self::carried_over) where each old rate had so many units in use, whatever the cells here say.
    pub(crate) fn carried_over_with(&self, used: &[u64], old: &Quota, new: &Quota, now: Timestamp) -> Self {
        let at = now.as_micros();
        let most = used.iter().copied().max().unwrap_or(0);
        let carried = |rate: &Rate| {
            let same = old.rates().iter().position(|old| old.period_us() == rate.period_us());
            same.and_then(|i| used.get(i).copied()).unwrap_or(most)
        };
        let mut cells = Cells::new(new);
        with_cells!(
            new,
            &mut cells,
            |bank, state| for (i, rate) in new.rates().iter().enumerate() {
                let units = carried(rate).min(rate.capacity());
                if units > 0 {
                    bank.take_of(i, state, at, units);
                }
            },
            ()
        );
        // A take of the very instant is still held whole, unless there was no room for all: then none is admitted, either.
        let had_room = new.rates().iter().all(|rate| carried(rate) <= rate.capacity());
        let changed_at = if self.is_untouched() { 0 } else { at + u64::from(!had_room) };
        Self { blocked_until: self.blocked_until, reserved: 0, changed_at, cells }
    }
}

impl Cells {
    fn new(quota: &Quota) -> Self {
        match quota.plan() {
            Plan::Gcra(bank) => Self::Gcra(bank.fresh()),
            Plan::FixedWindow(bank) => Self::FixedWindow(bank.fresh()),
            Plan::SlidingWindow(bank) => Self::SlidingWindow(bank.fresh()),
            Plan::SlidingLog(bank) => Self::SlidingLog(bank.fresh()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn remaining(state: &mut KeyState, quota: &Quota, now: u64) -> u64 {
        decide(&mut [View { quota, state, cost: 0 }], at(now), Mode::Peek).remaining()
    }

    #[test]
    fn what_was_in_use_stays_in_use_when_the_quota_changes() {
        let old: Quota = "fixed_window 10/min, 100/h".parse().unwrap();
        let mut state = KeyState::default();
        state.charge(&old, at(1_000_000), 4);
        for (new, left) in [
            ("fixed_window 6/min", 2),          // 4 under the rate of the same period
            ("sliding_log 20/s", 16),           // the most in use under any
            ("3/min", 0),                       // at most to full
            ("sliding_window 10/min, 50/h", 6), // each from its own
        ] {
            let new: Quota = new.parse().unwrap();
            let mut carried = state.carried_over(&old, &new, at(1_000_001));
            assert_eq!(remaining(&mut carried, &new, 1_000_001), left, "{new}");
        }
    }

    #[test]
    fn nothing_comes_back_of_a_take_from_before_a_change_of_the_quota() {
        let quotas =
            ["10/s", "fixed_window 10/s", "sliding_window 10/s", "sliding_log 10/s", "fixed_window 10/min, 11/h"];
        let quotas = quotas.map(|text| text.parse::<Quota>().unwrap());
        for (old, new) in quotas.iter().flat_map(|old| quotas.iter().map(move |new| (old, new))) {
            let mut state = KeyState::default();
            state.charge(old, at(1_000_000), 9);
            let mut state = state.carried_over(old, new, at(1_500_000));
            state.charge(new, at(1_500_001), 1);
            let before = remaining(&mut state, new, 1_500_001);
            state.refund(new, at(1_500_001), 9, at(1_000_000));
            assert_eq!(remaining(&mut state, new, 1_500_001), before, "{old} to {new}");
            state.refund(new, at(1_500_001), 1, at(1_500_001)); // taken after the change: all of it
            assert_eq!(remaining(&mut state, new, 1_500_001), before + 1, "{old} to {new}");
        }
    }

    #[test]
    fn a_key_is_idle_when_all_is_back_and_no_block_holds() {
        for quota in ["5/s", "fixed_window 5/s", "sliding_window 5/s", "sliding_log 5/s"] {
            let quota: Quota = quota.parse().unwrap();
            let mut state = KeyState::default();
            assert!(state.is_idle(&quota, at(0)));
            state.charge(&quota, at(1_500_000), 1);
            assert!(!state.is_idle(&quota, at(1_500_001)));
            assert!(state.is_idle(&quota, at(4_000_000)), "{quota}");
            state.block(at(5_000_000));
            assert!(!state.is_idle(&quota, at(4_000_000)));
        }
    }
}

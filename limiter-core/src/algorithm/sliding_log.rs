//! Every unit's own instant: at most `limit` units in every closed window `[t − period, t]`.
//!
//! With a resolution of n, units are stamped with the end of their cell of `period / n`, so that a key holds about n
//! cells whatever its limit; a unit returns up to one cell late, and never early.
//!
//! All rates of a quota share one log of stamps, each with its own place where its window begins. A decision looks at
//! that place and at the stamp of the unit that must leave first: a few steps a rate, whatever the limit. Rates whose
//! logs differ (different cells, a debt that only some can hold, a clock that stepped back far) keep one each.

#[cfg(feature = "sqlite")]
mod kept;
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) mod runs;

use super::{Bank, Level};
use crate::Rate;
use smallvec::SmallVec;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug)]
pub(crate) struct SlidingLog {
    limit: u64,
    period: u64,
    /// Stamps are multiples of this; 1 where the log is exact.
    cell: u64,
}

/// What a key keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Logs {
    /// One log for all rates, and for each the number of its first run.
    Shared { log: Log, first: SmallVec<[u64; 4]> },
    /// One log a rate.
    Apart(SmallVec<[Log; 1]>),
}

/// Runs of units by stamp, the oldest first, with running totals: the n-th oldest unit is found by its total. It grows
/// only as it fills: a run a take and stamp.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Log {
    pub(crate) runs: VecDeque<Run>,
    /// How many runs were before the first one here: what runs are numbered by.
    pub(crate) gone: u64,
    /// The running total before the first run. Totals wrap; only their differences count.
    pub(crate) base: u64,
    touched: Touched,
}

/// The number of the oldest run that was written since a store last kept the log in parts; no part of its value.
#[derive(Clone, Copy, Default, Debug)]
struct Touched(u64);

impl PartialEq for Touched {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Touched {}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    pub(crate) stamp: u64,
    /// Units up to and with this run.
    pub(crate) total: u64,
}

/// A rate's window as it stands at an instant.
#[derive(Clone, Copy)]
struct View {
    /// What a take at this instant is stamped with; what is stamped later counts as stamped here.
    stamp: u64,
    /// The number of the first run inside.
    first: u64,
    /// The running total before that run.
    base: u64,
    /// Units inside.
    inside: u64,
    /// Whether stamps lie further ahead than a period.
    ahead: bool,
}

impl SlidingLog {
    pub(crate) fn new(rate: &Rate) -> Self {
        let cell = rate.cells().map_or(1, |cells| rate.period_us().div_ceil(u64::from(cells)));
        Self { limit: rate.limit(), period: rate.period_us(), cell }
    }

    /// The window over the runs from number `first` on.
    fn view(&self, log: &Log, first: u64, now: u64) -> View {
        let own = self.stamp(now);
        // What this rate has forgotten is not its newest, though another may still have it.
        let has_runs = log.place(first) < log.runs.len();
        let newest = log.runs.back().filter(|_| has_runs).map_or(0, |run| run.stamp);
        let stamp = own.max(newest.min(own + self.period));
        let first = log.first_since(now.saturating_sub(self.period), first);
        let base = log.total_before(first);
        View { stamp, first, base, inside: log.total().wrapping_sub(base), ahead: newest > stamp }
    }

    /// The end of the cell that `at` lies in.
    fn stamp(&self, at: u64) -> u64 {
        if self.cell == 1 { at } else { at.div_ceil(self.cell) * self.cell }
    }

    /// The time from `now` until what is stamped `stamp` has left the closed window.
    fn leaves_after(&self, stamp: u64, now: u64) -> u64 {
        stamp + self.period + 1 - now
    }

    /// Units that can be taken without asking, at most `cost`: a log holds up to twice the limit.
    fn room(&self, view: &View, cost: u64) -> u64 {
        cost.min((2 * self.limit).saturating_sub(view.inside))
    }

    fn take(&self, log: &mut Log, now: u64, cost: u64) {
        let view = self.view(log, log.gone, now);
        log.settle(&view);
        log.push(view.stamp, self.room(&view, cost));
    }

    fn refund(&self, log: &mut Log, now: u64, cost: u64, taken: u64) {
        let view = self.view(log, log.gone, now);
        log.settle(&view);
        log.refund(self.stamp(taken), cost);
    }
}

impl Bank for [SlidingLog] {
    type State = Logs;

    fn fresh(&self) -> Logs {
        if self.windows(2).all(|pair| pair[0].cell == pair[1].cell) {
            Logs::Shared { log: Log::default(), first: SmallVec::from_elem(0, self.len()) }
        } else {
            Logs::Apart(self.iter().map(|_| Log::default()).collect())
        }
    }

    fn wait(&self, i: usize, logs: &Logs, now: u64, cost: u64) -> u64 {
        let (log, first) = logs.of(i);
        let view = self[i].view(log, first, now);
        // Units that must leave first. The totals of a damaged file can be any apart.
        let over = view.inside.saturating_add(cost).saturating_sub(self[i].limit);
        if over == 0 { 0 } else { self[i].leaves_after(log.stamp_of(&view, over), now) }
    }

    fn level(&self, i: usize, logs: &Logs, now: u64) -> Level {
        let (log, first) = logs.of(i);
        let view = self[i].view(log, first, now);
        let reset_after_us = match log.runs.back() {
            Some(newest) if view.inside > 0 => self[i].leaves_after(newest.stamp.min(view.stamp), now),
            _ => 0,
        };
        Level { remaining: self[i].limit.saturating_sub(view.inside), reset_after_us }
    }

    fn in_use(&self, i: usize, logs: &Logs, now: u64) -> u64 {
        let (log, first) = logs.of(i);
        self[i].view(log, first, now).inside
    }

    fn take(&self, logs: &mut Logs, now: u64, cost: u64) {
        let shared = logs.settle_shared(self, now, |rate, view| !view.ahead && rate.room(view, cost) == cost);
        match (shared, &mut *logs) {
            (Some(stamp), Logs::Shared { log, .. }) => log.push(stamp, cost),
            _ => self.iter().zip(logs.apart()).for_each(|(rate, log)| rate.take(log, now, cost)),
        }
    }

    /// Beside what counts until then a log holds up to twice the limit: in debt, there is less room than it seems.
    fn has_room_ahead(&self, logs: &Logs, now: u64, cost: u64) -> bool {
        self.iter().enumerate().all(|(i, rate)| {
            let (log, first) = logs.of(i);
            rate.room(&rate.view(log, first, now), cost) == cost
        })
    }

    fn take_ahead(&self, logs: &mut Logs, now: u64, at: u64, cost: u64) {
        for (rate, log) in self.iter().zip(logs.apart()) {
            let view = rate.view(log, log.gone, now); // what counts until then is kept
            log.settle(&view);
            log.push(rate.stamp(at).max(view.stamp), rate.room(&view, cost));
        }
    }

    fn take_of(&self, i: usize, logs: &mut Logs, now: u64, cost: u64) {
        match logs {
            Logs::Shared { log, first } if first.len() == 1 => self[i].take(log, now, cost),
            _ => self[i].take(&mut logs.apart()[i], now, cost),
        }
        logs.forget_gone();
    }

    fn pull_back(&self, logs: &mut Logs, now: u64) {
        for (i, rate) in self.iter().enumerate() {
            let (log, first) = logs.of(i);
            if rate.view(log, first, now).ahead {
                self.take_of(i, logs, now, 0);
            }
        }
    }

    fn refund(&self, logs: &mut Logs, now: u64, cost: u64, taken: u64) {
        let shared = logs.settle_shared(self, now, |_, view| !view.ahead);
        match (shared, &mut *logs, self) {
            (Some(_), Logs::Shared { log, first }, [rate, ..]) => {
                let removed = log.refund(rate.stamp(taken), cost);
                first.iter_mut().filter(|first| removed.is_some_and(|number| **first > number)).for_each(|n| *n -= 1);
            }
            _ => self.iter().zip(logs.apart()).for_each(|(rate, log)| rate.refund(log, now, cost, taken)),
        }
    }
}

impl Logs {
    /// The log of rate `i` and the number of its first run.
    #[inline]
    fn of(&self, i: usize) -> (&Log, u64) {
        match self {
            Self::Shared { log, first } => (log, first[i]),
            Self::Apart(logs) => (&logs[i], logs[i].gone),
        }
    }

    /// Forgets what has left every window, if the log is shared and can stay so: the stamp that a take now has.
    fn settle_shared(
        &mut self,
        rates: &[SlidingLog],
        now: u64,
        can_stay: impl Fn(&SlidingLog, &View) -> bool,
    ) -> Option<u64> {
        let Self::Shared { log, first } = self else { return None };
        let views: SmallVec<[View; 4]> =
            rates.iter().zip(&*first).map(|(rate, &first)| rate.view(log, first, now)).collect();
        let stamp = views.first()?.stamp;
        let stays = |(rate, view)| can_stay(rate, view);
        if !views.iter().all(|view| view.stamp == stamp) || !rates.iter().zip(&views).all(stays) {
            return None;
        }
        // A new unit would join a run that some rate has forgotten, and be forgotten by it too.
        let end = log.gone + log.runs.len() as u64;
        let joins = log.runs.back().is_some_and(|newest| newest.stamp >= stamp);
        if joins && views.iter().any(|view| view.first == end) {
            return None;
        }
        first.iter_mut().zip(&views).for_each(|(first, view)| *first = view.first);
        log.forget_before(views.iter().map(|view| view.first).min()?);
        Some(stamp)
    }

    /// A log a rate from now on.
    fn apart(&mut self) -> &mut [Log] {
        if let Self::Shared { log, first } = self {
            let from = |&first: &u64| {
                let mut own = log.clone();
                own.forget_before(first);
                own.touch(0);
                own
            };
            *self = Self::Apart(first.iter().map(from).collect());
        }
        match self {
            Self::Apart(logs) => logs,
            Self::Shared { .. } => &mut [],
        }
    }

    /// Lets the only rate of a shared log follow what its log forgot.
    fn forget_gone(&mut self) {
        if let Self::Shared { log, first } = self {
            first.iter_mut().for_each(|first| *first = (*first).max(log.gone));
        }
    }
}

#[cfg(feature = "shared")]
impl Logs {
    /// Keeps at most `most` runs a log: units join later ones, and so return late, never early.
    pub(crate) fn coarsen(&mut self, most: usize) {
        for log in self.apart() {
            let (runs, each) = (log.runs.len(), log.runs.len().div_ceil(most.max(1)));
            let mut nth = 0;
            log.runs.retain(|_| {
                nth += 1;
                nth % each == 0 || nth == runs
            });
        }
    }
}

impl Log {
    /// A log whose runs are numbered from 0.
    #[cfg(feature = "shared")]
    pub(crate) fn of(base: u64, runs: VecDeque<Run>) -> Self {
        Self { runs, gone: 0, base, touched: Touched::default() }
    }

    fn total(&self) -> u64 {
        self.runs.back().map_or(self.base, |run| run.total)
    }

    /// The place here of the run of this number; the first one's where it is gone.
    fn place(&self, number: u64) -> usize {
        usize::try_from(number.saturating_sub(self.gone)).unwrap_or(usize::MAX)
    }

    fn total_before(&self, number: u64) -> u64 {
        self.place(number).checked_sub(1).and_then(|i| self.runs.get(i)).map_or(self.base, |run| run.total)
    }

    /// The number of the first run at or after `from` that is stamped `opens` or later, found in steps that double.
    fn first_since(&self, opens: u64, from: u64) -> u64 {
        let is_old = |i: usize| self.runs.get(i).is_some_and(|run| run.stamp < opens);
        let (mut low, mut step) = (self.place(from), 1);
        while is_old(low + step - 1) {
            low += step;
            step *= 2;
        }
        // All before `low` are old, and the one at `low + step - 1` is not, if it is there at all.
        let mut high = low + step - 1;
        while low < high {
            let middle = low.midpoint(high);
            if is_old(middle) { low = middle + 1 } else { high = middle }
        }
        self.gone + low as u64
    }

    /// The stamp of the `nth` oldest unit of a view, counted from 1.
    fn stamp_of(&self, view: &View, nth: u64) -> u64 {
        let falls_short = |run: &Run| run.total.wrapping_sub(view.base) < nth;
        let first = self.place(view.first);
        // The oldest run nearly always decides, for costs of 1.
        let index = match self.runs.get(first) {
            Some(run) if falls_short(run) => {
                // Totals before the window are behind its base and wrap to large numbers: leave them out.
                let (mut low, mut high) = (first + 1, self.runs.len());
                while low < high {
                    let middle = low.midpoint(high);
                    if self.runs.get(middle).is_some_and(falls_short) { low = middle + 1 } else { high = middle }
                }
                low
            }
            _ => first,
        };
        self.runs.get(index).map_or(view.stamp, |run| run.stamp.min(view.stamp))
    }

    fn forget_before(&mut self, number: u64) {
        let place = self.place(number).min(self.runs.len());
        self.base = self.total_before(self.gone + place as u64);
        self.gone += place as u64;
        self.runs.drain(..place);
    }

    /// Forgets what has left the window, and moves what is stamped too far ahead to the edge.
    fn settle(&mut self, view: &View) {
        self.forget_before(view.first);
        if view.ahead {
            let total = self.total();
            let keep = self.runs.partition_point(|run| run.stamp < view.stamp);
            self.runs.truncate(keep);
            self.touch(keep);
            self.runs.push_back(Run { stamp: view.stamp, total });
        }
    }

    fn push(&mut self, stamp: u64, units: u64) {
        let total = self.total().wrapping_add(units);
        self.touch(self.runs.len().saturating_sub(1));
        match self.runs.back_mut() {
            Some(run) if run.stamp == stamp => run.total = total,
            _ if units > 0 => self.runs.push_back(Run { stamp, total }),
            _ => {}
        }
    }

    /// Notes that the run at this place, and maybe those behind it, are written.
    #[inline]
    fn touch(&mut self, place: usize) {
        self.touched.0 = self.touched.0.min(self.gone + place as u64);
    }

    /// Takes back up to `cost` units of this stamp; the number of the run if that leaves it empty.
    fn refund(&mut self, stamp: u64, cost: u64) -> Option<u64> {
        let index = self.runs.partition_point(|run| run.stamp < stamp);
        let number = self.gone + index as u64;
        let held = self.runs.get(index).filter(|run| run.stamp == stamp)?.total.wrapping_sub(self.total_before(number));
        let gone = cost.min(held);
        self.touch(index);
        self.runs.range_mut(index..).for_each(|run| run.total = run.total.wrapping_sub(gone));
        (gone == held).then(|| {
            self.runs.remove(index);
            number
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn bank<const N: usize>(rates: [(u64, u64); N]) -> [SlidingLog; N] {
        rates.map(|(limit, period)| SlidingLog::new(&Rate::new(limit, Duration::from_micros(period)).unwrap()))
    }

    fn bank_of(limit: u64, period: u64) -> ([SlidingLog; 1], Logs) {
        let bank = bank([(limit, period)]);
        let logs = bank.fresh();
        (bank, logs)
    }

    fn runs(logs: &Logs) -> usize {
        match logs {
            Logs::Shared { log, .. } => log.runs.len(),
            Logs::Apart(logs) => logs.iter().map(|log| log.runs.len()).sum(),
        }
    }

    #[test]
    fn a_damaged_log_is_a_window_in_debt() {
        let bank = bank([(3, 10)]);
        let runs = [Run { stamp: 99, total: 7 }, Run { stamp: 100, total: 0 }];
        let log = Log { runs: runs.into(), gone: 0, base: 1, touched: Touched::default() };
        let mut logs = Logs::Apart([log].into_iter().collect());
        assert!(bank.wait(0, &logs, 105, 3) > 0);
        assert_eq!(bank.level(0, &logs, 105).remaining, 0);
        bank.take(&mut logs, 105, 3);
        assert!(bank.wait(0, &logs, 105, 1) > 0);
        assert_eq!(bank.wait(0, &logs, 111, 3), 0, "and free once it has left");
    }

    #[test]
    fn both_ends_of_the_window_count() {
        let (bank, mut logs) = bank_of(2, 100);
        bank.take(&mut logs, 1000, 1);
        bank.take(&mut logs, 1050, 1);
        assert_eq!(bank.wait(0, &logs, 1100, 1), 1);
        assert_eq!(bank.wait(0, &logs, 1101, 1), 0);
        assert_eq!(bank.wait(0, &logs, 1060, 2), 91);
    }

    #[test]
    fn the_nth_oldest_unit_is_found_across_runs_of_many() {
        let (bank, mut logs) = bank_of(10, 100);
        for (at, cost) in [(0, 3), (10, 4), (20, 3)] {
            bank.take(&mut logs, at, cost);
        }
        let waits: Vec<u64> = (1..=10).map(|cost| bank.wait(0, &logs, 20, cost)).collect();
        assert_eq!(waits, [81, 81, 81, 91, 91, 91, 91, 101, 101, 101]);
    }

    #[test]
    fn a_refund_takes_back_its_own_stamp_only() {
        let (bank, mut logs) = bank_of(10, 100);
        bank.take(&mut logs, 1000, 2);
        bank.take(&mut logs, 1010, 3);
        bank.refund(&mut logs, 1020, 9, 1000);
        assert_eq!(bank.level(0, &logs, 1020).remaining, 7);
        bank.refund(&mut logs, 1020, 1, 1000); // nothing is left of it
        bank.refund(&mut logs, 1020, 1, 1010);
        assert_eq!(bank.level(0, &logs, 1020).remaining, 8);
        assert_eq!(bank.level(0, &logs, 1111).remaining, 10);
    }

    #[test]
    fn a_resolution_bounds_the_runs_and_never_returns_a_unit_early() {
        let rate = Rate::new(1000, Duration::from_micros(1000)).unwrap().resolution(10).unwrap();
        let bank = [SlidingLog::new(&rate)];
        let mut logs = bank.fresh();
        for now in 0..5000 {
            if bank.wait(0, &logs, now, 1) == 0 {
                bank.take(&mut logs, now, 1);
            }
            assert!(runs(&logs) <= 12);
        }
    }

    #[test]
    fn several_rates_share_one_log_and_part_when_they_must() {
        let bank = bank([(3, 10), (20, 100), (50, 1000)]);
        let mut logs = bank.fresh();
        for now in (0..2000).step_by(5) {
            if (0..3).all(|i| bank.wait(i, &logs, now, 1) == 0) {
                bank.take(&mut logs, now, 1);
            }
            assert!(matches!(logs, Logs::Shared { .. }) && runs(&logs) <= 50);
        }
        let before: Vec<u64> = (0..3).map(|i| bank.in_use(i, &logs, 2000)).collect();
        bank.take(&mut logs, 2000, 7); // more than the first rate holds, even in debt
        assert!(matches!(logs, Logs::Apart(_)));
        let after: Vec<u64> = (0..3).map(|i| bank.in_use(i, &logs, 2000)).collect();
        assert_eq!(after, [6, before[1] + 7, before[2] + 7]);
    }

    #[cfg(feature = "shared")]
    #[test]
    fn a_coarser_log_holds_the_same_units_and_returns_them_no_earlier() {
        let bank = bank([(40, 100), (60, 1000)]);
        let mut exact = bank.fresh();
        for now in 1000..1030 {
            bank.take(&mut exact, now, 1);
        }
        for most in [1, 4, 7, 29, 30] {
            let mut coarse = exact.clone();
            coarse.coarsen(most);
            assert!(runs(&coarse) <= 2 * most);
            for i in 0..2 {
                assert_eq!(bank.in_use(i, &coarse, 1030), 30);
                for now in 1030..2100 {
                    assert!(bank.in_use(i, &coarse, now) >= bank.in_use(i, &exact, now));
                }
            }
            assert_eq!(bank.in_use(1, &coarse, 2100), 0);
        }
    }

    #[test]
    fn the_first_run_inside_is_found_from_any_start() {
        let mut log = Log::default();
        (0..100).for_each(|i| log.push(10 * i, 1));
        log.forget_before(5);
        for from in 0..100 {
            for opens in [0, 49, 50, 51, 333, 989, 990, 991, 5000] {
                let expected = (from.max(5)..100).find(|&n| 10 * n >= opens).unwrap_or(100);
                assert_eq!(log.first_since(opens, from), expected, "from {from}, since {opens}");
            }
        }
    }
}

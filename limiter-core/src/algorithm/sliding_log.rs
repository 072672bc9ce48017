//! Every unit's own instant: at most `limit` units in every closed window `[t − period, t]`.
//!
//! With a resolution of n, units are stamped with the end of their cell of `period / n`, so that a key holds about n
//! cells whatever its limit; a unit returns up to one cell late, and never early.

use super::{Level, Meter};
use crate::Rate;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug)]
pub(crate) struct SlidingLog {
    limit: u64,
    period: u64,
    /// Stamps are multiples of this; 1 where the log is exact.
    cell: u64,
}

/// Runs of units by stamp, the oldest first, with running totals: the n-th oldest unit is found by its total. It grows
/// only as it fills: a run a take and stamp.
#[derive(Clone, Default, Debug)]
pub(crate) struct Log {
    runs: VecDeque<Run>,
    /// The running total before the first run. Totals wrap; only their differences count.
    base: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    stamp: u64,
    /// Units up to and with this run, since the key was first seen.
    total: u64,
}

/// A log as it stands at an instant.
struct View {
    /// What a take at this instant is stamped with; what is stamped later counts as stamped here.
    stamp: u64,
    /// The first run inside the window.
    first: usize,
    /// The running total before that run.
    base: u64,
    /// Units inside the window.
    inside: u64,
    ahead: bool,
}

impl SlidingLog {
    pub(crate) fn new(rate: &Rate) -> Self {
        let cell = rate.cells().map_or(1, |cells| rate.period_us().div_ceil(u64::from(cells)));
        Self { limit: rate.limit(), period: rate.period_us(), cell }
    }

    fn view(&self, log: &Log, now: u64) -> View {
        let own = self.stamp(now);
        let newest = log.runs.back().map_or(0, |run| run.stamp);
        let stamp = own.max(newest.min(own + self.period));
        let opens = now.saturating_sub(self.period);
        let first = match log.runs.front() {
            Some(run) if run.stamp < opens => log.runs.partition_point(|run| run.stamp < opens),
            _ => 0,
        };
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
}

impl Log {
    fn total(&self) -> u64 {
        self.runs.back().map_or(self.base, |run| run.total)
    }

    fn total_before(&self, index: usize) -> u64 {
        index.checked_sub(1).and_then(|i| self.runs.get(i)).map_or(self.base, |run| run.total)
    }

    /// The stamp of the `nth` oldest unit of a view, counted from 1.
    fn stamp_of(&self, view: &View, nth: u64) -> u64 {
        let reaches = |index: usize| self.runs.get(index).is_some_and(|run| run.total.wrapping_sub(view.base) >= nth);
        // The oldest run nearly always decides, for costs of 1.
        let index = if reaches(view.first) {
            view.first
        } else {
            self.runs.partition_point(|run| {
                let since = run.total.wrapping_sub(self.base);
                since < view.base.wrapping_sub(self.base).saturating_add(nth)
            })
        };
        self.runs.get(index).map_or(view.stamp, |run| run.stamp.min(view.stamp))
    }

    /// Forgets what has left the window, and moves what is stamped too far ahead to the edge.
    fn settle(&mut self, view: &View) {
        self.runs.drain(..view.first);
        self.base = view.base;
        if view.ahead {
            let total = self.total();
            let keep = self.runs.partition_point(|run| run.stamp < view.stamp);
            self.runs.truncate(keep);
            self.runs.push_back(Run { stamp: view.stamp, total });
        }
    }

    fn push(&mut self, stamp: u64, units: u64) {
        let total = self.total().wrapping_add(units);
        match self.runs.back_mut() {
            Some(run) if run.stamp == stamp => run.total = total,
            _ => self.runs.push_back(Run { stamp, total }),
        }
    }
}

impl Meter for SlidingLog {
    type State = Log;

    fn capacity(&self) -> u64 {
        self.limit
    }

    fn wait(&self, log: &Log, now: u64, cost: u64) -> u64 {
        let view = self.view(log, now);
        let over = (view.inside + cost).saturating_sub(self.limit); // units that must leave first
        if over == 0 { 0 } else { self.leaves_after(log.stamp_of(&view, over), now) }
    }

    fn level(&self, log: &Log, now: u64) -> Level {
        let view = self.view(log, now);
        let reset_after_us = match log.runs.back() {
            Some(newest) if view.inside > 0 => self.leaves_after(newest.stamp.min(view.stamp), now),
            _ => 0,
        };
        Level { remaining: self.limit.saturating_sub(view.inside), reset_after_us }
    }

    fn is_ahead(&self, log: &Log, now: u64) -> bool {
        self.view(log, now).ahead
    }

    fn take(&self, log: &mut Log, now: u64, cost: u64) {
        let view = self.view(log, now);
        log.settle(&view);
        let units = cost.min((2 * self.limit).saturating_sub(view.inside));
        if units > 0 {
            log.push(view.stamp, units);
        }
    }

    fn refund(&self, log: &mut Log, now: u64, cost: u64, taken: u64) {
        let view = self.view(log, now);
        log.settle(&view);
        let stamp = self.stamp(taken);
        let index = log.runs.partition_point(|run| run.stamp < stamp);
        let before = log.total_before(index);
        let Some(run) = log.runs.get(index).filter(|run| run.stamp == stamp) else {
            return;
        };
        let held = run.total.wrapping_sub(before);
        let gone = cost.min(held);
        for run in log.runs.range_mut(index..) {
            run.total = run.total.wrapping_sub(gone);
        }
        if gone == held {
            log.runs.remove(index);
        }
    }

    fn in_use(&self, log: &Log, now: u64) -> u64 {
        self.view(log, now).inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn log_of(limit: u64, period_us: u64) -> SlidingLog {
        SlidingLog::new(&Rate::new(limit, Duration::from_micros(period_us)).unwrap())
    }

    #[test]
    fn both_ends_of_the_window_count() {
        let (meter, mut log) = (log_of(2, 100), Log::default());
        meter.take(&mut log, 1000, 1);
        meter.take(&mut log, 1050, 1);
        assert_eq!(meter.wait(&log, 1100, 1), 1);
        assert_eq!(meter.wait(&log, 1101, 1), 0);
        assert_eq!(meter.wait(&log, 1060, 2), 91);
    }

    #[test]
    fn the_nth_oldest_unit_is_found_across_runs_of_many() {
        let (meter, mut log) = (log_of(10, 100), Log::default());
        for (at, cost) in [(0, 3), (10, 4), (20, 3)] {
            meter.take(&mut log, at, cost);
        }
        let waits: Vec<u64> = (1..=10).map(|cost| meter.wait(&log, 20, cost)).collect();
        assert_eq!(waits, [81, 81, 81, 91, 91, 91, 91, 101, 101, 101]);
    }

    #[test]
    fn a_refund_takes_back_its_own_stamp_only() {
        let (meter, mut log) = (log_of(10, 100), Log::default());
        meter.take(&mut log, 1000, 2);
        meter.take(&mut log, 1010, 3);
        meter.refund(&mut log, 1020, 9, 1000);
        assert_eq!(meter.level(&log, 1020).remaining, 7);
        meter.refund(&mut log, 1020, 1, 1000); // nothing is left of it
        meter.refund(&mut log, 1020, 1, 1010);
        assert_eq!(meter.level(&log, 1020).remaining, 8);
        assert_eq!(meter.level(&log, 1111).remaining, 10);
    }

    #[test]
    fn a_resolution_bounds_the_runs_and_never_returns_a_unit_early() {
        let rate = Rate::new(1000, Duration::from_micros(1000)).unwrap().resolution(10).unwrap();
        let (meter, mut log) = (SlidingLog::new(&rate), Log::default());
        for now in 0..5000 {
            if meter.wait(&log, now, 1) == 0 {
                meter.take(&mut log, now, 1);
            }
            assert!(log.runs.len() <= 12);
        }
    }
}

//! Logs as a store keeps them: in parts, so that a take writes only the runs that changed.

use super::{Log, Logs, Run, Touched};
use smallvec::{SmallVec, smallvec};
use std::ops::Range;

impl Logs {
    /// The logs there are: one, or one a rate.
    pub(crate) fn each(&self) -> &[Log] {
        match self {
            Self::Shared { log, .. } => std::slice::from_ref(log),
            Self::Apart(logs) => logs,
        }
    }

    pub(crate) fn into_each(self) -> SmallVec<[Log; 1]> {
        match self {
            Self::Shared { log, .. } => smallvec![log],
            Self::Apart(logs) => logs,
        }
    }

    pub(crate) fn each_mut(&mut self) -> &mut [Log] {
        match self {
            Self::Shared { log, .. } => std::slice::from_mut(log),
            Self::Apart(logs) => logs,
        }
    }
}

impl Log {
    /// A log of nothing but what a store kept: runs of so many units by stamp, the first of which has this number.
    pub(crate) fn from_kept(number: u64, runs: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut log = Self { gone: number, ..Self::default() };
        log.put_from(number, runs);
        log.set_kept();
        log
    }

    /// Puts these in place of the runs from `number` on.
    pub(crate) fn put_from(&mut self, number: u64, runs: impl IntoIterator<Item = (u64, u64)>) {
        self.runs.truncate(self.place(number));
        let mut total = self.total();
        self.runs.extend(runs.into_iter().map(|(stamp, units)| {
            total = total.wrapping_add(units);
            Run { stamp, total }
        }));
    }

    /// The runs of these numbers, by stamp and units.
    pub(crate) fn runs_of(&self, numbers: Range<u64>) -> impl Iterator<Item = (u64, u64)> {
        let places = self.place(numbers.start).min(self.runs.len())..self.place(numbers.end).min(self.runs.len());
        let mut before = self.total_before(numbers.start);
        self.runs.range(places).map(move |run| {
            let units = run.total.wrapping_sub(before);
            before = run.total;
            (run.stamp, units)
        })
    }

    /// The numbers of its runs.
    pub(crate) fn numbers(&self) -> Range<u64> {
        self.gone..self.gone + self.runs.len() as u64
    }

    /// The number of the oldest run that was written since the log was last kept; [`u64::MAX`] where none was.
    pub(crate) fn touched(&self) -> u64 {
        self.touched.0
    }

    /// Notes that a store has all of it.
    pub(crate) fn set_kept(&mut self) {
        self.touched = Touched(u64::MAX);
    }

    /// Forgets the runs before `number`.
    pub(crate) fn drop_before(&mut self, number: u64) {
        self.forget_before(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Quota, Timestamp,
        algorithm::{Cells, KeyState},
    };

    fn log_of(state: &mut KeyState) -> &mut Log {
        match &mut state.cells {
            Cells::SlidingLog(logs) => &mut logs.each_mut()[0],
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_log_knows_the_oldest_run_that_changed_since_it_was_kept() {
        let (quota, at): (Quota, _) = ("sliding_log 100/s".parse().unwrap(), Timestamp::from_micros);
        let mut state = KeyState::default();
        (0..10).for_each(|i| state.charge(&quota, at(1_000_000 + 10 * i), 2));
        assert_eq!((log_of(&mut state).numbers(), log_of(&mut state).touched()), (0..10, 0));
        for (change, oldest) in [
            (None, u64::MAX),
            (Some((1_000_090, 0)), 9),         // joins the last run
            (Some((1_000_200, 0)), 9),         // one of its own
            (Some((1_000_200, 1_000_030)), 3), // a refund of half a run
        ] {
            log_of(&mut state).set_kept();
            match change {
                Some((now, 0)) => state.charge(&quota, at(now), 1),
                Some((now, taken)) => state.refund(&quota, at(now), 1, at(taken)),
                None => {}
            }
            assert_eq!(log_of(&mut state).touched(), oldest);
        }
    }

    #[test]
    fn a_log_put_together_from_its_parts_is_the_same_log() {
        let whole = Log::from_kept(7, (0..20).map(|i| (100 + i, i + 1)));
        let mut parts = Log::from_kept(0, (0..12).map(|i| (93 + i, 1)));
        parts.drop_before(7);
        parts.put_from(7, whole.runs_of(7..10));
        parts.put_from(10, whole.runs_of(10..u64::MAX));
        assert_eq!(parts.numbers(), 7..27);
        assert!(parts.runs_of(0..u64::MAX).eq(whole.runs_of(0..u64::MAX)));
        assert_eq!(parts.runs_of(9..11).collect::<Vec<_>>(), [(102, 3), (103, 4)]);
    }
}

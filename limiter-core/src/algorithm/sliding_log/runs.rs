//! Logs as plain runs: what a server keeps of them.

use super::{Log, Logs};

/// Units of one stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Units {
    pub(crate) stamp: u64,
    pub(crate) units: u64,
}

impl Logs {
    /// The runs of the log of rate `i`, the oldest first.
    pub(crate) fn runs(&self, i: usize) -> impl Iterator<Item = Units> {
        let (log, first) = self.of(i);
        let mut before = log.total_before(first);
        log.runs.iter().skip(log.place(first)).map(move |run| {
            let units = run.total.wrapping_sub(std::mem::replace(&mut before, run.total));
            Units { stamp: run.stamp, units }
        })
    }

    /// One log a rate, of these runs.
    pub(crate) fn of_runs(rates: impl IntoIterator<Item = Vec<Units>>) -> Self {
        let log = |runs: Vec<Units>| {
            let mut log = Log::default();
            runs.into_iter().for_each(|run| log.push(run.stamp, run.units));
            log
        };
        Self::Apart(rates.into_iter().map(log).collect())
    }
}

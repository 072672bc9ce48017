//! What one demand's rates say, and the decision that several such reports make.
//!
//! [`decide`](super::decide) works on states it holds. A store whose states lie on a server gets numbers from there, and
//! comes to the same decision here, field by field.

use super::{Bank as _, Level, View, decide, state::with_cells};
use crate::{Decision, Quota, RateState, Timestamp};
use smallvec::SmallVec;

/// One demand's part of a decision. Times are microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The time until the demand's cost fits under every rate, with the key's block; `None` if it never can. As it was
    /// before anything was taken.
    pub(crate) wait: Option<u64>,
    /// What is left of the key's block.
    pub(crate) blocked: u64,
    /// Each rate, after what was taken.
    pub(crate) rates: SmallVec<[RateReport; 4]>,
}

/// One rate's part of a report. Times are microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateReport {
    pub(crate) level: Level,
    /// The time until the demand's cost, at most the capacity, fits under this rate. Counts on a denial only.
    pub(crate) wait: u64,
    /// The time until one unit fits. Counts only where none is left.
    pub(crate) next_unit: u64,
}

impl Report {
    /// The report on a state that is here, which is left as the decision leaves it. `admitted` tells what became of the
    /// take that all demands were part of; `None` of a peek.
    pub(crate) fn on(view: &mut View<'_>, now: Timestamp, admitted: Option<bool>) -> Self {
        let at = now.as_micros();
        let wait = decide::wait(view, at);
        if let Some(admitted) = admitted.filter(|_| view.cost > 0) {
            decide::settle(view, at, admitted);
        }
        let asks = if wait.is_some() { view.cost } else { 0 };
        let full = |rate: &crate::Rate| {
            let level = Level { remaining: rate.capacity(), reset_after_us: 0 };
            RateReport { level, wait: 0, next_unit: 0 }
        };
        let rates = with_cells!(
            view.quota,
            &view.state.cells,
            |bank, state| (0..bank.len())
                .map(|i| {
                    let level = bank.level(i, state, at);
                    let wait = |cost| if cost > 0 { bank.wait(i, state, at, cost) } else { 0 };
                    let next_unit = wait(u64::from(level.remaining == 0));
                    RateReport { level, wait: if admitted == Some(true) { 0 } else { wait(asks) }, next_unit }
                })
                .collect(),
            view.quota.rates().iter().map(full).collect()
        );
        Self { wait, blocked: view.state.blocked_until.saturating_sub(at), rates }
    }
}

/// The decision at `now` over demands, each a quota, a cost and what its rates say.
pub(crate) fn judge(now: Timestamp, demands: &[(&Quota, u64, Report)]) -> Decision {
    let mut decision = Decision::with_rates(now, demands.iter().map(|(quota, _, _)| quota.rates().len()).sum());
    for (index, (_, _, report)) in demands.iter().enumerate() {
        decision.add_wait(index, report.wait);
    }
    let denied = !decision.allowed();
    for (index, (quota, cost, report)) in demands.iter().enumerate() {
        decision.add_block(report.blocked);
        let asks = denied && *cost > 0 && *cost <= quota.capacity();
        for (rate, of) in quota.rates().iter().zip(&report.rates) {
            let wait = if asks { of.wait } else { 0 };
            let next_unit = if of.level.remaining > 0 { 0 } else { of.next_unit };
            decision.add_rate(RateState::new(index, rate, of.level, wait, next_unit));
        }
    }
    decision
}

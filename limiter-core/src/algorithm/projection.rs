//! What a key will look like once those who wait on it have been served.

use super::{KeyState, Mode, View, decide};
use crate::{Quota, clock::Timestamp};
use std::time::Duration;

/// A key's state carried on past the grants that are to come, each as early as the quota lets it.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    state: KeyState,
    at: Timestamp,
}

impl Projection {
    /// Starts from the state of a key at `now`.
    pub(crate) fn new(state: KeyState, now: Timestamp) -> Self {
        Self { state, at: now }
    }

    /// The instant at which `cost` units, at most the capacity, can be granted after all that were before, with
    /// `slack` added to each wait.
    pub(crate) fn when(&mut self, quota: &Quota, cost: u64, slack: Duration) -> Timestamp {
        self.state.pull_back(quota, self.at); // as the takes to come will
        when(&mut self.state, quota, self.at, cost, slack, Duration::MAX)
    }

    /// Grants `cost` units at that instant.
    pub(crate) fn grant(&mut self, quota: &Quota, cost: u64, slack: Duration) -> Timestamp {
        self.at = self.when(quota, cost, slack);
        decide(&mut [View { quota, state: &mut self.state, cost }], self.at, Mode::Take);
        self.at
    }
}

/// The earliest instant from `now` on at which `state` admits `cost` units, with `slack` added to each wait; the end of
/// time where it is not before that, and some instant further ahead than `reach` where it is that far. Changes nothing.
///
/// State that lies ahead of the clock is gone through a period at a time: without an end to it, that could be for years
/// of microseconds.
pub(super) fn when(
    state: &mut KeyState,
    quota: &Quota,
    now: Timestamp,
    cost: u64,
    slack: Duration,
    reach: Duration,
) -> Timestamp {
    let mut at = now;
    loop {
        match decide(&mut [View { quota, state, cost }], at, Mode::Peek).retry_after() {
            Some(wait) if !wait.is_zero() && at < Timestamp::MAX && at.saturating_since(now) <= reach => {
                at = at.saturating_add(wait.saturating_add(slack));
            }
            _ => return at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Adjust;

    #[test]
    fn a_clock_that_stepped_back_far_is_not_gone_through_period_by_period() {
        let hour = Timestamp::from_micros(3_600_000_000);
        for quota in ["sliding_window 2/us", "fixed_window 2/us", "sliding_log 2/us", "2/us"] {
            let quota: Quota = quota.parse().unwrap();
            let mut state = KeyState::default();
            state.charge(&quota, hour, 4);
            let mut projection = Projection::new(state.clone(), Timestamp::MIN);
            assert!(projection.grant(&quota, 2, Duration::ZERO).as_micros() < 5, "{quota}");
            let refused = state.adjust(&quota, Timestamp::MIN, 2, Adjust::Reserve);
            assert!(refused.at() <= Timestamp::from_micros(2), "{quota}: {refused:?}");
        }
    }

    #[test]
    fn grants_follow_each_other_at_the_quotas_pace() {
        let at = |micros| Timestamp::from_micros(micros);
        for (quota, expected) in [
            ("2/s", [0, 0, 500_000, 1_000_000, 1_500_000]),
            ("fixed_window 2/s", [0, 0, 1_000_000, 1_000_000, 2_000_000]),
            ("sliding_log 2/s", [0, 0, 1_000_001, 1_000_001, 2_000_002]),
        ] {
            let quota: Quota = quota.parse().unwrap();
            let mut projection = Projection::new(KeyState::default(), at(0));
            assert_eq!(expected.map(|_| projection.grant(&quota, 1, Duration::ZERO)), expected.map(at), "{quota}");
        }
    }
}

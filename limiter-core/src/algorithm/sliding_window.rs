//! Two counters: `floor(previous · the part of it still in the window) + current + cost ≤ limit`.

use super::{Level, Meter};
use crate::Rate;

#[derive(Clone, Copy, Debug)]
pub(crate) struct SlidingWindow {
    limit: u64,
    period: u64,
}

/// Units counted in the window of this index and in the one before it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) index: u64,
    pub(crate) count: u64,
    pub(crate) previous: u64,
}

/// A state as it stands at an instant.
struct View {
    counts: Counts,
    /// Microseconds until the window ends.
    left: u64,
    /// Units that the window ending now holds.
    used: u64,
    ahead: bool,
}

impl SlidingWindow {
    pub(crate) fn new(rate: &Rate) -> Self {
        Self { limit: rate.limit(), period: rate.period_us() }
    }

    /// A clock that stepped back stays in the stored window, at most one ahead of its own.
    fn view(&self, state: &Counts, now: u64) -> View {
        let here = now / self.period;
        let index = here.max(state.index.min(here + 1));
        let left = (index + 1) * self.period - now;
        // No take leaves more than twice the limit; what a damaged file holds must not overflow.
        let most = 2 * self.limit;
        let (count, previous) = if state.index >= index {
            (state.count.min(most), state.previous.min(most))
        } else if state.index + 1 == index {
            (0, state.count.min(most))
        } else {
            (0, 0)
        };
        // Counts reach twice the limit, and 2 · limit · period fits: see `Quota::new`.
        let used = previous * left.min(self.period) / self.period + count;
        View { counts: Counts { index, count, previous }, left, used, ahead: state.index > index }
    }

    /// The longest time before a window's end at which `floor(counted · time / period) ≤ room`.
    fn longest_left(&self, counted: u64, room: u64) -> u64 {
        if counted == 0 {
            return self.period;
        }
        let bound = (u128::from(room) + 1) * u128::from(self.period);
        let longest = bound.div_ceil(u128::from(counted)) - 1;
        u64::try_from(longest).unwrap_or(u64::MAX).min(self.period)
    }
}

impl Meter for SlidingWindow {
    type State = Counts;

    fn capacity(&self) -> u64 {
        self.limit
    }

    fn wait(&self, state: &Counts, now: u64, cost: u64) -> u64 {
        let View { counts, left, used, .. } = self.view(state, now);
        if used + cost <= self.limit {
            0
        } else if counts.count + cost <= self.limit {
            left - self.longest_left(counts.previous, self.limit - counts.count - cost) // later in this window
        } else {
            left + self.period - self.longest_left(counts.count, self.limit - cost)
        }
    }

    fn level(&self, state: &Counts, now: u64) -> Level {
        let View { counts, left, used, .. } = self.view(state, now);
        let reset_after_us = match counts {
            Counts { count: 1.., .. } => left + self.period,
            Counts { previous: 1.., .. } => left,
            _ => 0,
        };
        Level { remaining: self.limit.saturating_sub(used), reset_after_us }
    }

    fn is_ahead(&self, state: &Counts, now: u64) -> bool {
        self.view(state, now).ahead
    }

    fn take(&self, state: &mut Counts, now: u64, cost: u64) {
        let View { counts, used, .. } = self.view(state, now);
        let room = (2 * self.limit).saturating_sub(used - counts.count);
        let count = counts.count.saturating_add(cost).min(room).max(counts.count);
        *state = Counts { count, ..counts };
    }

    fn refund(&self, state: &mut Counts, now: u64, cost: u64, taken: u64) {
        let counts = self.view(state, now).counts;
        let window = taken / self.period;
        *state = if window == counts.index {
            Counts { count: counts.count.saturating_sub(cost), ..counts }
        } else if window + 1 == counts.index {
            Counts { previous: counts.previous.saturating_sub(cost), ..counts }
        } else {
            counts
        };
    }

    fn in_use(&self, state: &Counts, now: u64) -> u64 {
        let View { counts, left, .. } = self.view(state, now);
        (counts.previous * left.min(self.period)).div_ceil(self.period) + counts.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_damaged_state_is_a_window_in_debt() {
        let window = SlidingWindow::new(&Rate::new(3, Duration::from_micros(10)).unwrap());
        for index in [0, 9, 10, u64::MAX] {
            let mut state = Counts { index, count: u64::MAX, previous: u64::MAX };
            let wait = window.wait(&state, 105, 3);
            assert_eq!(wait > 0, index >= 9, "{index}");
            window.take(&mut state, 105, 3);
            assert!(state.count <= 6 && state.previous <= 6, "{state:?}");
        }
    }

    #[test]
    fn the_previous_window_counts_by_the_part_still_inside() {
        let window = SlidingWindow::new(&Rate::new(10, Duration::from_micros(100)).unwrap());
        let mut state = Counts::default();
        window.take(&mut state, 950, 10);
        assert_eq!(window.level(&state, 1000).remaining, 0);
        assert_eq!(window.level(&state, 1001).remaining, 1); // floor(10 · 99 / 100) = 9
        assert_eq!(window.wait(&state, 1000, 5), 41); // floor(10 · 59 / 100) = 5
        assert_eq!(window.wait(&state, 1041, 5), 0);
        assert_eq!(window.wait(&state, 1040, 5), 1);
    }

    #[test]
    fn the_largest_counts_do_not_overflow() {
        let window = SlidingWindow::new(&Rate::new(1 << 36, Duration::from_micros((1 << 25) - 1)).unwrap());
        let mut state = Counts::default();
        window.take(&mut state, 0, u64::MAX);
        assert_eq!(window.level(&state, 0).remaining, 0);
        window.take(&mut state, 1 << 25, u64::MAX);
        assert!(window.wait(&state, 1 << 25, 1 << 36) > 0);
    }
}

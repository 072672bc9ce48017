//! A counter for each window `[k·period, (k + 1)·period)`, aligned to the Unix epoch.

use super::{Level, Meter};
use crate::Rate;

#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedWindow {
    limit: u64,
    period: u64,
}

/// Units counted in the window of this index.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Counted {
    pub(crate) index: u64,
    pub(crate) count: u64,
}

/// A state as it stands at an instant.
struct View {
    counted: Counted,
    /// Microseconds until the window ends.
    left: u64,
    ahead: bool,
}

impl FixedWindow {
    pub(crate) fn new(rate: &Rate) -> Self {
        Self { limit: rate.limit(), period: rate.period_us() }
    }

    /// A clock that stepped back stays in the stored window, at most one ahead of its own.
    fn view(&self, state: &Counted, now: u64) -> View {
        let here = now / self.period;
        let index = here.max(state.index.min(here + 1));
        // No take leaves more than twice the limit; what a damaged file holds must not overflow.
        let count = if state.index >= index { state.count.min(2 * self.limit) } else { 0 };
        View { counted: Counted { index, count }, left: (index + 1) * self.period - now, ahead: state.index > index }
    }
}

impl Meter for FixedWindow {
    type State = Counted;

    fn capacity(&self) -> u64 {
        self.limit
    }

    fn wait(&self, state: &Counted, now: u64, cost: u64) -> u64 {
        let view = self.view(state, now);
        if view.counted.count + cost <= self.limit { 0 } else { view.left }
    }

    fn level(&self, state: &Counted, now: u64) -> Level {
        let view = self.view(state, now);
        let used = view.counted.count;
        Level { remaining: self.limit.saturating_sub(used), reset_after_us: if used > 0 { view.left } else { 0 } }
    }

    fn is_ahead(&self, state: &Counted, now: u64) -> bool {
        self.view(state, now).ahead
    }

    fn take(&self, state: &mut Counted, now: u64, cost: u64) {
        let Counted { index, count } = self.view(state, now).counted;
        *state = Counted { index, count: count.saturating_add(cost).min(2 * self.limit) };
    }

    fn refund(&self, state: &mut Counted, now: u64, cost: u64, taken: u64) {
        let Counted { index, count } = self.view(state, now).counted;
        let inside = taken / self.period == index;
        *state = Counted { index, count: if inside { count.saturating_sub(cost) } else { count } };
    }

    fn in_use(&self, state: &Counted, now: u64) -> u64 {
        self.view(state, now).counted.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_clock_that_steps_back_stays_in_the_window_at_most_one_ahead() {
        let window = FixedWindow::new(&Rate::new(3, Duration::from_micros(10)).unwrap());
        let mut state = Counted::default();
        window.take(&mut state, 105, 3);
        assert_eq!(window.wait(&state, 99, 1), 11); // held in window 10, which ends at 110
        assert!(!window.is_ahead(&state, 99));
        assert_eq!(window.wait(&state, 80, 1), 20); // pulled back to window 9
        assert!(window.is_ahead(&state, 80));
    }

    #[test]
    fn a_damaged_state_is_a_window_in_debt() {
        let window = FixedWindow::new(&Rate::new(3, Duration::from_micros(10)).unwrap());
        let mut state = Counted { index: u64::MAX, count: u64::MAX };
        assert!(window.wait(&state, 105, 3) > 0);
        window.take(&mut state, 105, 3);
        assert_eq!((window.in_use(&state, 105), window.level(&state, 105).remaining), (6, 0));
    }

    #[test]
    fn a_refund_after_its_window_returns_nothing() {
        let window = FixedWindow::new(&Rate::new(3, Duration::from_micros(10)).unwrap());
        let mut state = Counted::default();
        window.take(&mut state, 100, 2);
        window.take(&mut state, 110, 2);
        window.refund(&mut state, 111, 2, 100);
        assert_eq!(window.level(&state, 111).remaining, 1);
        window.refund(&mut state, 111, 9, 110);
        assert_eq!(window.level(&state, 111).remaining, 3);
    }
}

//! What the learner may do.

use std::time::Duration;

/// Where learning begins, and what it never leaves.
///
/// Rates are requests a second; those that make no sense (zero, negative, not a number) are moved to the nearest that
/// does.
///
/// ```
/// use limiter_reqwest::learn::Learning;
///
/// // Never above two a second, whatever the server would admit.
/// let polite = Learning::default().start(0.5).ceiling(2.0);
/// # let _ = polite;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    start: f64,
    floor: f64,
    ceiling: f64,
    max_pause: Duration,
}

/// Beyond these no interval between requests is a sensible time.
const SLOWEST: f64 = 1e-6;
const FASTEST: f64 = 1e6;

impl Default for Learning {
    /// Begins with one a second; between one in ten minutes and 10,000 a second; pauses of at most ten minutes.
    fn default() -> Self {
        Self { start: 1.0, floor: 1.0 / 600.0, ceiling: 10_000.0, max_pause: Duration::from_secs(600) }
    }
}

impl Learning {
    /// The rate of the first requests, in requests a second: 1 by default.
    #[must_use]
    pub fn start(mut self, rate: f64) -> Self {
        self.start = sensible(rate);
        self
    }

    /// The rate below which it never goes, in requests a second: one in ten minutes by default. Pauses may be longer
    /// than its interval.
    #[must_use]
    pub fn floor(mut self, rate: f64) -> Self {
        self.floor = sensible(rate);
        self
    }

    /// The rate above which it never goes, in requests a second: 10,000 by default. It goes before the floor and the
    /// start where they contradict it.
    #[must_use]
    pub fn ceiling(mut self, rate: f64) -> Self {
        self.ceiling = sensible(rate);
        self
    }

    /// How long nothing is sent at most, ten minutes by default: whether the server names the pause, or pauses doubled
    /// as it refused again and again.
    #[must_use]
    pub fn max_pause(mut self, max_pause: Duration) -> Self {
        self.max_pause = max_pause;
        self
    }

    pub(super) fn first_rate(&self) -> f64 {
        self.within(self.start)
    }

    /// The nearest rate that is allowed.
    pub(super) fn within(&self, rate: f64) -> f64 {
        rate.max(self.floor).min(self.ceiling)
    }

    pub(super) fn longest_pause(&self) -> f64 {
        self.max_pause.as_secs_f64()
    }
}

fn sensible(rate: f64) -> f64 {
    if rate.is_nan() { SLOWEST } else { rate.clamp(SLOWEST, FASTEST) }
}

//! What a decision tells of one rate.

use crate::{Rate, algorithm::Level};
use std::{fmt, time::Duration};

/// One rate's part of a [`Decision`](crate::Decision).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RateState {
    /// The period in microseconds, less than 2⁵⁰, and below it the place of the demand.
    period_and_demand: u64,
    capacity: u64,
    /// Whole units left, or [`NONE_LEFT`] and the microseconds until there is one.
    left: u64,
    reset_after_us: u64,
    retry_after_us: u64,
}

/// Bits of the demand's place.
const DEMAND_BITS: u32 = 14;

const LAST_DEMAND: u64 = (1 << DEMAND_BITS) - 1;

/// No rate has room for so many units.
const NONE_LEFT: u64 = 1 << 63;

impl RateState {
    #[inline]
    pub(crate) fn new(demand: usize, rate: &Rate, level: Level, retry_after_us: u64, next_unit_us: u64) -> Self {
        Self {
            period_and_demand: rate.period_us() << DEMAND_BITS | (demand as u64).min(LAST_DEMAND),
            capacity: rate.capacity(),
            left: if level.remaining == 0 { NONE_LEFT | next_unit_us } else { level.remaining },
            reset_after_us: level.reset_after_us,
            retry_after_us,
        }
    }

    /// The same, as if its demand had been the only one.
    pub(super) fn alone(&self) -> Self {
        Self { period_and_demand: self.period_and_demand & !LAST_DEMAND, ..*self }
    }

    /// Which demand of the call the rate belongs to, counted from 0; all from the 16,383rd on are that one.
    #[must_use]
    pub fn demand(&self) -> usize {
        usize::try_from(self.period_and_demand & LAST_DEMAND).unwrap_or(usize::MAX)
    }

    /// The most units that fit at once.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The rate's period.
    #[must_use]
    pub fn period(&self) -> Duration {
        Duration::from_micros(self.period_us())
    }

    pub(super) fn period_us(&self) -> u64 {
        self.period_and_demand >> DEMAND_BITS
    }

    /// Whole units left.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        if self.left & NONE_LEFT == 0 { self.left } else { 0 }
    }

    /// The time until every unit of this rate is back.
    #[must_use]
    pub fn reset_after(&self) -> Duration {
        Duration::from_micros(self.reset_after_us)
    }

    pub(super) fn reset_after_us(&self) -> u64 {
        self.reset_after_us
    }

    /// The time after which this rate alone would admit what was denied; zero where it admits.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        Duration::from_micros(self.retry_after_us)
    }

    pub(super) fn retry_after_us(&self) -> u64 {
        self.retry_after_us
    }

    /// The time until this rate has at least one unit left; zero where it has.
    #[must_use]
    pub fn next_unit_after(&self) -> Duration {
        Duration::from_micros(if self.left & NONE_LEFT == 0 { 0 } else { self.left & !NONE_LEFT })
    }
}

impl fmt::Debug for RateState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateState")
            .field("demand", &self.demand())
            .field("capacity", &self.capacity())
            .field("period", &self.period())
            .field("remaining", &self.remaining())
            .field("reset_after", &self.reset_after())
            .field("retry_after", &self.retry_after())
            .field("next_unit_after", &self.next_unit_after())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_largest_rates_is_told() {
        let longest = Rate::new(1, Duration::from_micros(1 << 49)).unwrap();
        let most = Rate::new(1 << 40, Duration::from_secs(1 << 10)).unwrap();
        for (rate, demand, remaining, next) in [(longest, 63, 0, 1 << 50), (most, 0, most.capacity(), 0)] {
            let state = RateState::new(demand, &rate, Level { remaining, reset_after_us: 1 << 51 }, 5, next);
            assert_eq!((state.demand(), state.capacity(), state.period()), (demand, rate.capacity(), rate.period()));
            assert_eq!((state.remaining(), state.next_unit_after()), (remaining, Duration::from_micros(next)));
            assert_eq!((state.reset_after_us(), state.retry_after_us()), (1 << 51, 5));
        }
        let last = RateState::new(usize::MAX, &longest, Level { remaining: 0, reset_after_us: 0 }, 0, 0);
        assert_eq!((last.demand(), last.period()), (16_383, longest.period()));
    }
}

//! The bucket: it drains continuously at `limit` units a period, and a take fits while its level stays within the burst.
//!
//! The generic cell rate algorithm of ITU-T I.371 (annex A), in its virtual-scheduling form: the state is the instant
//! at which the bucket is empty again, which for a cost of 1 is I.371's theoretical arrival time. Exact: an interval a
//! unit is the fraction p/l of a microsecond, and the instant is kept in ticks of 1/l µs.

use super::{Level, Meter};
use crate::Rate;

/// The largest l: a microsecond has at most this many ticks.
pub(crate) const FINEST: u64 = 4096;

/// The most microseconds that two full buckets may take to drain.
const LONGEST_US: u128 = 1 << 50;

/// A bucket's numbers. With an instant below 2⁵² µs, at most 4096 ticks a microsecond, and twice the burst within
/// 2⁵⁰ µs, every sum of two of them fits 64 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gcra {
    /// p: ticks a unit.
    unit: u64,
    /// l: ticks a microsecond.
    per_us: u64,
    /// Units in a full bucket.
    burst: u64,
    /// Ticks that a full bucket takes to drain.
    full: u64,
}

impl Gcra {
    /// The bucket of a rate, or `None` where its arithmetic cannot fit.
    pub(crate) fn new(rate: &Rate) -> Option<Self> {
        let (unit, per_us) = interval(rate.limit(), rate.period_us());
        let full = u128::from(rate.capacity()) * u128::from(unit);
        if 2 * full > LONGEST_US * u128::from(per_us) {
            return None;
        }
        Some(Self { unit, per_us, burst: rate.capacity(), full: u64::try_from(full).ok()? })
    }

    /// Takes `cost` units, at most the capacity, where they fit; what a take that was asked for writes.
    #[inline]
    pub(crate) fn admit(&self, empty_at: &mut u64, now: u64, cost: u64) -> bool {
        let now = now * self.per_us;
        let (held, cost) = (empty_at.saturating_sub(now), cost * self.unit);
        let fits = held <= self.full - cost;
        if fits {
            *empty_at = now + held + cost;
        }
        fits
    }

    /// Microseconds that `cost` units take to drain, rounded down.
    pub(crate) fn drain_us(&self, cost: u64) -> u64 {
        cost.min(self.burst).saturating_mul(self.unit) / self.per_us
    }

    /// For arithmetic on a server: ticks a microsecond; then as pairs of microseconds and ticks what `cost` units take,
    /// the most that may be in the bucket for them to fit, and two full buckets.
    #[cfg(any(feature = "postgres", feature = "redis"))]
    pub(crate) fn numbers(&self, cost: u64) -> [u64; 7] {
        // More than any instant and its reach, so that a refund of that much gives all back, and still exact in doubles.
        let most = self.per_us.saturating_mul(1 << 52);
        let pair = |ticks: u64| [ticks / self.per_us, ticks % self.per_us];
        let ticks = cost.saturating_mul(self.unit);
        let ([cost_us, cost], [room_us, room]) = (pair(ticks.min(most)), pair(self.full.saturating_sub(ticks)));
        let [twice_us, twice] = pair(2 * self.full);
        [self.per_us, cost_us, cost, room_us, room, twice_us, twice]
    }

    /// The instant `empty_at` as microseconds and ticks.
    #[cfg(any(feature = "postgres", feature = "redis"))]
    pub(crate) fn split(&self, empty_at: u64) -> (u64, u64) {
        (empty_at / self.per_us, empty_at % self.per_us)
    }

    /// The instant of microseconds and ticks.
    #[cfg(any(feature = "postgres", feature = "redis"))]
    pub(crate) fn join(&self, micros: u64, ticks: u64) -> u64 {
        micros.saturating_mul(self.per_us).saturating_add(ticks)
    }

    /// Ticks until the bucket is empty, at most two full buckets.
    #[inline]
    fn ticks(&self, empty_at: u64, now: u64) -> u64 {
        empty_at.saturating_sub(now * self.per_us).min(2 * self.full)
    }
}

impl Meter for Gcra {
    /// The instant the bucket is empty, in ticks since the Unix epoch.
    type State = u64;

    fn capacity(&self) -> u64 {
        self.burst
    }

    #[inline]
    fn wait(&self, empty_at: &u64, now: u64, cost: u64) -> u64 {
        let over = (self.ticks(*empty_at, now) + cost * self.unit).saturating_sub(self.full);
        if over == 0 { 0 } else { over.div_ceil(self.per_us) }
    }

    #[inline]
    fn level(&self, empty_at: &u64, now: u64) -> Level {
        let ticks = self.ticks(*empty_at, now);
        Level { remaining: self.full.saturating_sub(ticks) / self.unit, reset_after_us: ticks.div_ceil(self.per_us) }
    }

    #[inline]
    fn is_ahead(&self, empty_at: &u64, now: u64) -> bool {
        empty_at.saturating_sub(now * self.per_us) > 2 * self.full
    }

    #[inline]
    fn take(&self, empty_at: &mut u64, now: u64, cost: u64) {
        let ticks = self.ticks(*empty_at, now).saturating_add(cost.saturating_mul(self.unit));
        *empty_at = now * self.per_us + ticks.min(2 * self.full);
    }

    fn refund(&self, empty_at: &mut u64, now: u64, cost: u64, taken: u64) {
        let drained = now.saturating_sub(taken) * self.per_us;
        let held = cost.saturating_mul(self.unit).saturating_sub(drained);
        *empty_at = now * self.per_us + self.ticks(*empty_at, now).saturating_sub(held);
    }

    fn in_use(&self, empty_at: &u64, now: u64) -> u64 {
        self.ticks(*empty_at, now).div_ceil(self.unit)
    }
}

/// Microseconds a unit as a fraction: exact where its denominator is at most [`FINEST`], else the least such fraction
/// above it, so that rounding admits less, never more. Needs `limit` ≤ 4096·`period_us`.
fn interval(limit: u64, period_us: u64) -> (u64, u64) {
    let common = gcd(limit, period_us);
    let (unit, per_us) = (period_us / common, limit / common);
    if per_us <= FINEST {
        return (unit, per_us);
    }
    let above = |d: u64| {
        let unit = (u128::from(period_us) * u128::from(d)).div_ceil(u128::from(limit));
        (u64::try_from(unit).unwrap_or(u64::MAX), d)
    };
    let less = |a: (u64, u64), b: (u64, u64)| u128::from(a.0) * u128::from(b.1) < u128::from(b.0) * u128::from(a.1);
    (2..=FINEST).map(above).fold(above(1), |best, next| if less(next, best) { next } else { best })
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn intervals_are_exact_or_the_least_fraction_above() {
        assert_eq!(interval(3, 1_000_000), (1_000_000, 3));
        assert_eq!(interval(1_000_000, 1_000_000), (1, 1));
        assert_eq!(interval(1_000_000_000, 1_000_000), (1, 1000));
        let (unit, per_us) = interval(999_983, 1_000_000);
        assert!(per_us <= FINEST && u128::from(unit) * 999_983 > u128::from(per_us) * 1_000_000);
    }

    #[test]
    fn a_refund_returns_only_what_has_not_drained() {
        let bucket = Gcra::new(&Rate::new(10, Duration::from_secs(1)).unwrap()).unwrap();
        let mut empty_at = 0;
        bucket.take(&mut empty_at, 1_000_000, 5);
        bucket.refund(&mut empty_at, 1_200_000, 5, 1_000_000); // two of the five have drained
        assert_eq!(bucket.level(&empty_at, 1_200_000).remaining, 10);
        bucket.take(&mut empty_at, 1_200_000, 10);
        bucket.refund(&mut empty_at, 1_300_000, 3, 1_200_000); // one of the three has drained
        assert_eq!(bucket.level(&empty_at, 1_300_000).remaining, 3);
    }
}

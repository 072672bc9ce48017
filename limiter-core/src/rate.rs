//! How many units in how long.

use crate::{
    Algorithm,
    algorithm::gcra::{self, Gcra},
    clock::micros_up,
    error::QuotaError,
};
use std::time::Duration;

/// `limit` units in each `period`, with an optional burst or resolution.
///
/// What a unit is, the caller decides: requests, bytes, tokens. A rate is checked when it is built, so that every one
/// can be held exactly by every store.
///
/// ```
/// use limiter_core::Rate;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let rate = Rate::per_second(5)?;
/// assert_eq!((rate.limit(), rate.period()), (5, Duration::from_secs(1)));
/// let odd = Rate::new(7, Duration::from_millis(1500))?.burst(3)?;
/// assert_eq!(odd.capacity(), 3);
/// assert!(Rate::per_second(0).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rate {
    limit: u64,
    period_us: u64,
    burst: Option<u64>,
    resolution: Option<u32>,
}

/// The highest limit of a window algorithm: two of it still count exactly in a script's doubles.
pub(crate) const WINDOW_LIMIT: u64 = 1 << 52;

impl Rate {
    /// `limit` units in each `period`.
    ///
    /// ```
    /// use limiter_core::Rate;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let rate = Rate::new(7, Duration::from_millis(1500))?;
    /// assert_eq!(rate, "7/1500ms".parse()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A `limit` of zero, a `period` that is zero or not whole microseconds, more than 4096 units a microsecond, and
    /// a period so long that a bucket of `limit` units would take more than 2⁴⁹ µs (over 17 years) to drain.
    pub fn new(limit: u64, period: Duration) -> Result<Self, QuotaError> {
        if limit == 0 {
            return Err(QuotaError::ZeroLimit);
        }
        if period.is_zero() {
            return Err(QuotaError::ZeroPeriod);
        }
        if !period.subsec_nanos().is_multiple_of(1000) {
            return Err(QuotaError::FractionalPeriod { period });
        }
        Self { limit, period_us: micros_up(period), burst: None, resolution: None }.checked()
    }

    /// `limit` units a second.
    ///
    /// ```
    /// use limiter_core::Rate;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// assert_eq!(Rate::per_second(5)?, "5/s".parse()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Rate::new`].
    pub fn per_second(limit: u64) -> Result<Self, QuotaError> {
        Self::new(limit, Duration::from_secs(1))
    }

    /// `limit` units a minute.
    ///
    /// ```
    /// use limiter_core::Rate;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// assert_eq!(Rate::per_minute(5)?, "5/min".parse()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Rate::new`].
    pub fn per_minute(limit: u64) -> Result<Self, QuotaError> {
        Self::new(limit, Duration::from_secs(60))
    }

    /// `limit` units an hour.
    ///
    /// ```
    /// use limiter_core::Rate;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// assert_eq!(Rate::per_hour(5)?, "5/h".parse()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Rate::new`].
    pub fn per_hour(limit: u64) -> Result<Self, QuotaError> {
        Self::new(limit, Duration::from_secs(3600))
    }

    /// `limit` units a day of 24 hours.
    ///
    /// ```
    /// use limiter_core::Rate;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// assert_eq!(Rate::per_day(5)?, "5/day".parse()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Rate::new`].
    pub fn per_day(limit: u64) -> Result<Self, QuotaError> {
        Self::new(limit, Duration::from_secs(24 * 3600))
    }

    /// `limit` units in seven days.
    ///
    /// ```
    /// use limiter_core::Rate;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// assert_eq!(Rate::per_week(5)?, "5/week".parse()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Rate::new`].
    pub fn per_week(limit: u64) -> Result<Self, QuotaError> {
        Self::new(limit, Duration::from_secs(7 * 24 * 3600))
    }

    /// The same rate with a bucket of `units`: how many may come at once after quiet. `limit` where it is not set.
    ///
    /// For `gcra` only. A bucket admits at most `units + limit·w/period` in any interval of length w.
    ///
    /// ```
    /// use limiter_core::{Limiter, Rate};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::new(Rate::per_minute(10)?.burst(3)?);
    /// assert!(limiter.check_n("ada", 3)?.allowed());
    /// assert!(!limiter.check("ada")?.allowed()); // and one more every six seconds
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Zero, a rate that has a resolution, and a bucket that takes more than 2⁴⁹ µs to drain.
    pub fn burst(self, units: u64) -> Result<Self, QuotaError> {
        if units == 0 {
            return Err(QuotaError::ZeroBurst);
        }
        if self.resolution.is_some() {
            return Err(QuotaError::BurstAndResolution);
        }
        Self { burst: Some(units), ..self }.checked()
    }

    /// The same rate kept in about `cells` cells a key instead of one stamp a unit.
    ///
    /// For `sliding_log` only: still never more than `limit` in any closed window, and a unit returns at most
    /// `period / cells` late.
    ///
    /// ```
    /// use limiter_core::{Quota, Rate};
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// // A million stamps a key would be 16 MB; sixty cells are about one kB, and a unit returns up to a minute late.
    /// let quota = Quota::sliding_log([Rate::per_hour(1_000_000)?.resolution(60)?])?;
    /// assert_eq!(quota, "sliding_log 1000000/h resolution 60".parse()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Zero, a rate that has a burst, and a limit above 2⁵².
    pub fn resolution(self, cells: u32) -> Result<Self, QuotaError> {
        if cells == 0 {
            return Err(QuotaError::ZeroResolution);
        }
        if self.burst.is_some() {
            return Err(QuotaError::BurstAndResolution);
        }
        if self.limit > WINDOW_LIMIT {
            return Err(QuotaError::TooLarge { algorithm: Algorithm::SlidingLog, rate: self });
        }
        Ok(Self { resolution: Some(cells), ..self })
    }

    /// Units in each period.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// The period.
    #[must_use]
    pub const fn period(&self) -> Duration {
        Duration::from_micros(self.period_us)
    }

    /// The most units that fit at once: the burst, or the limit where none is set.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        match self.burst {
            Some(units) => units,
            None => self.limit,
        }
    }

    /// The burst, where one was set.
    #[must_use]
    pub const fn burst_size(&self) -> Option<u64> {
        self.burst
    }

    /// The cells a period is kept in, where a resolution was set.
    #[must_use]
    pub const fn cells(&self) -> Option<u32> {
        self.resolution
    }

    pub(crate) const fn period_us(&self) -> u64 {
        self.period_us
    }

    fn checked(self) -> Result<Self, QuotaError> {
        if u128::from(self.limit) > u128::from(gcra::FINEST) * u128::from(self.period_us) {
            return Err(QuotaError::TooDense { limit: self.limit, period: self.period() });
        }
        if Gcra::new(&self).is_none() {
            return Err(QuotaError::TooLong { units: self.capacity(), limit: self.limit, period: self.period() });
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_store_could_hold_is_refused_and_says_why() {
        for (refused, says) in [
            (Rate::new(0, Duration::from_secs(1)), "limit"),
            (Rate::new(1, Duration::ZERO), "period"),
            (Rate::new(1, Duration::from_nanos(1500)), "whole microseconds"),
            (Rate::new(4097, Duration::from_micros(1)), "4096 units a microsecond"),
            (Rate::new(u64::MAX, Duration::from_secs(1)), "4096 units a microsecond"),
            (Rate::new(1, Duration::from_secs(20 * 366 * 24 * 3600)), "2^50"),
            (Rate::new(1, Duration::from_secs(u64::MAX)), "2^50"),
            (Rate::per_second(1).and_then(|rate| rate.burst(0)), "burst"),
            (Rate::per_second(1).and_then(|rate| rate.burst(u64::MAX)), "2^50"),
            (Rate::per_second(1).and_then(|rate| rate.resolution(0)), "resolution"),
            (Rate::per_second(5).and_then(|rate| rate.burst(6)?.resolution(7)), "both"),
            (Rate::per_second(5).and_then(|rate| rate.resolution(7)?.burst(6)), "both"),
        ] {
            let error = refused.expect_err(says).to_string();
            assert!(error.contains(says), "{error:?} does not say {says:?}");
        }
    }

    #[test]
    fn from_one_in_a_leap_year_to_a_thousand_million_a_second() {
        assert!(Rate::new(1, Duration::from_secs(366 * 24 * 3600)).is_ok());
        assert!(Rate::per_second(1_000_000_000).is_ok());
        assert!(Rate::new(4096, Duration::from_micros(1)).is_ok());
    }
}

//! One algorithm and one or more rates.

use crate::{
    Rate,
    algorithm::{FixedWindow, Gcra, Meter, SlidingLog, SlidingWindow},
    error::QuotaError,
    rate::WINDOW_LIMIT,
};
use std::{fmt, sync::Arc, time::Duration};

#[cfg(feature = "serde")]
mod serde;
mod text;

pub(crate) use text::PeriodText;

/// How units are counted over time. [`crate::algorithm`] compares them, and names their sources.
///
/// ```
/// use limiter_core::{Algorithm, Quota, Rate};
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// for algorithm in Algorithm::ALL {
///     let quota = Quota::new(algorithm, [Rate::per_second(5)?])?;
///     println!("{algorithm}: {quota}"); // gcra: 5/s, fixed_window: fixed_window 5/s, ...
///     assert_eq!(quota.algorithm(), algorithm);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Algorithm {
    /// A bucket that drains continuously: GCRA, token bucket and leaky bucket (as a meter) are three stories about it.
    Gcra,
    /// A counter for each window aligned to the Unix epoch; see [`Quota::fixed_window`].
    FixedWindow,
    /// Two counters, the previous window's weighed by the part of it still inside; see [`Quota::sliding_window`].
    SlidingWindow,
    /// Every unit's own instant: never more than the limit in any closed window; see [`Quota::sliding_log`].
    SlidingLog,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gcra, Self::FixedWindow, Self::SlidingWindow, Self::SlidingLog];

    /// Its name in text forms.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gcra => "gcra",
            Self::FixedWindow => "fixed_window",
            Self::SlidingWindow => "sliding_window",
            Self::SlidingLog => "sliding_log",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An algorithm and one or more rates, all of which must admit. Cheap to clone.
///
/// Rates are kept sorted by period. Limits must strictly grow with the period and units a second must not, so that
/// each rate limits something.
///
/// ```
/// use limiter_core::{Quota, Rate};
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let quota = Quota::sliding_log([Rate::per_second(5)?, Rate::per_hour(1000)?])?;
/// assert_eq!(quota, "sliding_log 5/s, 1000/h".parse()?);
/// assert_eq!(Quota::from(Rate::per_second(5)?), "5/s".parse()?); // a bucket
///
/// let refused = Quota::sliding_log([Rate::per_second(5)?, Rate::per_minute(400)?]).unwrap_err();
/// assert!(refused.to_string().contains("400/min allows more units a second than 5/s"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Quota(Arc<Inner>);

struct Inner {
    algorithm: Algorithm,
    rates: Box<[Rate]>,
    plan: Plan,
    capacity: u64,
    fingerprint: u64,
}

/// The rates, ready for their algorithm.
pub(crate) enum Plan {
    Gcra(Box<[Gcra]>),
    FixedWindow(Box<[FixedWindow]>),
    SlidingWindow(Box<[SlidingWindow]>),
    SlidingLog(Box<[SlidingLog]>),
}

impl Quota {
    /// `algorithm` with `rates`, in any order.
    ///
    /// ```
    /// use limiter_core::{Algorithm, Quota, Rate};
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let quota = Quota::new(Algorithm::SlidingWindow, [Rate::per_hour(1000)?, Rate::per_second(5)?])?;
    /// assert_eq!(quota.to_string(), "sliding_window 5/s, 1000/h");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// No rates; two rates of the same period, or of which one never limits anything; a burst with another algorithm
    /// than `gcra`, a resolution with another than `sliding_log`; `sliding_window` with 2·limit·period ≥ 2⁶³, and the
    /// other two window algorithms with a limit above 2⁵².
    pub fn new(algorithm: Algorithm, rates: impl IntoIterator<Item = Rate>) -> Result<Self, QuotaError> {
        let mut rates: Vec<Rate> = rates.into_iter().collect();
        rates.sort_by_key(Rate::period_us);
        if rates.is_empty() {
            return Err(QuotaError::NoRates);
        }
        for pair in rates.windows(2) {
            if let [shorter, longer] = *pair {
                check_pair(shorter, longer)?;
            }
        }
        rates.iter().try_for_each(|rate| check_options(algorithm, rate))?;
        Ok(Self::build(algorithm, rates.into()))
    }

    /// A bucket for each rate: `burst` at once, then `limit` units a period, evenly spaced.
    ///
    /// It promises at most `burst + limit·w/period` units in any interval of length w; its first period can therefore
    /// see `burst + limit`. Source: the generic cell rate algorithm of ITU-T I.371, annex A.
    ///
    /// ```
    /// use limiter_core::{Quota, Rate};
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let quota = Quota::gcra([Rate::per_second(5)?.burst(10)?, Rate::per_minute(100)?])?;
    /// assert_eq!(quota, "5/s burst 10, 100/min".parse()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Quota::new`].
    pub fn gcra(rates: impl IntoIterator<Item = Rate>) -> Result<Self, QuotaError> {
        Self::new(Algorithm::Gcra, rates)
    }

    /// Another name of [`Quota::gcra`]: the same decisions.
    ///
    /// # Errors
    /// As [`Quota::new`].
    pub fn token_bucket(rates: impl IntoIterator<Item = Rate>) -> Result<Self, QuotaError> {
        Self::gcra(rates)
    }

    /// Another name of [`Quota::gcra`]: the same decisions.
    ///
    /// # Errors
    /// As [`Quota::new`].
    pub fn leaky_bucket(rates: impl IntoIterator<Item = Rate>) -> Result<Self, QuotaError> {
        Self::gcra(rates)
    }

    /// `limit` units in each window aligned to the Unix epoch; up to twice that across a window's end.
    ///
    /// It promises at most `limit` units in each window, whose ends are known beforehand: full hours, midnight in UTC,
    /// for weeks the night to Thursday (1 January 1970 was one). Source: the plain counter a window.
    ///
    /// ```
    /// use limiter_core::{Limiter, ManualClock, Quota, Rate, Timestamp};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::new(Timestamp::from_micros(59_000_000)); // a second before the minute is full
    /// let quota = Quota::fixed_window([Rate::per_minute(10)?])?;
    /// let limiter = Limiter::builder(quota).clock(clock.clone()).build();
    /// assert!(limiter.check_n("ada", 10)?.allowed());
    /// clock.advance(Duration::from_secs(1));
    /// assert!(limiter.check_n("ada", 10)?.allowed());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Quota::new`].
    pub fn fixed_window(rates: impl IntoIterator<Item = Rate>) -> Result<Self, QuotaError> {
        Self::new(Algorithm::FixedWindow, rates)
    }

    /// Two counters a rate: close to a sliding log at constant memory.
    ///
    /// It promises at most `limit` by its own estimate, which takes the previous window's units for evenly spread; in
    /// truth at most `limit + ⌈limit·w/period⌉` in any interval of length w. Source: the approximation that Cloudflare
    /// published in 2017, [How we built rate limiting capable of scaling to millions of domains][cloudflare].
    ///
    /// [cloudflare]: https://blog.cloudflare.com/counting-things-a-lot-of-different-things/
    ///
    /// ```
    /// use limiter_core::{Limiter, ManualClock, Quota, Rate};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::default();
    /// let limiter = Limiter::builder(Quota::sliding_window([Rate::per_minute(10)?])?).clock(clock.clone()).build();
    /// limiter.check_n("ada", 10)?;
    /// clock.advance(Duration::from_secs(90)); // half of the previous window is still inside
    /// assert_eq!(limiter.peek("ada")?.remaining(), 5);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Quota::new`].
    pub fn sliding_window(rates: impl IntoIterator<Item = Rate>) -> Result<Self, QuotaError> {
        Self::new(Algorithm::SlidingWindow, rates)
    }

    /// Never more than `limit` units in any closed window: what somebody else's API quota asks for.
    ///
    /// It promises at most `limit` units in any `[t, t + period]`, both ends included, wherever t is. It keeps a stamp
    /// a take, up to 16 bytes each; [`Rate::resolution`] bounds that. Source: the exact log of timestamps, with the
    /// semantics of PyrateLimiter.
    ///
    /// ```
    /// use limiter_core::{Limiter, ManualClock, Quota, Rate};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::default();
    /// let limiter = Limiter::builder(Quota::sliding_log([Rate::per_minute(10)?])?).clock(clock.clone()).build();
    /// limiter.check_n("ada", 10)?;
    /// clock.advance(Duration::from_secs(60)); // the closed window still holds them
    /// assert_eq!(limiter.check("ada")?.retry_after(), Some(Duration::from_micros(1)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Quota::new`].
    pub fn sliding_log(rates: impl IntoIterator<Item = Rate>) -> Result<Self, QuotaError> {
        Self::new(Algorithm::SlidingLog, rates)
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// The rates, the shortest period first.
    #[must_use]
    pub fn rates(&self) -> &[Rate] {
        &self.0.rates
    }

    /// The most units one request can ever take: the least capacity of the rates.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.0.capacity
    }

    /// The longest period: after this much quiet, no window holds anything.
    #[must_use]
    pub fn longest_period(&self) -> Duration {
        self.0.rates.last().map_or(Duration::ZERO, Rate::period)
    }

    /// A number that tells quotas apart in stored state: the same in every process and release.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.0.fingerprint
    }

    /// How far ahead units can be reserved ([`Limiter::reserve`](crate::Limiter::reserve)): one bucket as long as it takes
    /// to drain from full, sliding windows and logs their shortest period. Several buckets, which may stand empty while
    /// they wait for one another, and fixed windows, which know nothing of the next, not at all.
    #[must_use]
    pub fn reach(&self) -> Duration {
        match &self.0.plan {
            Plan::Gcra(buckets) => match &buckets[..] {
                [bucket] => Duration::from_micros(bucket.drain_us(bucket.capacity())),
                _ => Duration::ZERO,
            },
            Plan::FixedWindow(_) => Duration::ZERO,
            Plan::SlidingWindow(_) | Plan::SlidingLog(_) => self.0.rates.first().map_or(Duration::ZERO, Rate::period),
        }
    }

    /// How long after the grant of `cost` units is due it can be made without losing capacity: a bucket goes on draining
    /// until it is empty, while a window or a log counts from the grant.
    pub(crate) fn leeway(&self, cost: u64) -> Duration {
        match &self.0.plan {
            Plan::Gcra(buckets) => {
                let spare = |bucket: &Gcra| bucket.drain_us(bucket.capacity().saturating_sub(cost));
                Duration::from_micros(buckets.iter().map(spare).min().unwrap_or(0))
            }
            _ => Duration::ZERO,
        }
    }

    /// How long after one grant the next, of `cost` units, is due in a line served by buckets.
    pub(crate) fn spacing(&self, cost: u64) -> Duration {
        match &self.0.plan {
            Plan::Gcra(buckets) => {
                let of = |bucket: &Gcra| bucket.drain_us(cost);
                Duration::from_micros(buckets.iter().map(of).max().unwrap_or(0))
            }
            _ => Duration::MAX,
        }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.0.plan
    }

    fn build(algorithm: Algorithm, rates: Box<[Rate]>) -> Self {
        let plan = match algorithm {
            // A rate that no bucket can hold was refused when it was built.
            Algorithm::Gcra => Plan::Gcra(rates.iter().filter_map(Gcra::new).collect()),
            Algorithm::FixedWindow => Plan::FixedWindow(rates.iter().map(FixedWindow::new).collect()),
            Algorithm::SlidingWindow => Plan::SlidingWindow(rates.iter().map(SlidingWindow::new).collect()),
            Algorithm::SlidingLog => Plan::SlidingLog(rates.iter().map(SlidingLog::new).collect()),
        };
        let capacity = rates.iter().map(Rate::capacity).min().unwrap_or_default();
        let fingerprint = fingerprint(algorithm, &rates);
        Self(Arc::new(Inner { algorithm, rates, plan, capacity, fingerprint }))
    }
}

impl From<Rate> for Quota {
    /// A bucket ([`Algorithm::Gcra`]): its first period can see up to burst + limit units. A rate with a resolution
    /// makes a [`Algorithm::SlidingLog`], the only algorithm that has one.
    fn from(rate: Rate) -> Self {
        let algorithm = if rate.cells().is_some() { Algorithm::SlidingLog } else { Algorithm::Gcra };
        Self::build(algorithm, Box::new([rate]))
    }
}

impl PartialEq for Quota {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm() == other.algorithm() && self.rates() == other.rates()
    }
}

impl Eq for Quota {}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quota({self})")
    }
}

fn check_pair(shorter: Rate, longer: Rate) -> Result<(), QuotaError> {
    if shorter.period_us() == longer.period_us() {
        return Err(QuotaError::SamePeriod { first: shorter, second: longer });
    }
    if longer.limit() <= shorter.limit() {
        return Err(QuotaError::LimitDoesNotGrow { shorter, longer });
    }
    let units = |rate: Rate, other: Rate| u128::from(rate.limit()) * u128::from(other.period_us());
    if units(longer, shorter) > units(shorter, longer) {
        return Err(QuotaError::DensityGrows { shorter, longer });
    }
    Ok(())
}

fn check_options(algorithm: Algorithm, rate: &Rate) -> Result<(), QuotaError> {
    if rate.burst_size().is_some() && algorithm != Algorithm::Gcra {
        return Err(QuotaError::NotForAlgorithm { option: "burst", algorithm });
    }
    if rate.cells().is_some() && algorithm != Algorithm::SlidingLog {
        return Err(QuotaError::NotForAlgorithm { option: "resolution", algorithm });
    }
    let fits = match algorithm {
        Algorithm::Gcra => true,
        Algorithm::SlidingWindow => 2 * u128::from(rate.limit()) * u128::from(rate.period_us()) < 1 << 63,
        Algorithm::FixedWindow | Algorithm::SlidingLog => rate.limit() <= WINDOW_LIMIT,
    };
    if fits { Ok(()) } else { Err(QuotaError::TooLarge { algorithm, rate: *rate }) }
}

fn fingerprint(algorithm: Algorithm, rates: &[Rate]) -> u64 {
    let numbers = rates.iter().flat_map(|rate| {
        [rate.limit(), rate.period_us(), rate.burst_size().unwrap_or(0), u64::from(rate.cells().unwrap_or(0))]
    });
    fnv(algorithm.name().bytes().chain(numbers.flat_map(u64::to_le_bytes)))
}

/// FNV-1a, 64 bits: without a seed, so that every process and release agrees. Not for keys that others choose.
pub(crate) fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(limit: u64, secs: u64) -> Rate {
        Rate::new(limit, Duration::from_secs(secs)).unwrap()
    }

    #[test]
    fn rates_are_sorted_by_period() {
        let quota = Quota::gcra([rate(1000, 3600), rate(5, 1)]).unwrap();
        assert_eq!(quota.rates(), [rate(5, 1), rate(1000, 3600)]);
        assert_eq!(quota.capacity(), 5);
        assert_eq!(quota.longest_period(), Duration::from_secs(3600));
    }

    #[test]
    fn ill_formed_lists_are_refused_and_name_the_pair() {
        for (rates, says) in [
            (vec![], "at least one rate"),
            (vec![rate(5, 1), rate(6, 1)], "5/s and 6/s have the same period"),
            (vec![rate(5, 1), rate(5, 60)], "5/min allows no more than 5/s"),
            (vec![rate(5, 1), rate(301, 60)], "301/min allows more units a second than 5/s"),
            (vec![rate(5, 1), rate(100, 60), rate(90, 3600)], "90/h allows no more than 100/min"),
        ] {
            let error = Quota::sliding_log(rates).expect_err(says).to_string();
            assert!(error.contains(says), "{error:?} does not say {says:?}");
        }
        assert!(Quota::gcra([rate(5, 1), rate(300, 60)]).is_ok(), "the same density is allowed");
    }

    #[test]
    fn options_belong_to_their_algorithm() {
        let burst = rate(5, 1).burst(2).unwrap();
        let cells = rate(5, 1).resolution(10).unwrap();
        assert!(Quota::fixed_window([burst]).unwrap_err().to_string().contains("burst is for gcra only"));
        assert!(Quota::gcra([cells]).unwrap_err().to_string().contains("resolution is for sliding_log only"));
        assert_eq!(Quota::from(cells).algorithm(), Algorithm::SlidingLog);
        assert_eq!(Quota::from(burst).algorithm(), Algorithm::Gcra);
    }

    #[test]
    fn arithmetic_that_does_not_fit_is_refused() {
        let day = Duration::from_secs(86_400);
        let large = Rate::new(100_000_000, day).unwrap();
        assert!(Quota::sliding_window([large]).unwrap_err().to_string().contains("2^63"));
        assert!(Quota::fixed_window([large]).is_ok());
        let larger = Rate::new((1 << 52) + 1, Duration::from_secs(1 << 24)).unwrap();
        assert!(Quota::fixed_window([larger]).unwrap_err().to_string().contains("2^52"));
    }

    #[test]
    fn fingerprints_tell_quotas_apart() {
        let quotas = ["5/s", "5/s burst 6", "6/s", "sliding_log 5/s", "sliding_log 5/s resolution 9", "5/s, 6/h"];
        let quotas = quotas.map(|text| text.parse::<Quota>().unwrap());
        for (i, a) in quotas.iter().enumerate() {
            for (j, b) in quotas.iter().enumerate() {
                assert_eq!(a.fingerprint() == b.fingerprint(), i == j);
            }
        }
    }
}

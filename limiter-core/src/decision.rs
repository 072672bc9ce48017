//! The answer: may it pass, what is left, and when.

use crate::{Rate, algorithm::Level, clock::Timestamp, quota::PeriodText};
use smallvec::SmallVec;
use std::{fmt, time::Duration};

#[cfg(feature = "serde")]
mod serde;

/// The answer to a take or a peek. A denial is one too, not an error.
///
/// ```
/// use limiter_core::Limiter;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::parse("2/s")?;
/// let first = limiter.check("ada")?;
/// assert!(first.allowed());
/// assert_eq!(first.remaining(), 1);
/// limiter.check("ada")?;
/// let third = limiter.check("ada")?;
/// assert!(!third.allowed());
/// assert!(third.retry_after() <= Some(Duration::from_millis(500)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    at: Timestamp,
    wait: Wait,
    /// Bit i: demand i denied. Demands from the 64th on share the last bit.
    denied: u64,
    blocked_us: u64,
    behind_waiters: bool,
    rates: SmallVec<[RateState; 4]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    Micros(u64),
    Forever,
}

impl Decision {
    pub(crate) fn new(at: Timestamp) -> Self {
        Self { at, wait: Wait::Micros(0), denied: 0, blocked_us: 0, behind_waiters: false, rates: SmallVec::new() }
    }

    /// The decision of one rate on one demand, without a block; `None` is a wait for ever.
    #[inline]
    pub(crate) fn of_one(at: Timestamp, wait: Option<u64>, rate: RateState) -> Self {
        let (wait, denied) = match wait {
            Some(wait) => (Wait::Micros(wait), u64::from(wait > 0)),
            None => (Wait::Forever, 1),
        };
        let mut rates = SmallVec::new();
        rates.push(rate);
        Self { at, wait, denied, blocked_us: 0, behind_waiters: false, rates }
    }

    /// Whether the request may pass.
    #[must_use]
    #[inline]
    pub fn allowed(&self) -> bool {
        matches!(self.wait, Wait::Micros(0))
    }

    /// Whole units left after the decision, the least over the rates; 0 while the key is blocked.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        if self.blocked_us > 0 { 0 } else { self.rates.iter().map(RateState::remaining).min().unwrap_or(0) }
    }

    /// The time after which every rate is back to full, if nothing else is taken.
    #[must_use]
    pub fn reset_after(&self) -> Duration {
        let longest = self.rates.iter().map(|rate| rate.reset_after_us).max().unwrap_or(0);
        Duration::from_micros(longest.max(self.blocked_us))
    }

    /// The wait after which the same request is admitted if nothing else is taken: zero where this one was, `None`
    /// where its cost can never fit. Honest to the microsecond: one less, and it is denied.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.wait {
            Wait::Micros(wait) => Some(Duration::from_micros(wait)),
            Wait::Forever => None,
        }
    }

    /// The capacity of the rate that limits most: the one with the longest wait on a denial, else the fewest left.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.tightest().map_or(0, RateState::capacity)
    }

    /// The rate that limits most: the one with the longest wait on a denial, else with the fewest units left.
    ///
    /// ```
    /// use limiter_core::{Limiter, RateState};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("sliding_log 5/s, 6/min")?;
    /// let allowed = limiter.check_n("ada", 3)?; // 2 of 5 left, and 3 of 6
    /// assert_eq!(allowed.tightest().map(RateState::period), Some(Duration::from_secs(1)));
    /// let denied = limiter.check_n("ada", 4)?; // soon there is room for it in a second, but not in a minute
    /// assert_eq!(denied.tightest().map(RateState::period), Some(Duration::from_secs(60)));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tightest(&self) -> Option<&RateState> {
        let least = |rate: &RateState| (std::cmp::Reverse(rate.retry_after_us), rate.remaining);
        self.rates.iter().min_by_key(|rate| least(rate))
    }

    /// Each rate's own state, in the order of the demands and of their quotas' rates.
    ///
    /// ```
    /// use limiter_core::{Limiter, RateState};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("5/s, 100/h")?;
    /// let decision = limiter.check_n("ada", 2)?;
    /// let left: Vec<u64> = decision.rates().iter().map(RateState::remaining).collect();
    /// assert_eq!(left, [3, 98]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn rates(&self) -> &[RateState] {
        &self.rates
    }

    /// The demands that denied, by their place in the call, counted from 0.
    ///
    /// From the 64th on they share one place.
    ///
    /// ```
    /// use limiter_core::{Limiter, MemoryStore};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let user = Limiter::builder("5/day".parse()?).store(store.clone()).name("user").build();
    /// let everybody = Limiter::builder("1/day".parse()?).store(store).name("everybody").build();
    /// let both = Limiter::all([user.on("ada"), everybody.on(())]);
    /// both.check()?;
    /// assert_eq!(both.check()?.denied().collect::<Vec<_>>(), [1]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn denied(&self) -> impl Iterator<Item = usize> + '_ {
        (0..64).filter(|bit| self.denied & (1 << bit) != 0)
    }

    /// What the decision was on the demand at `place`, counted from 0, as if it had been asked alone at that instant: of a
    /// decision over several keys, who denied, and how long it alone would have.
    ///
    /// Of a block, and of those who wait ahead, only the longest wait over all demands is known; it stands for each
    /// demand that denied for that reason.
    ///
    /// ```
    /// use limiter_core::{Limiter, MemoryStore};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let user = Limiter::builder("5/day".parse()?).store(store.clone()).name("user").build();
    /// let everybody = Limiter::builder("1/day".parse()?).store(store).name("everybody").build();
    /// let both = Limiter::all([user.on("ada"), everybody.on(())]);
    /// both.check()?;
    /// let denied = both.check()?;
    /// assert!(denied.part(0).allowed() && denied.part(0).remaining() == 4);
    /// assert!(!denied.part(1).allowed());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn part(&self, place: usize) -> Self {
        let rates = self.rates.iter().filter(|rate| rate.demand() == place);
        let rates: SmallVec<[RateState; 4]> = rates.map(|rate| RateState { demand: 0, ..*rate }).collect();
        let is_denied = self.denied & (1 << place.min(63)) != 0;
        let by_rates = rates.iter().map(|rate| rate.retry_after_us).max().unwrap_or(0);
        let others = is_denied && by_rates == 0; // a block, or those who wait ahead
        Self {
            at: self.at,
            wait: if others { self.wait } else { Wait::Micros(if is_denied { by_rates } else { 0 }) },
            denied: u64::from(is_denied),
            blocked_us: if others { self.blocked_us } else { 0 },
            behind_waiters: others && self.behind_waiters,
            rates,
        }
    }

    /// Whether the request was denied because others wait for the same key already; a check does not overtake them.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use std::future::IntoFuture;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("2/day")?;
    /// limiter.check("ada")?;
    /// let _waiter = tokio::spawn(limiter.acquire("ada").cost(2).into_future());
    /// tokio::task::yield_now().await; // it waits now
    /// let denied = limiter.check("ada")?; // one unit is there, but not for whoever comes last
    /// assert!(!denied.allowed() && denied.behind_waiters());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn behind_waiters(&self) -> bool {
        self.behind_waiters
    }

    /// The time left of the key's block; zero where there is none.
    #[must_use]
    pub fn blocked_for(&self) -> Duration {
        Duration::from_micros(self.blocked_us)
    }

    /// The instant of the decision, by the store's time.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Turns what a peek found into a denial for the sake of those who wait, with the wait to expect.
    pub(crate) fn refused_for_waiters(mut self, demand: usize, wait: Duration) -> Self {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        if self.wait != Wait::Forever {
            self.wait = Wait::Micros(micros.max(1));
        }
        self.behind_waiters = true;
        self.denied |= 1 << demand.min(63);
        self
    }

    /// Denies demand `place` too, for at least `wait`.
    pub(crate) fn denied_too(mut self, place: usize, wait: Duration) -> Self {
        self.add_wait(place, Some(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX).max(1)));
        self
    }

    pub(crate) fn could_fit(&self) -> bool {
        self.wait != Wait::Forever
    }

    pub(crate) fn add_wait(&mut self, demand: usize, wait: Option<u64>) {
        if wait != Some(0) {
            self.denied |= 1 << demand.min(63);
        }
        self.wait = match (self.wait, wait) {
            (Wait::Micros(longest), Some(wait)) => Wait::Micros(longest.max(wait)),
            _ => Wait::Forever,
        };
    }

    pub(crate) fn add_block(&mut self, micros: u64) {
        self.blocked_us = self.blocked_us.max(micros);
    }

    #[inline]
    pub(crate) fn add_rate(&mut self, state: RateState) {
        self.rates.push(state);
    }
}

impl fmt::Display for Decision {
    /// One line for logs: `denied by 5/s: 0 of 5 left, retry after 200ms, reset after 1s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tightest() {
            _ if self.allowed() => f.write_str("allowed")?,
            _ if self.behind_waiters => f.write_str("denied, as others wait")?,
            _ if self.blocked_us > 0 => f.write_str("denied, as the key is blocked")?,
            Some(rate) => write!(f, "denied by {}/{}", rate.capacity, PeriodText(rate.period_us))?,
            None => f.write_str("denied")?,
        }
        let left = match self.tightest() {
            Some(rate) if self.blocked_us == 0 => rate.remaining, // of that very rate
            _ => self.remaining(),
        };
        write!(f, ": {left} of {} left", self.limit())?;
        match self.retry_after() {
            Some(Duration::ZERO) => {}
            Some(wait) => write!(f, ", retry after {wait:?}")?,
            None => write!(f, ", the cost can never fit")?,
        }
        write!(f, ", reset after {:?}", self.reset_after())
    }
}

/// One rate's part of a [`Decision`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateState {
    demand: u32,
    capacity: u64,
    period_us: u64,
    remaining: u64,
    reset_after_us: u64,
    retry_after_us: u64,
    next_unit_us: u64,
}

impl RateState {
    #[inline]
    pub(crate) fn new(demand: usize, rate: &Rate, level: Level, retry_after_us: u64, next_unit_us: u64) -> Self {
        Self {
            demand: u32::try_from(demand).unwrap_or(u32::MAX),
            capacity: rate.capacity(),
            period_us: rate.period_us(),
            remaining: level.remaining,
            reset_after_us: level.reset_after_us,
            retry_after_us,
            next_unit_us,
        }
    }

    /// Which demand of the call the rate belongs to, counted from 0.
    #[must_use]
    pub fn demand(&self) -> usize {
        self.demand as usize
    }

    /// The most units that fit at once.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The rate's period.
    #[must_use]
    pub fn period(&self) -> Duration {
        Duration::from_micros(self.period_us)
    }

    /// Whole units left.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The time until every unit of this rate is back.
    #[must_use]
    pub fn reset_after(&self) -> Duration {
        Duration::from_micros(self.reset_after_us)
    }

    /// The time after which this rate alone would admit what was denied; zero where it admits.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        Duration::from_micros(self.retry_after_us)
    }

    /// The time until this rate has at least one unit left; zero where it has.
    #[must_use]
    pub fn next_unit_after(&self) -> Duration {
        Duration::from_micros(self.next_unit_us)
    }
}

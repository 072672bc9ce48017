//! The answer: may it pass, what is left, and when.

use crate::{clock::Timestamp, quota::PeriodText};
use smallvec::SmallVec;
use std::{fmt, time::Duration};

mod rate_state;
#[cfg(feature = "serde")]
mod serde;

pub use rate_state::RateState;

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
#[derive(Clone, PartialEq, Eq)]
pub struct Decision {
    at: Timestamp,
    /// Microseconds, or [`FOREVER`].
    wait: u64,
    /// Bit i: demand i denied. Demands from the 64th on share the last bit.
    denied: u64,
    /// Microseconds left of the key's block, and [`BEHIND_WAITERS`].
    block: u64,
    /// Two rates need no allocation. With more of them a decision would no longer be moved in registers.
    rates: SmallVec<[RateState; 2]>,
}

/// The wait of a cost that can never fit.
const FOREVER: u64 = u64::MAX;

/// Marks a denial for the sake of others who wait, beside the time of a block, which is shorter than all time.
const BEHIND_WAITERS: u64 = 1 << 63;

impl Decision {
    #[inline]
    pub(crate) fn new(at: Timestamp) -> Self {
        Self { at, wait: 0, denied: 0, block: 0, rates: SmallVec::new() }
    }

    /// [`new`](Self::new), with room for so many rates.
    pub(crate) fn with_rates(at: Timestamp, rates: usize) -> Self {
        Self { rates: SmallVec::with_capacity(rates), ..Self::new(at) }
    }

    /// The decision of one rate on one demand, without a block; `None` is a wait for ever.
    #[inline]
    pub(crate) fn of_one(at: Timestamp, wait: Option<u64>, rate: RateState) -> Self {
        let wait = wait.unwrap_or(FOREVER);
        let mut rates = SmallVec::new();
        rates.push(rate);
        Self { at, wait, denied: u64::from(wait > 0), block: 0, rates }
    }

    /// The decision where no quota applies: allowed, whatever the cost, with [`u64::MAX`] units left.
    ///
    /// For code around a limiter that lets a caller pass without asking it. [`at`](Self::at) is the Unix epoch.
    ///
    /// ```
    /// use limiter_core::Decision;
    ///
    /// let unlimited = Decision::unlimited();
    /// assert!(unlimited.allowed() && !unlimited.is_limited());
    /// assert_eq!((unlimited.remaining(), unlimited.limit()), (u64::MAX, u64::MAX));
    /// assert_eq!(unlimited.to_string(), "allowed: unlimited");
    /// ```
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(Timestamp::MIN)
    }

    /// Whether a quota applied: whether it tells of a rate, or denied.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        !self.rates.is_empty() || !self.allowed()
    }

    /// Whether the request may pass.
    #[must_use]
    #[inline]
    pub fn allowed(&self) -> bool {
        self.wait == 0
    }

    /// Whole units left after the decision, the least over the rates; 0 while the key is blocked, and [`u64::MAX`] where it
    /// was not [limited](Self::is_limited).
    #[must_use]
    pub fn remaining(&self) -> u64 {
        if self.blocked_us() > 0 {
            return 0;
        }
        self.rates.iter().map(RateState::remaining).min().unwrap_or_else(|| self.without_rates())
    }

    /// What is left, and the limit, where no rate tells.
    fn without_rates(&self) -> u64 {
        if self.allowed() { u64::MAX } else { 0 }
    }

    /// The time after which every rate is back to full, if nothing else is taken.
    #[must_use]
    pub fn reset_after(&self) -> Duration {
        let longest = self.rates.iter().map(RateState::reset_after_us).max().unwrap_or(0);
        Duration::from_micros(longest.max(self.blocked_us()))
    }

    /// The wait after which the same request is admitted if nothing else is taken: zero where this one was, `None`
    /// where its cost can never fit. Honest to the microsecond: one less, and it is denied.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.could_fit().then(|| Duration::from_micros(self.wait))
    }

    /// The capacity of the rate that limits most: the one with the longest wait on a denial, else the fewest left.
    /// [`u64::MAX`] where the request was not [limited](Self::is_limited).
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.tightest().map_or_else(|| self.without_rates(), RateState::capacity)
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
        let least = |rate: &RateState| (std::cmp::Reverse(rate.retry_after_us()), rate.remaining());
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
        let rates: SmallVec<[RateState; 2]> = rates.map(RateState::alone).collect();
        let is_denied = self.denied & (1 << place.min(63)) != 0;
        let by_rates = rates.iter().map(RateState::retry_after_us).max().unwrap_or(0);
        let (wait, block) = match (is_denied, by_rates) {
            (false, _) => (0, 0),
            (true, 0) => (self.wait, self.block), // a block, or those who wait ahead
            (true, wait) => (wait, 0),
        };
        Self { at: self.at, wait, denied: u64::from(is_denied), block, rates }
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
        self.block & BEHIND_WAITERS != 0
    }

    /// The time left of the key's block; zero where there is none.
    #[must_use]
    pub fn blocked_for(&self) -> Duration {
        Duration::from_micros(self.blocked_us())
    }

    /// The instant of the decision, by the store's time.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Turns what a peek found into a denial for the sake of those who wait, with the wait to expect.
    pub(crate) fn refused_for_waiters(mut self, demand: usize, wait: Duration) -> Self {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        if self.could_fit() {
            self.wait = micros.clamp(1, FOREVER - 1);
        }
        self.block |= BEHIND_WAITERS;
        self.denied |= 1 << demand.min(63);
        self
    }

    /// Denies demand `place` too, for at least `wait`.
    pub(crate) fn denied_too(mut self, place: usize, wait: Duration) -> Self {
        self.add_wait(place, Some(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX).max(1)));
        self
    }

    pub(crate) fn could_fit(&self) -> bool {
        self.wait != FOREVER
    }

    pub(crate) fn add_wait(&mut self, demand: usize, wait: Option<u64>) {
        if wait != Some(0) {
            self.denied |= 1 << demand.min(63);
        }
        self.wait = self.wait.max(wait.map_or(FOREVER, |wait| wait.min(FOREVER - 1)));
    }

    pub(crate) fn add_block(&mut self, micros: u64) {
        let longest = self.blocked_us().max(micros.min(!BEHIND_WAITERS));
        self.block = self.block & BEHIND_WAITERS | longest;
    }

    fn blocked_us(&self) -> u64 {
        self.block & !BEHIND_WAITERS
    }

    #[inline]
    pub(crate) fn add_rate(&mut self, state: RateState) {
        self.rates.push(state);
    }
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision")
            .field("at", &self.at)
            .field("allowed", &self.allowed())
            .field("retry_after", &self.retry_after())
            .field("denied", &self.denied().collect::<SmallVec<[usize; 4]>>())
            .field("blocked_for", &self.blocked_for())
            .field("behind_waiters", &self.behind_waiters())
            .field("rates", &self.rates())
            .finish()
    }
}

impl fmt::Display for Decision {
    /// One line for logs: `denied by 5/s: 0 of 5 left, retry after 200ms, reset after 1s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tightest() {
            _ if !self.is_limited() => return f.write_str("allowed: unlimited"),
            _ if self.allowed() => f.write_str("allowed")?,
            _ if self.behind_waiters() => f.write_str("denied, as others wait")?,
            _ if self.blocked_us() > 0 => f.write_str("denied, as the key is blocked")?,
            Some(rate) => write!(f, "denied by {}/{}", rate.capacity(), PeriodText(rate.period_us()))?,
            None => f.write_str("denied")?,
        }
        let left = match self.tightest() {
            Some(rate) if self.blocked_us() == 0 => rate.remaining(), // of that very rate
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_small_enough_to_be_moved_in_registers() {
        // Up to 128 bytes compilers copy in place; beyond, each move is a call.
        assert!(size_of::<Option<Result<Decision, crate::Error>>>() <= 128);
    }

    #[test]
    fn a_block_and_a_denial_for_others_do_not_touch() {
        let mut decision = Decision::new(Timestamp::MIN);
        decision.add_block(7);
        let mut decision = decision.refused_for_waiters(0, Duration::from_micros(3));
        assert!(decision.behind_waiters() && decision.blocked_for() == Duration::from_micros(7));
        decision.add_block(u64::MAX);
        assert!(decision.behind_waiters() && decision.could_fit());
        assert_eq!(decision.retry_after(), Some(Duration::from_micros(3)));
        decision.add_wait(1, None);
        decision.add_wait(2, Some(5));
        assert_eq!(decision.retry_after(), None);
        assert_eq!(decision.denied().collect::<Vec<_>>(), [0, 1, 2]);
    }
}

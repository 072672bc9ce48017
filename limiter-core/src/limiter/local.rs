//! The calls that an in-process store answers at once.

use super::Limiter;
use crate::{Decision, Error, Key, Timestamp, key::with_bytes, store::LocalStore, wait::block_on};
use std::time::Duration;

/// In-process stores: plain calls, which never block and, on memory, never fail for a cost that fits.
impl<S: LocalStore> Limiter<S> {
    /// Takes one unit if it is there.
    ///
    /// Does not overtake who waits for the key: it is then denied, with the wait to expect
    /// ([`Decision::behind_waiters`]).
    ///
    /// On memory: one short lock of one of 64 shards, and no allocation save for a new key, a log that grows
    /// or an answer about more than two rates.
    ///
    /// ```
    /// use limiter_core::Limiter;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("1/min")?;
    /// assert!(limiter.check("ada")?.allowed());
    /// let denied = limiter.check("ada")?;
    /// assert!(!denied.allowed());
    /// println!("try again in {:?}", denied.retry_after());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`], which memory never gives. A denial is no error.
    #[inline]
    pub fn check(&self, key: impl Key) -> Result<Decision, Error> {
        self.check_n(key, 1)
    }

    /// Takes `cost` units if all of them are there. A cost of 0 looks only.
    ///
    /// ```
    /// use limiter_core::{Error, Limiter};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("10/day")?; // ten bytes, ten tokens, ten of anything
    /// assert!(limiter.check_n("ada", 7)?.allowed());
    /// assert!(!limiter.check_n("ada", 7)?.allowed());
    /// assert_eq!(limiter.check_n("ada", 0)?.remaining(), 3); // the denial took nothing
    /// assert!(matches!(limiter.check_n("ada", 11), Err(Error::NeverFits { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NeverFits`] for a cost above the quota's capacity; [`Error::Store`], which memory never gives.
    #[inline]
    pub fn check_n(&self, key: impl Key, cost: u64) -> Result<Decision, Error> {
        with_bytes(&key, |key| self.check_here(key, cost))
    }

    /// One call of its own for all types of keys.
    fn check_here(&self, key: &[u8], cost: u64) -> Result<Decision, Error> {
        if cost > 0 && self.0.queues.has_refused(key) {
            return self.check_behind(key, cost);
        }
        self.0.check_here(key, cost)
    }

    /// Denied at once, for the sake of those who wait.
    #[cold]
    fn check_behind(&self, key: &[u8], cost: u64) -> Result<Decision, Error> {
        block_on(self.check_bytes(key, cost))
    }

    /// Takes as many units as are there, up to `most`; how many, with the decision that took them. None is no error.
    ///
    /// ```
    /// use limiter_core::Limiter;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("10/day")?;
    /// limiter.check_n("ada", 7)?;
    /// let (taken, decision) = limiter.take_up_to("ada", 5)?;
    /// assert_eq!((taken, decision.remaining()), (3, 0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`], which memory never gives.
    pub fn take_up_to(&self, key: impl Key, most: u64) -> Result<(u64, Decision), Error> {
        self.blocking().take_up_to(key, most)
    }

    /// What a check of one unit would answer; takes nothing.
    ///
    /// ```
    /// use limiter_core::Limiter;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("10/day")?;
    /// assert_eq!(limiter.peek("ada")?.remaining(), 10);
    /// assert_eq!(limiter.peek("ada")?.remaining(), 10);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn peek(&self, key: impl Key) -> Result<Decision, Error> {
        self.peek_n(key, 1)
    }

    /// What a check of `cost` units would answer; takes nothing.
    ///
    /// # Errors
    /// As [`check_n`](Self::check_n).
    pub fn peek_n(&self, key: impl Key, cost: u64) -> Result<Decision, Error> {
        self.blocking().peek_n(key, cost)
    }

    /// Takes `cost` units without asking, into at most one full quota of debt: a penalty, or a cost known too late.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("10/day")?;
    /// limiter.check_n("ada", 8)?;
    /// let owed = limiter.charge("ada", 5)?; // 13 in use: 3 in debt
    /// assert_eq!(owed.remaining(), 0);
    /// assert!(owed.reset_after() > Duration::from_secs(24 * 3600));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`], which memory never gives.
    pub fn charge(&self, key: impl Key, cost: u64) -> Result<Decision, Error> {
        self.blocking().charge(key, cost)
    }

    /// Returns what a take of `cost` units at the instant `taken` ([`Decision::at`]) still holds; it never mints.
    ///
    /// Only the part of a take that has not drained or left its window since comes back. A take must be refunded once.
    ///
    /// ```
    /// use limiter_core::Limiter;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("10/day")?;
    /// let taken = limiter.check_n("ada", 4)?;
    /// // The work failed before it began.
    /// assert_eq!(limiter.refund("ada", 4, taken.at())?.remaining(), 10);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`], which memory never gives.
    pub fn refund(&self, key: impl Key, cost: u64, taken: Timestamp) -> Result<Decision, Error> {
        self.blocking().refund(key, cost, taken)
    }

    /// Forgets a key: all its units are back, and its block is gone.
    ///
    /// Nothing comes back of this limiter's permits from before it, or from while it was under way. What is
    /// [refunded](Self::refund) by its instant, or by another process or limiter that shares the key, is to be from after
    /// it: nobody else knows what was forgotten, and units that were taken since would be given back.
    ///
    /// ```
    /// use limiter_core::Limiter;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("10/day")?;
    /// limiter.check_n("ada", 10)?;
    /// limiter.reset("ada")?;
    /// assert_eq!(limiter.peek("ada")?.remaining(), 10);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`], which memory never gives.
    pub fn reset(&self, key: impl Key) -> Result<(), Error> {
        self.blocking().reset(key)
    }

    /// Denies every take for `key` during `duration` from now, whatever its quota says; zero ends a block.
    ///
    /// A block stands beside the units in use and leaves them alone. Who waits goes on waiting until it ends.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("10/day")?;
    /// limiter.block("ada", Duration::from_secs(30))?; // a server asked for a pause
    /// let denied = limiter.check("ada")?;
    /// assert!(!denied.allowed() && denied.blocked_for() > Duration::from_secs(29));
    /// limiter.block("ada", Duration::ZERO)?;
    /// assert!(limiter.check("ada")?.allowed());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`], which memory never gives.
    pub fn block(&self, key: impl Key, duration: Duration) -> Result<Decision, Error> {
        self.blocking().block(key, duration)
    }

    /// Denies every take for `key` during at least `duration` from now: a block that ends later stays.
    ///
    /// # Errors
    /// [`Error::Store`], which memory never gives.
    pub fn block_at_least(&self, key: impl Key, duration: Duration) -> Result<Decision, Error> {
        self.blocking().block_at_least(key, duration)
    }

    /// Denies every take for `key` until the instant `until`; one in the past ends a block. See [`block`](Self::block).
    ///
    /// # Errors
    /// [`Error::Store`], which memory never gives.
    pub fn block_until(&self, key: impl Key, until: Timestamp) -> Result<Decision, Error> {
        self.blocking().block_until(key, until)
    }

    /// Drops the states of idle keys, and says how many. Nobody must call it: idle keys are reclaimed as new ones come.
    ///
    /// On memory it looks at every key, a shard's lock at a time.
    ///
    /// ```
    /// use limiter_core::{Limiter, ManualClock};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::default();
    /// let limiter = Limiter::builder("5/s".parse()?).clock(clock.clone()).build();
    /// limiter.check("ada")?;
    /// assert_eq!(limiter.sweep()?, 0); // still limits
    /// clock.advance(Duration::from_secs(1));
    /// assert_eq!(limiter.sweep()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`], which memory never gives.
    pub fn sweep(&self) -> Result<usize, Error> {
        self.blocking().sweep()
    }
}

//! The façade: a quota over a store.

mod all;
mod blocking;
mod builder;
mod calls;
mod core;
mod heard;
mod local;
mod one_key;

pub use all::{All, Ask};
pub use blocking::Blocking;
pub use builder::LimiterBuilder;
pub(crate) use core::{Core, fits, never_fits};
pub use one_key::KeyLimiter;

use crate::{
    Error, Key, MemoryStore, Quota, QuotaError,
    key::{KeyBuf, with_bytes},
    store::{Adjust, Store},
    wait::{Acquire, Permit, Place, Slots},
};
use core::Rule;
use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

/// A quota over a store: asks, waits and gives back, for any number of keys. Clones share everything.
///
/// | call | waits | for |
/// | --- | --- | --- |
/// | [`check`](Self::check), [`check_n`](Self::check_n) | no | in-process stores: a plain call |
/// | [`check_async`](Self::check_async), [`check_n_async`](Self::check_n_async) | no | every store |
/// | [`blocking`](Self::blocking)`().check(..)` | no | every store, from code without a runtime |
/// | [`acquire`](Self::acquire)`(..).await` | until the units are there | every store |
/// | [`acquire`](Self::acquire)`(..).blocking()` | until the units are there | every store, without a runtime |
/// | [`for_key`](Self::for_key)`(..).acquire().await` | until the units are there | one key, over and over: the quickest |
/// | [`reserve`](Self::reserve) | no: it says how long to wait | every store |
/// | [`all`](Self::all)`(..).check()` | no | several keys, also of several limiters, all or nothing |
/// | [`all`](Self::all)`(..).acquire().await` | until all units are there | the same |
///
/// ```
/// use limiter_core::{Limiter, Quota, Rate};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::new(Quota::gcra([Rate::per_minute(10)?.burst(2)?])?);
/// assert!(limiter.check("ada")?.allowed());
/// assert!(limiter.check("ada")?.allowed());
/// assert!(!limiter.check("ada")?.allowed());
/// assert!(limiter.check("bob")?.allowed());
/// # Ok(())
/// # }
/// ```
pub struct Limiter<S: Store = MemoryStore>(Arc<Core<S>>);

impl Limiter {
    /// A limiter in this process's memory.
    ///
    /// ```
    /// use limiter_core::{Limiter, Quota, Rate};
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let bucket = Limiter::new(Rate::per_second(5)?);
    /// let log = Limiter::new(Quota::sliding_log([Rate::per_second(5)?, Rate::per_hour(1000)?])?);
    /// # let _ = (bucket, log);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(quota: impl Into<Quota>) -> Self {
        Self::builder(quota.into()).build()
    }

    /// A limiter in this process's memory, of a quota in text: `"5/s"`, `"sliding_log 10/s, 100/min"`.
    ///
    /// ```
    /// use limiter_core::Limiter;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("5/s, 1000/h")?;
    /// assert_eq!(limiter.check("ada")?.remaining(), 4);
    /// assert!(Limiter::parse("5 a day").is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A text that is not a quota, or one that is refused.
    pub fn parse(quota: &str) -> Result<Self, QuotaError> {
        Ok(Self::new(quota.parse::<Quota>()?))
    }

    /// Settings for a limiter: another store, clock or timer, a name, bounds on waiting.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::builder("5/s".parse()?).name("search").max_wait(Duration::from_secs(2)).build();
    /// assert_eq!(limiter.name(), "search");
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(quota: Quota) -> LimiterBuilder {
        LimiterBuilder::new(Rule::One(quota))
    }

    /// Settings for a limiter whose quota depends on the key: plans, endpoints.
    ///
    /// `rule` is asked at every decision and should be quick: look a quota up, do not build one. When its answer for a
    /// key changes, the key's units in use stay in use, as with [`set_quota`](Self::set_quota): at most to full, and
    /// parts of a unit rounded up, at every change. A rule that goes to and fro between a smaller and a larger quota
    /// therefore forgets, each time, what the smaller one has no room for; let its answer for a key change rarely. To calls
    /// under way on other threads a new answer may come late, which is such a change to and fro: a rule that is replaced
    /// by [`set_rule`](Limiter::set_rule) makes none.
    ///
    /// ```
    /// use limiter_core::{Key, Limiter, Quota};
    /// use std::collections::HashMap;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let free: Quota = "2/min".parse()?;
    /// let plans = HashMap::from([(b"ada".to_vec(), "100/min".parse::<Quota>()?)]);
    /// let limiter = Limiter::by_key(move |key| plans.get(key).unwrap_or(&free).clone()).build();
    /// assert_eq!(limiter.check("ada")?.remaining(), 99);
    /// assert_eq!(limiter.check("bob")?.remaining(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn by_key(rule: impl Fn(&[u8]) -> Quota + Send + Sync + 'static) -> LimiterBuilder {
        LimiterBuilder::new(Rule::ByKey(Arc::new(rule)))
    }

    /// Settings for a limiter with a quota for each key of a table, and `default` for all others.
    ///
    /// ```
    /// use limiter_core::Limiter;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let table = [(("GET", "/search"), "5/s".parse()?), (("POST", "/export"), "2/h".parse()?)];
    /// let limiter = Limiter::by_table("100/s".parse()?, table).build();
    /// assert_eq!(limiter.check(("POST", "/export"))?.limit(), 2);
    /// assert_eq!(limiter.check(("GET", "/"))?.limit(), 100);
    /// # Ok(())
    /// # }
    /// ```
    pub fn by_table<K: Key>(default: Quota, table: impl IntoIterator<Item = (K, Quota)>) -> LimiterBuilder {
        let table = table.into_iter().map(|(key, quota)| (KeyBuf::of(&key).as_slice().into(), quota));
        let table: HashMap<Box<[u8]>, Quota> = table.collect();
        Self::by_key(move |key| table.get(key).unwrap_or(&default).clone())
    }
}

/// Every store.
impl<S: Store> Limiter<S> {
    /// Takes one unit, and waits for it where it must: await the request, or call [`blocking`](Acquire::blocking).
    ///
    /// First come, first served on each key, whatever the costs; waiting on one key never delays another. Neither the
    /// request nor its permit borrows anything, so both can go into spawned tasks (elsewhere: `acquire_owned`).
    ///
    /// ```
    /// use limiter_core::{Error, Limiter};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("100/min")?;
    /// let permit = limiter.acquire("ada").cost(60).await?; // waits as long as it takes
    /// assert_eq!(permit.decision().remaining(), 40);
    ///
    /// let second = Duration::from_secs(1);
    /// match limiter.acquire("ada").cost(60).timeout(second).await {
    ///     Err(Error::WaitTooLong { needed, .. }) => assert!(needed > second), // said at once, and nothing taken
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn acquire(&self, key: impl Key) -> Acquire<S> {
        Acquire::new(self, KeyBuf::of(&key))
    }

    /// Takes `cost` units now, for use after the wait it returns beside the permit: zero where they are there.
    ///
    /// For callers that schedule by themselves. It reserves the earliest instant at which the units fit, so whoever
    /// asks later gets a later one; it does not stand in the line of those who [`acquire`](Self::acquire). Of a window or a
    /// log it can be refunded like any other permit; a bucket keeps what was reserved, as later reservations build on it.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("1/s")?;
    /// let (_now, wait) = limiter.reserve("ada", 1).await?;
    /// assert_eq!(wait, Duration::ZERO);
    /// let (_later, wait) = limiter.reserve("ada", 1).await?;
    /// assert!(wait > Duration::from_millis(900));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::WaitTooLong`] where the instant is further away than the quota's [`reach`](Quota::reach), or the key is
    /// blocked until then; nothing is taken then. [`Error::NeverFits`];
    /// [`Error::Store`].
    pub async fn reserve(&self, key: impl Key + Send, cost: u64) -> Result<(Permit<S>, Duration), Error> {
        self.reserve_bytes(KeyBuf::of(&key).as_slice(), cost).await
    }

    async fn reserve_bytes(&self, key: &[u8], cost: u64) -> Result<(Permit<S>, Duration), Error> {
        let (quota, since) = (self.0.quota(key), self.0.resets());
        fits(&quota, cost)?;
        let decision = self.0.adjust(key, cost, Adjust::Reserve).await?;
        if decision.allowed() {
            let wait = decision.at().saturating_since(self.0.now().await?);
            return Ok((Permit::new(Arc::clone(&self.0), KeyBuf::of(key), cost, decision, None, since), wait));
        }
        let needed = decision.retry_after().ok_or_else(|| never_fits(&quota, cost))?;
        Err(Error::WaitTooLong { needed, allowed: quota.reach().min(needed.saturating_sub(Duration::from_micros(1))) })
    }

    /// The quota that `key` is under.
    #[must_use]
    pub fn quota_of(&self, key: impl Key) -> Quota {
        self.with_quota_of(key, Quota::clone)
    }

    /// Runs `look` with the quota that `key` is under, without a clone of it.
    pub fn with_quota_of<R>(&self, key: impl Key, look: impl FnOnce(&Quota) -> R) -> R {
        with_bytes(&key, |key| self.0.with_demand(key, 0, |demand| look(demand.quota)))
    }

    /// The quota; `None` where it depends on the key.
    #[must_use]
    pub fn quota(&self) -> Option<Quota> {
        match &self.0.plan.get().rule {
            Rule::One(quota) => Some(quota.clone()),
            Rule::ByKey(_) => None,
        }
    }

    /// Puts every key under another quota, from now on, in this process.
    ///
    /// What is in use stays in use: at its next decision each key's new rates are charged with the units in use under
    /// the old rate of the same period, else with the most in use under any, at most to full. That goes for units
    /// [reserved](Self::reserve) for later too; they are used at the instants that were told, on top of what the new quota
    /// grants by then. Nothing comes back of a permit from before the change, as what it still holds is not known any more.
    /// Who waits goes on waiting, by the new quota.
    ///
    /// A call that is under way at that instant on another thread is decided under the quota that its key is under by then:
    /// once a key has changed, nothing in this limiter changes it back. Other processes, and other limiters of this name,
    /// go on under theirs until they are told too; until then their keys go to and fro, and what the smaller quota has no
    /// room for is forgotten.
    ///
    /// ```
    /// use limiter_core::Limiter;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("fixed_window 10/day")?;
    /// limiter.check_n("ada", 8)?;
    /// limiter.set_quota("fixed_window 20/day".parse()?);
    /// assert_eq!(limiter.check("ada")?.remaining(), 11);
    /// limiter.restart("fixed_window 20/day".parse()?); // nothing is in use any more
    /// assert_eq!(limiter.check("ada")?.remaining(), 19);
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_quota(&self, quota: Quota) {
        self.0.plan.change(Rule::One(quota));
        self.0.queues.nudge_all();
    }

    /// Gives each key its quota by another rule from now on, in this process; see [`by_key`](Limiter::by_key) for rules,
    /// and [`set_quota`](Self::set_quota) for what becomes of the units in use.
    pub fn set_rule(&self, rule: impl Fn(&[u8]) -> Quota + Send + Sync + 'static) {
        self.0.plan.change(Rule::ByKey(Arc::new(rule)));
        self.0.queues.nudge_all();
    }

    /// Puts every key under another quota with nothing in use and no block; see [`set_quota`](Self::set_quota).
    pub fn restart(&self, quota: Quota) {
        self.0.plan.restart(Rule::One(quota), &self.0.resets);
        self.0.queues.nudge_all();
    }

    /// The limiter's name in its store: as set, or the quota's text at the start.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.plan.name()
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.0.store
    }

    /// How many callers wait now, over all keys.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.queues.waiting()
    }

    /// How many permits and places of a key can be held at once; see [`at_once`](LimiterBuilder::at_once). `None` where
    /// that is not bounded.
    #[must_use]
    pub fn at_once(&self) -> Option<usize> {
        self.0.queues.slots().map(Slots::most)
    }

    /// A place among those of `key` that can be held [at once](LimiterBuilder::at_once), for who checks rather than
    /// [acquires](Self::acquire), whose permits have theirs. It takes no units, and never waits; where the limiter sets
    /// no bound there is always one, and no allocation.
    ///
    /// ```
    /// use limiter_core::{Error, Limiter};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::builder("100/s".parse()?).at_once(1).build();
    /// let at_work = limiter.place("ada")?;
    /// assert!(limiter.check("ada")?.allowed()); // units are another matter
    /// assert!(matches!(limiter.place("ada"), Err(Error::TooManyAtOnce { most: 1, .. })));
    /// drop(at_work);
    /// assert!(limiter.place("ada").is_ok());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::TooManyAtOnce`].
    pub fn place(&self, key: impl Key) -> Result<Place, Error> {
        let Some(most) = self.at_once() else { return Ok(Place::new(None)) };
        let slot = with_bytes(&key, |key| self.0.queues.enter(key));
        slot.map(Place::new).map_err(|_| Error::TooManyAtOnce { most, part: None })
    }

    /// Lets those who wait finish, and nobody wait any more; ends when the last of them has gone.
    ///
    /// [`acquire`](Self::acquire) fails with [`Error::Closed`] from now on, also on the clones. Nobody has to close a
    /// limiter: when its last clone and waiter are gone, nothing of it goes on.
    ///
    /// ```
    /// use limiter_core::{Error, Limiter};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), limiter_core::QuotaError> {
    /// let limiter = Limiter::parse("5/s")?;
    /// limiter.close().await;
    /// assert!(matches!(limiter.acquire("ada").await, Err(Error::Closed)));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&self) {
        self.0.queues.close();
        std::future::poll_fn(|cx| self.0.queues.poll_idle(cx)).await;
    }

    /// Fails those who wait with [`Error::Closed`], and lets nobody wait any more. Who waits for a key of another limiter
    /// too, and stands in that one's line, fails when it next asks.
    pub fn close_now(&self) {
        self.0.queues.close();
        self.0.queues.fail_all();
    }

    pub(crate) fn core(&self) -> &Arc<Core<S>> {
        &self.0
    }
}

impl<S: Store> Clone for Limiter<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Store> fmt::Debug for Limiter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.0.plan.get();
        f.debug_struct("Limiter").field("name", &self.name()).field("quota", &plan.rule).finish_non_exhaustive()
    }
}

//! The façade: a quota over a store.

use crate::{
    Clock, Decision, Error, Key, KeyState, MemoryStore, Quota, QuotaError, Timestamp,
    error::StoreError,
    key::{KeyBuf, with_bytes},
    store::{Adjust, Demand, LocalStore, Scope, Store},
    wait::{Acquire, Queues, Sleep, ThreadTimer},
};
use std::{fmt, sync::Arc, time::Duration};

/// A quota over a store: asks, waits and gives back, for any number of keys. Clones share everything.
///
/// | call | waits | for |
/// | --- | --- | --- |
/// | [`check`](Self::check), [`check_n`](Self::check_n) | no | in-process stores: a plain call |
/// | [`check_async`](Self::check_async) | no | every store |
/// | [`acquire`](Self::acquire)`(..).await` | until the units are there | every store |
/// | [`acquire`](Self::acquire)`(..).blocking()` | until the units are there | every store, without a runtime |
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

/// What the clones of a limiter share.
pub(crate) struct Core<S: Store> {
    scope: Scope,
    pub(crate) quota: Quota,
    store: S,
    clock: Option<Arc<dyn Clock>>,
    pub(crate) sleep: Arc<dyn Sleep>,
    pub(crate) buffer: Duration,
    pub(crate) max_wait: Option<Duration>,
    pub(crate) queues: Queues,
}

impl Limiter {
    /// A limiter in this process's memory.
    #[must_use]
    pub fn new(quota: impl Into<Quota>) -> Self {
        Self::builder(quota.into()).build()
    }

    /// A limiter in this process's memory, of a quota in text: `"5/s"`, `"sliding_log 10/s, 100/min"`.
    ///
    /// # Errors
    /// A text that is not a quota, or one that is refused.
    pub fn parse(quota: &str) -> Result<Self, QuotaError> {
        Ok(Self::new(quota.parse::<Quota>()?))
    }

    /// Settings for a limiter: another store, clock or timer, a name, bounds on waiting.
    pub fn builder(quota: Quota) -> LimiterBuilder {
        LimiterBuilder {
            name: None,
            quota,
            store: MemoryStore::new(),
            clock: None,
            sleep: Arc::new(ThreadTimer),
            buffer: Duration::ZERO,
            max_wait: None,
            max_waiters: 100_000,
        }
    }
}

/// Every store.
impl<S: Store> Limiter<S> {
    /// Takes one unit if it is there; never waits.
    ///
    /// # Errors
    /// [`Error::Store`]. A denial is no error.
    pub async fn check_async(&self, key: impl Key + Send) -> Result<Decision, Error> {
        self.check_n_async(key, 1).await
    }

    /// Takes `cost` units if all of them are there; never waits. A cost of 0 looks only.
    ///
    /// # Errors
    /// [`Error::NeverFits`] for a cost above the quota's capacity; [`Error::Store`].
    pub async fn check_n_async(&self, key: impl Key + Send, cost: u64) -> Result<Decision, Error> {
        let key = KeyBuf::of(&key);
        self.0.fits(cost)?;
        if cost > 0 && self.0.queues.has(key.as_slice()) {
            return self.0.behind_waiters(key.as_slice(), cost).await;
        }
        Ok(self.0.take(key.as_slice(), cost).await?)
    }

    /// Takes one unit, and waits for it where it must: await the request, or call [`blocking`](Acquire::blocking).
    ///
    /// First come, first served on each key, whatever the costs; waiting on one key never delays another.
    pub fn acquire(&self, key: impl Key) -> Acquire<S> {
        Acquire::new(self, KeyBuf::of(&key))
    }

    /// The quota.
    #[must_use]
    pub fn quota(&self) -> &Quota {
        &self.0.quota
    }

    /// The limiter's name in its store: as set, or the quota's text.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.scope.name()
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

    /// Denies every take for `key` during `duration` from now, whatever its quota says; zero ends a block.
    ///
    /// A block stands beside the units in use and leaves them alone. Who waits goes on waiting until it ends.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn block_async(&self, key: impl Key + Send, duration: Duration) -> Result<Decision, Error> {
        let key = KeyBuf::of(&key);
        let until = self.0.now().await?.saturating_add(duration);
        self.0.adjust(key.as_slice(), 0, Adjust::Block { until }).await
    }

    pub(crate) fn core(&self) -> &Arc<Core<S>> {
        &self.0
    }
}

/// In-process stores: plain calls, which never block and, on memory, never fail for a cost that fits.
impl<S: LocalStore> Limiter<S> {
    /// Takes one unit if it is there.
    ///
    /// Does not overtake who waits for the key: it is then denied, with the wait to expect
    /// ([`Decision::behind_waiters`]).
    ///
    /// # Errors
    /// [`Error::Store`], which memory never gives. A denial is no error.
    #[inline]
    pub fn check(&self, key: impl Key) -> Result<Decision, Error> {
        self.check_n(key, 1)
    }

    /// Takes `cost` units if all of them are there. A cost of 0 looks only.
    ///
    /// # Errors
    /// [`Error::NeverFits`] for a cost above the quota's capacity; [`Error::Store`], which memory never gives.
    #[inline]
    pub fn check_n(&self, key: impl Key, cost: u64) -> Result<Decision, Error> {
        with_bytes(&key, |key| {
            let demand = self.0.demand(key, cost);
            self.0.fits(cost)?;
            if cost > 0 && self.0.queues.has(key) {
                return self.0.behind_waiters_now(key, cost);
            }
            Ok(LocalStore::take(&self.0.store, &[demand], self.0.clock())?)
        })
    }

    /// What a check of one unit would answer; takes nothing.
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
        with_bytes(&key, |key| {
            self.0.fits(cost)?;
            if cost > 0 && self.0.queues.has(key) {
                return self.0.behind_waiters_now(key, cost);
            }
            Ok(LocalStore::peek(&self.0.store, &[self.0.demand(key, cost)], self.0.clock())?)
        })
    }

    /// Forgets a key: all its units are back, and its block is gone.
    ///
    /// # Errors
    /// [`Error::Store`], which memory never gives.
    pub fn reset(&self, key: impl Key) -> Result<(), Error> {
        with_bytes(&key, |key| {
            LocalStore::reset(&self.0.store, &self.0.scope, key)?;
            self.0.queues.nudge(key);
            Ok(())
        })
    }

    /// Denies every take for `key` during `duration` from now, whatever its quota says; zero ends a block.
    ///
    /// # Errors
    /// [`Error::Store`], which memory never gives.
    pub fn block(&self, key: impl Key, duration: Duration) -> Result<Decision, Error> {
        with_bytes(&key, |key| {
            let until = LocalStore::now(&self.0.store, self.0.clock())?.saturating_add(duration);
            let adjust = Adjust::Block { until };
            let decision = LocalStore::adjust(&self.0.store, self.0.demand(key, 0), adjust, self.0.clock())?;
            self.0.queues.nudge(key);
            Ok(decision)
        })
    }

    /// Drops the states of idle keys, and says how many. Nobody must call it: idle keys are reclaimed as new ones come.
    ///
    /// # Errors
    /// [`Error::Store`], which memory never gives.
    pub fn sweep(&self) -> Result<usize, Error> {
        Ok(LocalStore::sweep(&self.0.store, self.0.clock())?)
    }
}

impl<S: Store> Core<S> {
    pub(crate) fn never_fits(&self, cost: u64) -> Error {
        Error::NeverFits { cost, capacity: self.quota.capacity() }
    }

    pub(crate) fn take_now(&self, key: &[u8], cost: u64) -> Option<Result<Decision, StoreError>> {
        self.store.take_now(&[self.demand(key, cost)], self.clock())
    }

    pub(crate) async fn take(&self, key: &[u8], cost: u64) -> Result<Decision, StoreError> {
        Store::take(&self.store, &[self.demand(key, cost)], self.clock()).await
    }

    pub(crate) async fn now(&self) -> Result<Timestamp, StoreError> {
        Store::now(&self.store, self.clock()).await
    }

    pub(crate) async fn snapshot(&self, key: &[u8]) -> Option<(KeyState, Timestamp)> {
        Store::snapshot(&self.store, self.demand(key, 0), self.clock()).await
    }

    pub(crate) async fn refund(&self, key: &[u8], cost: u64, taken: Timestamp) -> Result<Decision, Error> {
        self.adjust(key, cost, Adjust::Refund { taken }).await
    }

    pub(crate) async fn adjust(&self, key: &[u8], cost: u64, adjust: Adjust) -> Result<Decision, Error> {
        let decision = Store::adjust(&self.store, self.demand(key, cost), adjust, self.clock()).await?;
        self.queues.nudge(key);
        Ok(decision)
    }

    fn demand<'a>(&'a self, key: &'a [u8], cost: u64) -> Demand<'a> {
        Demand::new(&self.scope, key, &self.quota, cost)
    }

    fn clock(&self) -> Option<&dyn Clock> {
        self.clock.as_deref()
    }

    #[inline]
    fn fits(&self, cost: u64) -> Result<(), Error> {
        if cost > self.quota.capacity() { Err(self.never_fits(cost)) } else { Ok(()) }
    }

    /// The denial of a request that would overtake those who wait.
    async fn behind_waiters(&self, key: &[u8], cost: u64) -> Result<Decision, Error> {
        let decision = Store::peek(&self.store, &[self.demand(key, cost)], self.clock()).await?;
        Ok(self.refuse_for_waiters(key, cost, decision, self.snapshot(key).await))
    }

    fn refuse_for_waiters(
        &self,
        key: &[u8],
        cost: u64,
        decision: Decision,
        state: Option<(KeyState, Timestamp)>,
    ) -> Decision {
        let expected = self.queues.expected(key, &self.quota, cost, state);
        let wait = expected.map(|at| at.saturating_since(decision.at()));
        let least = decision.retry_after().unwrap_or_default();
        decision.refused_for_waiters(wait.unwrap_or_default().max(least))
    }
}

impl<S: LocalStore> Core<S> {
    #[cold]
    fn behind_waiters_now(&self, key: &[u8], cost: u64) -> Result<Decision, Error> {
        let demand = self.demand(key, cost);
        let decision = LocalStore::peek(&self.store, &[demand], self.clock())?;
        let state = LocalStore::snapshot(&self.store, demand, self.clock());
        Ok(self.refuse_for_waiters(key, cost, decision, state))
    }
}

impl<S: Store> Clone for Limiter<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Store> fmt::Debug for Limiter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("name", &self.name()).field("quota", self.quota()).finish_non_exhaustive()
    }
}

/// Settings of a [`Limiter`]; see [`Limiter::builder`].
#[must_use = "a builder makes its limiter in `build`"]
pub struct LimiterBuilder<S: Store = MemoryStore> {
    name: Option<Box<str>>,
    quota: Quota,
    store: S,
    clock: Option<Arc<dyn Clock>>,
    sleep: Arc<dyn Sleep>,
    buffer: Duration,
    max_wait: Option<Duration>,
    max_waiters: usize,
}

impl<S: Store> LimiterBuilder<S> {
    /// Names the limiter. Limiters of different names share a store without meeting; the same name with the same
    /// quota is the same limiter, in every process. Without a name, the quota's text is it.
    pub fn name(mut self, name: impl Into<Box<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Keeps state in `store`.
    pub fn store<T: Store>(self, store: T) -> LimiterBuilder<T> {
        let Self { name, quota, clock, sleep, buffer, max_wait, max_waiters, .. } = self;
        LimiterBuilder { name, quota, store, clock, sleep, buffer, max_wait, max_waiters }
    }

    /// Decides by `clock` instead of the store's own time.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Waits on `sleep` instead of the [`ThreadTimer`].
    pub fn sleep(mut self, sleep: impl Sleep) -> Self {
        self.sleep = Arc::new(sleep);
        self
    }

    /// Adds slack to each wait, for servers whose clocks or windows differ from ours. None by default.
    pub fn buffer(mut self, slack: Duration) -> Self {
        self.buffer = slack;
        self
    }

    /// How long [`acquire`](Limiter::acquire) waits at most where the call does not say; for ever by default.
    pub fn max_wait(mut self, limit: Duration) -> Self {
        self.max_wait = Some(limit);
        self
    }

    /// How many callers can wait at once, over all keys; 100,000 by default. One more is refused.
    pub fn max_waiters(mut self, callers: usize) -> Self {
        self.max_waiters = callers;
        self
    }

    /// The limiter.
    #[must_use]
    pub fn build(self) -> Limiter<S> {
        let name = self.name.unwrap_or_else(|| self.quota.to_string().into());
        Limiter(Arc::new(Core {
            scope: Scope::new(name),
            quota: self.quota,
            store: self.store,
            clock: self.clock,
            sleep: self.sleep,
            buffer: self.buffer,
            max_wait: self.max_wait,
            queues: Queues::new(self.max_waiters, self.buffer),
        }))
    }
}

impl<S: Store> fmt::Debug for LimiterBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimiterBuilder").field("name", &self.name).field("quota", &self.quota).finish_non_exhaustive()
    }
}

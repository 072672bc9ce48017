//! How a limiter is put together.

use super::{
    Limiter,
    core::{Core, Plans, Rule},
    heard::Heard,
};
use crate::{
    Clock, MemoryStore, Quota,
    store::{Resets, Store},
    wait::{Queues, Sleep, ThreadTimer},
};
use std::{fmt, sync::Arc, time::Duration};

/// Settings of a [`Limiter`]; see [`Limiter::builder`].
///
/// ```
/// use limiter_core::{Limiter, MemoryStore};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::builder().max_keys(10_000).build();
/// let logins = Limiter::builder("5/min".parse()?).name("logins").store(store.clone()).build();
/// let exports = Limiter::builder("5/min".parse()?)
///     .name("exports") // the same store and quota: without a name of its own it would be the same limit
///     .store(store)
///     .buffer(Duration::from_millis(5))
///     .max_wait(Duration::from_secs(2))
///     .max_waiters(1_000)
///     .build();
/// logins.check_n("ada", 5)?;
/// assert_eq!(exports.check("ada")?.remaining(), 4);
/// # Ok(())
/// # }
/// ```
///
/// With a [`ManualClock`](crate::ManualClock) for both clock and timer, limits and waits are tested in virtual time:
///
/// ```
/// use limiter_core::{Limiter, ManualClock};
/// use std::{future::IntoFuture, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = ManualClock::default();
/// let quota = "sliding_log 1/h".parse()?;
/// let limiter = Limiter::builder(quota).clock(clock.clone()).sleep(clock.clone()).build();
///
/// limiter.check("ada")?;
/// let waiter = tokio::spawn(limiter.acquire("ada").into_future());
/// tokio::task::yield_now().await; // it waits now
/// assert_eq!(limiter.waiting(), 1);
/// clock.advance(Duration::from_secs(3601)); // an hour that takes no time
/// assert_eq!(waiter.await??.cost(), 1);
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder makes its limiter in `build`"]
pub struct LimiterBuilder<S: Store = MemoryStore> {
    name: Option<Box<str>>,
    rule: Rule,
    store: S,
    clock: Option<Arc<dyn Clock>>,
    sleep: Arc<dyn Sleep>,
    buffer: Duration,
    jitter: Duration,
    max_wait: Option<Duration>,
    max_waiters: usize,
    at_once: Option<usize>,
    priority_step: Option<Duration>,
}

impl LimiterBuilder {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            name: None,
            rule,
            store: MemoryStore::new(),
            clock: None,
            sleep: Arc::new(ThreadTimer),
            buffer: Duration::ZERO,
            jitter: Duration::ZERO,
            max_wait: None,
            max_waiters: 100_000,
            at_once: None,
            priority_step: None,
        }
    }
}

impl<S: Store> LimiterBuilder<S> {
    /// Names the limiter. Limiters of different names share a store without meeting; the same name with the same
    /// quota is the same limiter, in every process. Without a name, the quota's text is it, or `by-key` where a rule gives
    /// the quotas.
    pub fn name(mut self, name: impl Into<Box<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Keeps state in `store`.
    pub fn store<T: Store>(self, store: T) -> LimiterBuilder<T> {
        let Self { name, rule, clock, sleep, buffer, jitter, max_wait, max_waiters, at_once, priority_step, .. } = self;
        LimiterBuilder {
            name,
            rule,
            store,
            clock,
            sleep,
            buffer,
            jitter,
            max_wait,
            max_waiters,
            at_once,
            priority_step,
        }
    }

    /// Decides by `clock` instead of the store's own time.
    ///
    /// Waits are measured by [`sleep`](Self::sleep): a clock that does not run like the wall's wants a timer of its own too.
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

    /// Adds a random time up to `most` to each wait, so that many processes do not come back at one instant. None by
    /// default. Callers are told to expect all of it.
    pub fn jitter(mut self, most: Duration) -> Self {
        self.jitter = most;
        self
    }

    /// How long [`acquire`](Limiter::acquire) waits at most where the call does not say; for ever by default.
    pub fn max_wait(mut self, limit: Duration) -> Self {
        self.max_wait = Some(limit);
        self
    }

    /// How many callers can wait at once, over all keys; 100,000 by default. One more is refused. Where the store is not in
    /// this process, who is on the way to it counts as waiting.
    pub fn max_waiters(mut self, callers: usize) -> Self {
        self.max_waiters = callers;
        self
    }

    /// How many permits of a key can be held at once beside the quota, each until it is dropped; unbounded by default.
    ///
    /// Counts the permits of [`acquire`](Limiter::acquire), and the places of [`place`](Limiter::place) for who checks
    /// rather than waits, in this process. A caller waits for a place as it waits for
    /// units, in the same line; where its timeout passes meanwhile it fails with [`Error::TimedOut`](crate::Error::TimedOut).
    /// A place is held from the grant on: one granted to a future that is kept, but not polled any more, stays held until
    /// that is polled or dropped.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::builder("100/s".parse()?).at_once(1).build();
    /// let at_work = limiter.acquire("ada").blocking()?;
    /// assert!(limiter.acquire("ada").timeout(Duration::ZERO).blocking().is_err());
    /// drop(at_work);
    /// assert!(limiter.acquire("ada").timeout(Duration::ZERO).blocking().is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn at_once(mut self, permits: usize) -> Self {
        self.at_once = Some(permits);
        self
    }

    /// Lets waiters have [priorities](crate::Acquire::priority): each level counts as having come `step` earlier.
    ///
    /// Whoever has waited that much longer goes first all the same, so nobody starves. Off by default: first come,
    /// first served.
    pub fn priority_step(mut self, step: Duration) -> Self {
        self.priority_step = Some(step);
        self
    }

    /// The limiter.
    #[must_use]
    pub fn build(self) -> Limiter<S> {
        let name = self.name.unwrap_or_else(|| match &self.rule {
            Rule::One(quota) => quota.to_string().into(),
            Rule::ByKey(_) => "by-key".into(),
        });
        Limiter(Arc::new(Core {
            store: self.store,
            clock: self.clock,
            sleep: self.sleep,
            buffer: self.buffer,
            jitter: self.jitter,
            max_wait: self.max_wait,
            priority_step: self.priority_step,
            queues: Arc::new(Queues::new(self.max_waiters, self.buffer.saturating_add(self.jitter), self.at_once)),
            plan: Plans::new(name, self.rule),
            resets: Arc::new(Resets::new()),
            heard: Heard::default(),
        }))
    }
}

impl<S: Store> Limiter<S> {
    /// Settings for another limiter in the same store, by the same clock and timer: a second count of the same keys.
    ///
    /// It has a name of its own and a quota for each key; how many may wait is taken over, what a wait is lengthened by and
    /// bounded by is not.
    ///
    /// ```
    /// use limiter_core::{Limiter, Quota};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let requests = Limiter::parse("100/s")?;
    /// let quota: Quota = "5/min".parse()?;
    /// let logins = requests.beside("logins", move |_user| quota.clone()).build();
    /// logins.check_n("ada", 5)?;
    /// assert_eq!((logins.peek("ada")?.remaining(), requests.peek("ada")?.remaining()), (0, 100));
    /// # Ok(())
    /// # }
    /// ```
    pub fn beside(
        &self,
        name: impl Into<Box<str>>,
        rule: impl Fn(&[u8]) -> Quota + Send + Sync + 'static,
    ) -> LimiterBuilder<S> {
        let core = self.core();
        let mut settings = LimiterBuilder::new(Rule::ByKey(Arc::new(rule))).name(name).store(core.store.clone());
        settings.clock.clone_from(&core.clock);
        settings.sleep = Arc::clone(&core.sleep);
        settings.max_waiters(core.queues.max)
    }
}

impl<S: Store> fmt::Debug for LimiterBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimiterBuilder").field("name", &self.name).field("quota", &self.rule).finish_non_exhaustive()
    }
}

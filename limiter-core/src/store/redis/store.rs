//! The store.

use super::{
    builder::RedisStoreBuilder,
    error::Failure,
    ready::RedisWarning,
    work::{Asked, Work},
};
use crate::{
    Clock, Decision, KeyState, StoreError, StoreErrorKind, Timestamp,
    algorithm::Mode,
    store::{Adjust, Demand, Scope, Store, background},
};
use std::{fmt, future::Future, sync::Arc};

/// Limits that many hosts share: state on a Redis 7 (or Valkey) server, a Sentinel group or a Cluster.
///
/// ```no_run
/// use limiter_core::{Limiter, RedisStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = RedisStore::new("redis://127.0.0.1:6379")?;
/// for warning in store.ready().await? {
///     eprintln!("{warning}");
/// }
/// let limiter = Limiter::builder("sliding_log 5/s, 1000/h".parse()?).name("api").store(store).build();
/// let decision = limiter.check_async("ada").await?;
/// let permit = limiter.acquire("ada").cost(2).await?; // waits
/// # let _ = (decision, permit);
/// # Ok(())
/// # }
/// ```
///
/// | address | servers |
/// | --- | --- |
/// | `redis://user:password@host:6379/0` | one |
/// | `redis+sentinel://user:password@host:26379,host:26379/name` | the primary of that name, as the sentinels tell; the login is the primary's |
/// | `redis+cluster://user:password@host:6379,host:6379` | a Cluster; some nodes are enough |
///
/// `rediss` in place of `redis` uses TLS, where the program turns on one of the `redis` crate's TLS features.
///
/// # What is guaranteed
/// * **Equal.** Decisions are those of [`algorithm::decide`](crate::algorithm::decide), to the microsecond and field by field.
/// * **Atomic.** A take is one script and one round trip, over one or several keys. In a Cluster that holds for keys in one
///   slot: the same key under any limiters of the store, or any keys with
///   [`hash_tag`](RedisStoreBuilder::hash_tag). Keys in several slots are taken one slot after the other, and given back at the
///   first denial: nothing is ever admitted above the quotas, but for some round trips units are held that others may be
///   denied for, and a process that dies in between leaves them taken.
/// * **Time** is the server's, read inside the script.
/// * **Nothing is left over.** Every key expires a second after it has ceased to matter, and not before; under an injected
///   clock an hour after. A sweep is for injected clocks, and finds next to nothing otherwise. It walks the whole
///   namespace.
/// * **Nothing is sent twice** that may have been carried out. After [`TimedOut`](StoreErrorKind::TimedOut) units may be taken.
/// * It reconnects by itself, and finds the new primary after a failover. What the old one had not copied is forgotten, as
///   Redis copies behind its answers.
///
/// # Costs
/// A key of the shortest name takes about 100 bytes on the server under a bucket or window, an exact log 14 bytes a take and
/// rate on top, up to twice that as it grows. A decision on a log looks at a few rows, found by halving, whatever its limit;
/// only a refund, and a clock that steps back, go through the rows since. A quota that has changed costs a second round trip
/// until it is written, [`Limiter::reserve`](crate::Limiter::reserve) always two, with all of the key's state in both.
///
/// # Errors
/// | kind | is |
/// | --- | --- |
/// | `Unavailable` | no connection, a server that loads or fails over, a Cluster slot nobody serves: nothing was done |
/// | `TimedOut` | no answer within [`timeout`](RedisStoreBuilder::timeout), or a connection that broke: perhaps done |
/// | `Permission` | a wrong password, a user without the right; see below |
/// | `ReadOnly` | a replica |
/// | `Full` | `maxmemory` is reached, and nothing may be evicted |
/// | `Format` | a key of the namespace holds something else, or a later release's state; it is left as it is |
/// | `Config` | an address or setting that cannot be, a server older than 7 |
/// | `TooLarge` | a quota of more than about 16 rates; an exact log of more than 500 MB |
///
/// A user needs `~limiter:*` (the [namespace](RedisStoreBuilder::namespace)) and `+evalsha +eval +getrange +get +set +setrange
/// +pexpire +pexpireat +del +unlink +time +hello +client +info +scan`, in a Cluster `+cluster|slots +asking` too.
///
/// Calls work from any runtime and from none: connections live on a thread of their own, shared by all stores of the
/// process. A call whose future is dropped runs to its end there.
#[derive(Clone)]
pub struct RedisStore(pub(super) Arc<Work>);

/// The most demands of one decision: as many as [`Decision::denied`] can tell apart.
const MOST_DEMANDS: usize = 64;

impl RedisStore {
    /// A store at `url`, with the defaults of [`builder`](Self::builder). It connects at the first call.
    ///
    /// ```
    /// use limiter_core::{RedisStore, StoreErrorKind};
    ///
    /// # fn main() -> Result<(), limiter_core::StoreError> {
    /// let store = RedisStore::new("redis://ada:secret@localhost:6379")?; // nobody is asked yet
    /// assert!(!format!("{store:?}").contains("secret"));
    /// assert_eq!(RedisStore::new("redis://localhost:port").unwrap_err().kind(), StoreErrorKind::Config);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// An address that cannot be read, of kind [`StoreErrorKind::Config`].
    pub fn new(url: &str) -> Result<Self, StoreError> {
        Self::builder(url).build()
    }

    /// A store with other settings.
    ///
    /// ```
    /// use limiter_core::RedisStore;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), limiter_core::StoreError> {
    /// let store = RedisStore::builder("redis://localhost").namespace("shop").timeout(Duration::from_millis(50)).build()?;
    /// # let _ = store;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(url: &str) -> RedisStoreBuilder {
        RedisStoreBuilder::new(url)
    }

    /// Connects to every server that takes writes, checks it, and writes a key that expires at once: what is wrong is said
    /// here rather than at the first request. What may go wrong later is in the answer.
    ///
    /// # Errors
    /// What would make calls fail: see the [store's errors](Self#errors).
    pub async fn ready(&self) -> Result<Vec<RedisWarning>, StoreError> {
        self.run(|work| async move { work.ready().await }).await
    }

    /// Runs `call` to its end on the background thread.
    async fn run<T, F>(&self, call: impl FnOnce(Arc<Work>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let work = call(Arc::clone(&self.0));
        background::run(async move { work.await.map_err(StoreError::from) }).await
    }

    fn asked(&self, demand: &Demand<'_>) -> Result<Asked, StoreError> {
        Asked::new(&self.0.names, demand).map_err(StoreError::from)
    }

    async fn decide(
        &self,
        demands: &[Demand<'_>],
        clock: Option<&dyn Clock>,
        mode: Mode,
    ) -> Result<Decision, StoreError> {
        let now = clock.map(Clock::now);
        if demands.len() > MOST_DEMANDS {
            return Err(StoreError::new(StoreErrorKind::TooManyDemands));
        }
        let asked = demands.iter().map(|demand| self.asked(demand)).collect::<Result<Vec<_>, _>>()?;
        let is_named_before = |(i, one): (usize, &Asked)| asked[..i].iter().any(|other| other.name == one.name);
        if asked.iter().enumerate().any(is_named_before) {
            return Err(StoreError::new(StoreErrorKind::DuplicateKey));
        }
        self.run(move |work| async move { work.decide_all(asked, now, mode).await }).await
    }
}

impl Store for RedisStore {
    async fn take(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.decide(demands, clock, Mode::Take).await
    }

    async fn peek(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.decide(demands, clock, Mode::Peek).await
    }

    async fn adjust(
        &self,
        demand: Demand<'_>,
        adjust: Adjust,
        clock: Option<&dyn Clock>,
    ) -> Result<Decision, StoreError> {
        let (asked, now) = (self.asked(&demand)?, clock.map(Clock::now));
        asked.holds()?; // here, as who gives back what was taken in vain does so whatever has changed
        self.run(move |work| async move { work.adjust(&asked, now, adjust, work.deadline()).await }).await
    }

    async fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError> {
        let name = self.0.names.name(scope, key);
        self.run(move |work| async move { work.reset(&name, work.deadline()).await }).await
    }

    async fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError> {
        let now = clock.map(Clock::now);
        self.run(move |work| async move { work.sweep(now).await }).await
    }

    async fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
        match clock {
            Some(clock) => Ok(clock.now()),
            None => self.run(|work| async move { work.time(work.deadline()).await }).await,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    async fn snapshot(&self, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
        let (asked, now) = (self.asked(&demand).ok()?, clock.map(Clock::now));
        self.run(move |work| async move { work.snapshot(&asked, now, work.deadline()).await }).await.ok()?
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("address", self.0.servers.address())
            .field("names", &self.0.names)
            .field("budget", &self.0.budget)
            .finish_non_exhaustive()
    }
}

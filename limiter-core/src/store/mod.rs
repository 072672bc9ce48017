//! Where state lives and where a decision is atomic.

#[cfg(any(feature = "postgres", feature = "redis"))]
mod background;
mod basis;
#[cfg(any(all(feature = "shared", target_os = "linux"), feature = "sqlite"))]
mod boot_clock;
mod demand;
mod erased;
mod lookup;
mod memory;
mod open;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod resets;
#[cfg(all(feature = "shared", target_os = "linux"))]
mod shared;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
mod stored_key;

pub use basis::Basis;
pub(crate) use basis::{Granted, Term};
pub use demand::{Adjust, Demand, Scope};
pub use erased::DynStore;
#[doc(hidden)]
pub use lookup::Lookup;
pub use memory::{MemoryStore, MemoryStoreBuilder, MemoryUsage};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresStore, PostgresStoreBuilder};
#[cfg(feature = "redis")]
pub use redis::{RedisStore, RedisStoreBuilder, RedisWarning};
pub(crate) use resets::Resets;
#[cfg(all(feature = "shared", target_os = "linux"))]
pub use shared::{SharedStore, SharedStoreBuilder, SharedUsage};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteStore, SqliteStoreBuilder};

use crate::{Clock, Decision, KeyState, Timestamp, error::StoreError};
use std::future::Future;

/// The most demands of one decision: as many as [`Decision::denied`] can tell apart.
pub(crate) const MOST_DEMANDS: usize = 64;

/// The contract of every store.
///
/// * **Atomic.** Each call is one atomic step, and one round trip where the store is remote. Over several demands a
///   take is all or nothing: a denial takes nothing anywhere.
/// * **Equal.** The same sequence of instants, keys and costs gives the same decisions, field by field, on every
///   store: those of [`crate::algorithm::decide`].
/// * **Reading is free.** Denials and peeks write nothing, but for two things that a denied take writes, so that the wait
///   it tells holds: the pull back that `decide` tells of, and a change of the quota, with the units in use carried over.
///   Peeks, takes of a cost of 0 and those that can never fit see a change and leave it to others; any adjustment writes it.
/// * **Late calls.** Inside its step a store asks whether the demand still [holds](Basis): before it carries a state over to
///   another quota, and before any adjustment. Where it does not, nothing is done, and the answer is an error of kind
///   [`Outdated`](crate::StoreErrorKind::Outdated), or no snapshot; the limiter asks again. A store that does not ask
///   may forget units at the instant of a change.
/// * **Time is the store's.** It reads its own time inside the atomic step, after any lock. A `clock` handed to a call
///   takes that place for the call.
/// * **Nothing live is lost.** Idle keys vanish by themselves, never while they still limit anything.
/// * **Cancellation.** A future dropped half-way leaves no lock, transaction or connection behind; its call may or may
///   not have happened.
/// * **Polled anywhere.** Who waits is served by futures that run on whatever thread wakes them, also inside a waker: a
///   store whose client needs a runtime hands its calls over to that runtime (spawns them), and awaits the handle.
/// * **Clones share state.**
/// * **Keys are bytes, names are text.** Any bytes, of any length; any name. Two that differ never share units, but for
///   what a hash of them may do with a probability that can be neglected.
///
/// `limiter_core::conformance` (feature `conformance`) is this contract as tests that any store can run.
///
/// In-process stores implement [`LocalStore`], which needs no futures; this trait is then given.
///
/// An asynchronous store loads the states of the demands' keys, calls [`decide`](crate::algorithm::decide) on them at its
/// own time, and writes back what that changed, all in one transaction; or it does the same arithmetic on its server. The
/// example of [`LocalStore`] shows each call.
///
/// ```
/// use limiter_core::{
///     MemoryStore, Quota, Store, StoreError,
///     store::{Demand, Scope},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// async fn is_free(store: &impl Store, quota: &Quota, user: &str) -> Result<bool, StoreError> {
///     let scope = Scope::new("seats");
///     let demand = Demand::new(&scope, user.as_bytes(), quota, 1);
///     Ok(store.peek(&[demand], None).await?.allowed())
/// }
/// assert!(is_free(&MemoryStore::new(), &"1/day".parse()?, "ada").await?);
/// # Ok(())
/// # }
/// ```
pub trait Store: Clone + Send + Sync + 'static {
    /// Decides over all `demands` together and takes their units if every one of them admits.
    fn take(
        &self,
        demands: &[Demand<'_>],
        clock: Option<&dyn Clock>,
    ) -> impl Future<Output = Result<Decision, StoreError>> + Send;

    /// Decides as [`take`](Self::take) would, and takes nothing.
    fn peek(
        &self,
        demands: &[Demand<'_>],
        clock: Option<&dyn Clock>,
    ) -> impl Future<Output = Result<Decision, StoreError>> + Send;

    /// Charges, refunds or blocks a key without asking; the answer is that of a peek of cost 0 after it, and as
    /// [`Adjust::Reserve`] tells where units are reserved.
    fn adjust(
        &self,
        demand: Demand<'_>,
        adjust: Adjust,
        clock: Option<&dyn Clock>,
    ) -> impl Future<Output = Result<Decision, StoreError>> + Send;

    /// Forgets a key: its units are back and its block is gone.
    fn reset(&self, scope: &Scope, key: &[u8]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Drops what is idle, and says how many keys that were. Stores reclaim by themselves too; nobody must call this.
    fn sweep(&self, clock: Option<&dyn Clock>) -> impl Future<Output = Result<usize, StoreError>> + Send;

    /// The store's time.
    fn now(&self, clock: Option<&dyn Clock>) -> impl Future<Output = Result<Timestamp, StoreError>> + Send;

    /// Whether the other handle is one of this very store, so that both can be decided on in one step.
    fn is_same(&self, other: &Self) -> bool;

    /// Whether the store is in this process and decides in place: [`take_now`](Self::take_now) then always answers, and no
    /// call is worth saving.
    fn is_local(&self) -> bool {
        false
    }

    /// [`take`](Self::take) without a future, where the store is in this process; `None` sends the caller there.
    fn take_now(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Option<Result<Decision, StoreError>> {
        let _ = (demands, clock);
        None
    }

    /// Where this store expects a key, if [`grant_now`](Self::grant_now) may then be quicker than
    /// [`take_now`](Self::take_now).
    #[doc(hidden)]
    fn look_up(&self, scope: &Scope, key: &[u8]) -> Option<Lookup> {
        let _ = (scope, key);
        None
    }

    /// Takes a demand's units, more than none and at most its quota's capacity, by the shortest way, and tells the instant;
    /// `None`, with nothing done, where they are not there or that way is not open.
    #[doc(hidden)]
    fn grant_now(&self, demand: &Demand<'_>, clock: Option<&dyn Clock>) -> Option<Timestamp> {
        let _ = (demand, clock);
        None
    }

    /// The state of the demand's key and the store's time, to tell waiters how long it will be; `None` where the
    /// store cannot say.
    fn snapshot(
        &self,
        demand: Demand<'_>,
        clock: Option<&dyn Clock>,
    ) -> impl Future<Output = Option<(KeyState, Timestamp)>> + Send {
        let _ = (demand, clock);
        std::future::ready(None)
    }
}

/// A store in this process: it decides in a plain call, without a future, a runtime or an allocation.
///
/// The contract is that of [`Store`], which every `LocalStore` implements. A single demand on a store that needs no
/// file never fails.
///
/// A store finds each key's [`KeyState`] and lets [`algorithm::decide`](crate::algorithm::decide) do the rest. A whole
/// one, behind a single lock:
///
/// ```
/// use limiter_core::{
///     Clock, Decision, KeyState, Limiter, LocalStore, MonotonicClock, Quota, StoreError, StoreErrorKind, Timestamp,
///     algorithm::{Mode, View, decide},
///     store::{Adjust, Demand, Scope},
/// };
/// use std::{
///     collections::{HashMap, HashSet},
///     sync::{Arc, Mutex, MutexGuard, PoisonError},
/// };
///
/// /// Clones share state.
/// #[derive(Clone)]
/// struct OneLock {
///     keys: Arc<Mutex<Keys>>,
///     clock: MonotonicClock,
/// }
///
/// /// By limiter and key: the state, and the quota it was made under.
/// type Keys = HashMap<(u64, Vec<u8>), (Quota, KeyState)>;
///
/// fn name(demand: &Demand<'_>) -> (u64, Vec<u8>) {
///     (demand.scope.hash(), demand.key.to_vec())
/// }
///
/// /// The state under the demand's quota; units in use stay so when the quota has changed.
/// fn load(keys: &Keys, demand: &Demand<'_>, now: Timestamp) -> KeyState {
///     match keys.get(&name(demand)) {
///         Some((quota, state)) if quota == demand.quota => state.clone(),
///         Some((old, state)) => state.carried_over(old, demand.quota, now),
///         None => KeyState::default(),
///     }
/// }
///
/// impl OneLock {
///     fn lock(&self) -> MutexGuard<'_, Keys> {
///         self.keys.lock().unwrap_or_else(PoisonError::into_inner)
///     }
///
///     fn time(&self, clock: Option<&dyn Clock>) -> Timestamp {
///         clock.map_or_else(|| self.clock.now(), Clock::now)
///     }
///
///     fn decide(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>, mode: Mode) -> Result<Decision, StoreError> {
///         if demands.len() > 64 {
///             return Err(StoreError::new(StoreErrorKind::TooManyDemands));
///         }
///         if demands.iter().map(name).collect::<HashSet<_>>().len() < demands.len() {
///             return Err(StoreError::new(StoreErrorKind::DuplicateKey));
///         }
///         let mut keys = self.lock();
///         if !demands.iter().all(Demand::holds) {
///             return Err(StoreError::new(StoreErrorKind::Outdated)); // the quota has changed meanwhile
///         }
///         let now = self.time(clock); // after the lock
///         let mut states: Vec<KeyState> = demands.iter().map(|demand| load(&keys, demand, now)).collect();
///         let mut views: Vec<View<'_>> = demands
///             .iter()
///             .zip(&mut states)
///             .map(|(demand, state)| View { quota: demand.quota, state, cost: demand.cost })
///             .collect();
///         let decision = decide(&mut views, now, mode);
///         for (demand, state) in demands.iter().zip(states) {
///             // Who only looks leaves a change of the quota to who asks for units, granted or not.
///             let asks = mode == Mode::Take && decision.retry_after().is_some() && demand.cost > 0;
///             if (asks && !state.is_untouched()) || keys.get(&name(demand)).is_some_and(|(quota, _)| quota == demand.quota) {
///                 keys.insert(name(demand), (demand.quota.clone(), state));
///             }
///         }
///         Ok(decision)
///     }
/// }
///
/// impl LocalStore for OneLock {
///     fn take(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
///         self.decide(demands, clock, Mode::Take)
///     }
///
///     fn peek(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
///         self.decide(demands, clock, Mode::Peek)
///     }
///
///     fn adjust(&self, demand: Demand<'_>, adjust: Adjust, clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
///         let mut keys = self.lock();
///         if !demand.holds() {
///             return Err(StoreError::new(StoreErrorKind::Outdated));
///         }
///         let now = self.time(clock);
///         let mut state = load(&keys, &demand, now);
///         let decision = state.adjust(demand.quota, now, demand.cost, adjust);
///         keys.insert(name(&demand), (demand.quota.clone(), state));
///         Ok(decision)
///     }
///
///     fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError> {
///         self.lock().remove(&(scope.hash(), key.to_vec()));
///         Ok(())
///     }
///
///     fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError> {
///         let mut keys = self.lock();
///         let (now, before) = (self.time(clock), keys.len());
///         keys.retain(|_, (quota, state)| !state.is_idle(quota, now));
///         Ok(before - keys.len())
///     }
///
///     fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
///         Ok(self.time(clock))
///     }
///
///     fn is_same(&self, other: &Self) -> bool {
///         Arc::ptr_eq(&self.keys, &other.keys)
///     }
///
///     fn snapshot(&self, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
///         let keys = self.lock();
///         let now = self.time(clock);
///         Some((load(&keys, &demand, now), now))
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = OneLock { keys: Arc::default(), clock: MonotonicClock::new() };
/// # #[cfg(feature = "conformance")]
/// # std::thread::scope(|scope| {
/// #     use limiter_core::conformance::{CASES, Need, run};
/// #     let new = || async { OneLock { keys: Arc::default(), clock: MonotonicClock::new() } };
/// #     for case in CASES.iter().filter(|case| case.need == Need::Nothing) {
/// #         scope.spawn(move || run(new, case.name).unwrap());
/// #     }
/// # });
/// let limiter = Limiter::builder("sliding_log 2/min".parse()?).store(store).build();
/// assert!(limiter.check_n("ada", 2)?.allowed());
/// assert!(!limiter.check("ada")?.allowed());
/// # Ok(())
/// # }
/// ```
///
/// It passes every case of `limiter_core::conformance` (feature `conformance`), which is the contract as tests for
/// anybody's store. What it lacks beside [`MemoryStore`]: a bound on its keys, and sweeping by itself.
pub trait LocalStore: Clone + Send + Sync + 'static {
    /// See [`Store::take`].
    ///
    /// # Errors
    /// Two demands on one key, and what can go wrong with the store.
    fn take(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError>;

    /// See [`Store::peek`].
    ///
    /// # Errors
    /// As [`take`](Self::take).
    fn peek(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError>;

    /// See [`Store::adjust`].
    ///
    /// # Errors
    /// What can go wrong with the store.
    fn adjust(&self, demand: Demand<'_>, adjust: Adjust, clock: Option<&dyn Clock>) -> Result<Decision, StoreError>;

    /// See [`Store::reset`].
    ///
    /// # Errors
    /// What can go wrong with the store.
    fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError>;

    /// See [`Store::sweep`].
    ///
    /// # Errors
    /// What can go wrong with the store.
    fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError>;

    /// See [`Store::now`].
    ///
    /// # Errors
    /// What can go wrong with the store.
    fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError>;

    /// See [`Store::is_same`].
    fn is_same(&self, other: &Self) -> bool;

    /// See [`Store::look_up`].
    #[doc(hidden)]
    fn look_up(&self, scope: &Scope, key: &[u8]) -> Option<Lookup> {
        let _ = (scope, key);
        None
    }

    /// See [`Store::grant_now`].
    #[doc(hidden)]
    fn grant_now(&self, demand: &Demand<'_>, clock: Option<&dyn Clock>) -> Option<Timestamp> {
        let _ = (demand, clock);
        None
    }

    /// See [`Store::snapshot`].
    fn snapshot(&self, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)>;
}

impl<S: LocalStore> Store for S {
    async fn take(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        LocalStore::take(self, demands, clock)
    }

    async fn peek(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        LocalStore::peek(self, demands, clock)
    }

    async fn adjust(
        &self,
        demand: Demand<'_>,
        adjust: Adjust,
        clock: Option<&dyn Clock>,
    ) -> Result<Decision, StoreError> {
        LocalStore::adjust(self, demand, adjust, clock)
    }

    async fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError> {
        LocalStore::reset(self, scope, key)
    }

    async fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError> {
        LocalStore::sweep(self, clock)
    }

    async fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
        LocalStore::now(self, clock)
    }

    fn is_same(&self, other: &Self) -> bool {
        LocalStore::is_same(self, other)
    }

    fn is_local(&self) -> bool {
        true
    }

    #[inline]
    fn take_now(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Option<Result<Decision, StoreError>> {
        Some(LocalStore::take(self, demands, clock))
    }

    fn look_up(&self, scope: &Scope, key: &[u8]) -> Option<Lookup> {
        LocalStore::look_up(self, scope, key)
    }

    #[inline(always)]
    fn grant_now(&self, demand: &Demand<'_>, clock: Option<&dyn Clock>) -> Option<Timestamp> {
        LocalStore::grant_now(self, demand, clock)
    }

    async fn snapshot(&self, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
        LocalStore::snapshot(self, demand, clock)
    }
}

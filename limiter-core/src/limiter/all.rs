//! Several keys in one decision, all or nothing.

use super::{
    Core, Limiter,
    core::{Planned, is_outdated},
};
use crate::{
    AcquireAll, Decision, Error, Key, KeyBuf, MemoryStore, Permit, Quota,
    store::{Demand, LocalStore, Store},
    wait::Slot,
};
use smallvec::SmallVec;
use std::{fmt, sync::Arc};

/// A limiter's part of a decision over several keys; made by [`Limiter::on`].
#[must_use = "an ask does nothing until `Limiter::all` puts it"]
#[derive(Clone)]
pub struct Ask<S: Store = MemoryStore> {
    core: Arc<Core<S>>,
    key: KeyBuf,
    cost: u64,
    /// The limiter's count of resets when this was made.
    since: u64,
}

/// A decision over several keys, all or nothing; made by [`Limiter::all`].
#[must_use = "nothing is asked until `check` or `peek` is called"]
#[derive(Clone)]
pub struct All<S: Store = MemoryStore> {
    asks: SmallVec<[Ask<S>; 4]>,
}

impl<S: Store> Limiter<S> {
    /// One unit for `key` as a part of a decision over several keys; see [`all`](Self::all).
    pub fn on(&self, key: impl Key) -> Ask<S> {
        Ask { core: Arc::clone(self.core()), key: KeyBuf::of(&key), cost: 1, since: self.core().resets() }
    }

    /// Several keys in one decision: per user, per tenant and for everybody, each under its own limiter's quota.
    ///
    /// Admitted only if all admit; a denial takes nothing anywhere, and [`Decision::denied`] names those that denied
    /// by their place. The limiters must keep their states in one store, which decides in one atomic step; time, and the
    /// timer of those who wait, are the first one's.
    ///
    /// ```
    /// use limiter_core::{Limiter, MemoryStore};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let user = Limiter::builder("2/min".parse()?).store(store.clone()).name("user").build();
    /// let tenant = Limiter::builder("100/min".parse()?).store(store).name("tenant").build();
    ///
    /// let request = Limiter::all([user.on("ada"), tenant.on("acme").cost(10)]);
    /// assert!(request.check()?.allowed());
    /// assert!(request.check()?.allowed());
    /// let denied = request.check()?;
    /// assert_eq!(denied.denied().collect::<Vec<_>>(), [0]); // the user's
    /// assert_eq!(tenant.peek("acme")?.remaining(), 80); // and the tenant was not charged
    /// # Ok(())
    /// # }
    /// ```
    pub fn all(asks: impl IntoIterator<Item = Ask<S>>) -> All<S> {
        All { asks: asks.into_iter().collect() }
    }
}

impl<S: Store> Ask<S> {
    /// The units asked for; 1 where it is not said, 0 only looks.
    pub fn cost(self, units: u64) -> Self {
        Self { cost: units, ..self }
    }

    /// The permit for this part's units of `decision`, which must be one that this very part was asked in, since it was
    /// made: to refund or settle them. `None` where it was denied. Should its key be [reset](Limiter::reset), nothing comes
    /// back of the permits of a part made before: make the part anew for each request.
    ///
    /// ```
    /// use limiter_core::{Limiter, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let user = Limiter::builder("5/day".parse()?).store(store.clone()).name("user").build();
    /// let bytes = Limiter::builder("1000/day".parse()?).store(store).name("bytes").build();
    /// let request = Limiter::all([user.on("ada"), bytes.on("ada").cost(100)]);
    /// let decision = request.check()?;
    /// if let Some(permit) = request.asks()[1].permit(&decision) {
    ///     permit.settle(40).await?; // it took less
    /// }
    /// assert_eq!((user.peek("ada")?.remaining(), bytes.peek("ada")?.remaining()), (4, 960));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn permit(&self, decision: &Decision) -> Option<Permit<S>> {
        decision.allowed().then(|| self.granted(decision, None, self.since))
    }

    /// The permit of a decision that was asked for when the limiter's count of resets was `since`.
    pub(crate) fn granted(&self, decision: &Decision, slot: Option<Slot>, since: u64) -> Permit<S> {
        Permit::new(Arc::clone(&self.core), self.key.clone(), self.cost, decision.clone(), slot, since)
    }

    pub(crate) fn core(&self) -> &Arc<Core<S>> {
        &self.core
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.key.as_slice()
    }

    pub(crate) fn units(&self) -> u64 {
        self.cost
    }

    pub(crate) fn quota(&self) -> Quota {
        self.core.quota(self.bytes())
    }

    /// The name of the limiter asked.
    #[must_use]
    pub fn name(&self) -> &str {
        self.core.plan.name()
    }
}

impl<S: Store> All<S> {
    /// The parts, in the order that [`Decision::denied`] counts.
    pub fn asks(&self) -> &[Ask<S>] {
        &self.asks
    }

    /// Takes all of it if all of it is there; never waits, and overtakes nobody who waits for one of the keys.
    ///
    /// # Errors
    /// [`Error::NothingAsked`] without a part; [`Error::SeveralStores`] where the limiters do not share one store;
    /// [`Error::NeverFits`] for a cost above its quota's capacity, with the part it is of; [`Error::DuplicateKey`] where
    /// two parts name the same key of the same limiter; [`Error::TooManyDemands`]; [`Error::Store`].
    pub async fn check_async(&self) -> Result<Decision, Error> {
        self.take(false).await
    }

    /// Takes all of it if all of it is there; past those who wait for several keys where its turn among them `has_come`.
    pub(crate) async fn take(&self, has_come: bool) -> Result<Decision, Error> {
        loop {
            let (first, planned) = self.planned()?;
            let demands = self.demands(&planned);
            let waiters = self.first_behind_waiters(has_come);
            let answer = match waiters {
                None => Store::take(&first.store, &demands, first.clock()).await,
                Some(_) => Store::peek(&first.store, &demands, first.clock()).await,
            };
            if is_outdated(&answer, &demands) {
                continue;
            }
            let decision = answer?;
            let Some(place) = waiters else { return Ok(decision) };
            let (ask, quota) = (&self.asks[place], &planned[place].quota);
            let state = ask.core.snapshot_by(ask.key.as_slice(), first.clock()).await;
            return Ok(ask.core.refuse_for_waiters(ask.key.as_slice(), quota, (place, ask.cost), decision, state));
        }
    }

    /// What [`check_async`](Self::check_async) would answer if nobody waited; takes nothing.
    ///
    /// # Errors
    /// As [`check_async`](Self::check_async).
    pub async fn peek_async(&self) -> Result<Decision, Error> {
        loop {
            let (first, planned) = self.planned()?;
            let demands = self.demands(&planned);
            let answer = Store::peek(&first.store, &demands, first.clock()).await;
            if !is_outdated(&answer, &demands) {
                return Ok(answer?);
            }
        }
    }

    /// The first part's limiter, and each part's quota, where the parts can be decided together.
    fn planned(&self) -> Result<(&Core<S>, SmallVec<[Planned<'_>; 4]>), Error> {
        let first = self.asks.first().ok_or(Error::NothingAsked)?;
        if self.asks.iter().any(|ask| !ask.core.store.is_same(&first.core.store)) {
            return Err(Error::SeveralStores);
        }
        let planned: SmallVec<[Planned<'_>; 4]> =
            self.asks.iter().map(|ask| ask.core.planned(ask.key.as_slice())).collect();
        for (place, (ask, Planned { quota, .. })) in self.asks.iter().zip(&planned).enumerate() {
            if ask.cost > quota.capacity() {
                return Err(Error::NeverFits { cost: ask.cost, capacity: quota.capacity(), part: Some(place) });
            }
        }
        Ok((&first.core, planned))
    }

    /// An error where no waiting helps.
    pub(crate) fn could_be_granted(&self) -> Result<(), Error> {
        self.planned()?;
        for (place, ask) in self.asks.iter().enumerate() {
            let is_same = |other: &Ask<S>| Arc::ptr_eq(&other.core, &ask.core) && other.bytes() == ask.bytes();
            if self.asks.iter().take(place).any(is_same) {
                return Err(Error::DuplicateKey);
            }
        }
        Ok(())
    }

    fn demands<'a>(&'a self, planned: &'a [Planned<'_>]) -> SmallVec<[Demand<'a>; 4]> {
        self.asks.iter().zip(planned).map(|(ask, planned)| planned.demand(ask.key.as_slice(), ask.cost)).collect()
    }

    fn first_behind_waiters(&self, has_come: bool) -> Option<usize> {
        self.asks.iter().position(|ask| {
            let (queues, key) = (&ask.core.queues, ask.key.as_slice());
            ask.cost > 0 && if has_come { queues.has_line(key) } else { queues.has_refused(key) }
        })
    }

    /// The first part that others wait for together with other keys.
    pub(crate) fn first_behind_turns(&self) -> Option<usize> {
        self.asks.iter().position(|ask| ask.cost > 0 && ask.core.queues.has_turns(ask.key.as_slice()))
    }

    /// Takes all of it, and waits for it where it must: await the request, or call [`blocking`](AcquireAll::blocking).
    /// The permits are in the order of the parts.
    ///
    /// Nothing is held while it waits: each attempt is one step of the store over all parts. Who is refused stands in the
    /// line of the key that refused it, in this process, and goes to the end of another's when that refuses it; first come,
    /// first served in each, and waiting on one key delays nobody on the others. A check does not overtake those who
    /// stand there; an [`acquire`](Limiter::acquire) of a single key does: let all who share a key ask in one way.
    ///
    /// ```
    /// use limiter_core::{Limiter, MemoryStore};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let host = Limiter::builder("100/s burst 1".parse()?).name("host").store(store.clone()).build();
    /// let overall = Limiter::builder("1000/s".parse()?).name("overall").store(store).build();
    /// for _ in 0..3 {
    ///     let both = Limiter::all([host.on("example.com"), overall.on(())]);
    ///     let _permits = both.acquire().timeout(Duration::from_secs(1)).await?; // 10 ms apart
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`check_async`](Self::check_async), and those of waiting: [`Error::WaitTooLong`] at once where the units
    /// cannot be there in time, or as soon as that shows; [`Error::TimedOut`], [`Error::QueueFull`], [`Error::Closed`].
    pub fn acquire(&self) -> AcquireAll<S> {
        AcquireAll::new(self.clone())
    }
}

impl<S: LocalStore> All<S> {
    /// [`check_async`](Self::check_async) on an in-process store: a plain call.
    ///
    /// # Errors
    /// As [`check_async`](Self::check_async).
    pub fn check(&self) -> Result<Decision, Error> {
        if self.first_behind_waiters(false).is_some() {
            return self.blocking().check(); // denied at once, for their sake
        }
        loop {
            let (first, planned) = self.planned()?;
            let demands = self.demands(&planned);
            let answer = LocalStore::take(&first.store, &demands, first.clock());
            if !is_outdated(&answer, &demands) {
                return Ok(answer?);
            }
        }
    }

    /// What [`check`](Self::check) would answer if nobody waited; takes nothing.
    ///
    /// # Errors
    /// As [`check_async`](Self::check_async).
    pub fn peek(&self) -> Result<Decision, Error> {
        self.blocking().peek()
    }
}

impl<S: Store> fmt::Debug for Ask<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("name", &self.name()).field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl<S: Store> fmt::Debug for All<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("All").field(&self.asks).finish()
    }
}

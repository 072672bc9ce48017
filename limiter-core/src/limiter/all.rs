//! Several keys in one decision, all or nothing.

use super::{Core, Limiter, core::Planned};
use crate::{
    Decision, Error, Key, KeyBuf, MemoryStore,
    store::{Demand, LocalStore, Store},
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
        Ask { core: Arc::clone(self.core()), key: KeyBuf::of(&key), cost: 1 }
    }

    /// Several keys in one decision: per user, per tenant and for everybody, each under its own limiter's quota.
    ///
    /// Admitted only if all admit; a denial takes nothing anywhere, and [`Decision::denied`] names those that denied
    /// by their place. The limiters must keep their states in one store, which decides in one atomic step; time is
    /// that of the first one.
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
        let (first, planned) = self.planned()?;
        let demands = self.demands(&planned);
        let waiters = self.first_behind_waiters();
        let decision = match waiters {
            None => Store::take(&first.store, &demands, first.clock()).await?,
            Some(_) => Store::peek(&first.store, &demands, first.clock()).await?,
        };
        let Some(place) = waiters else { return Ok(decision) };
        let (ask, quota) = (&self.asks[place], &planned[place].quota);
        let state = ask.core.snapshot(ask.key.as_slice()).await;
        Ok(ask.core.refuse_for_waiters(ask.key.as_slice(), quota, (place, ask.cost), decision, state))
    }

    /// What [`check_async`](Self::check_async) would answer if nobody waited; takes nothing.
    ///
    /// # Errors
    /// As [`check_async`](Self::check_async).
    pub async fn peek_async(&self) -> Result<Decision, Error> {
        let (first, planned) = self.planned()?;
        Ok(Store::peek(&first.store, &self.demands(&planned), first.clock()).await?)
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

    fn demands<'a>(&'a self, planned: &'a [Planned<'_>]) -> SmallVec<[Demand<'a>; 4]> {
        self.asks.iter().zip(planned).map(|(ask, planned)| planned.demand(ask.key.as_slice(), ask.cost)).collect()
    }

    fn first_behind_waiters(&self) -> Option<usize> {
        self.asks.iter().position(|ask| ask.cost > 0 && ask.core.queues.has_refused(ask.key.as_slice()))
    }
}

impl<S: LocalStore> All<S> {
    /// [`check_async`](Self::check_async) on an in-process store: a plain call.
    ///
    /// # Errors
    /// As [`check_async`](Self::check_async).
    pub fn check(&self) -> Result<Decision, Error> {
        if self.first_behind_waiters().is_some() {
            return self.blocking().check(); // denied at once, for their sake
        }
        let (first, planned) = self.planned()?;
        Ok(LocalStore::take(&first.store, &self.demands(&planned), first.clock())?)
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

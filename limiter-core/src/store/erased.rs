//! A store chosen at run time.

use super::{Adjust, Demand, Lookup, Scope, Store};
use crate::{Clock, Decision, KeyState, StoreError, Timestamp};
use std::{any::Any, fmt, future::Future, pin::Pin, sync::Arc};

/// Any store, chosen at run time: one type for all of them, at the price of an allocation a call to a remote one.
///
/// In-process stores go on answering in place where nobody waits. Clones share state.
///
/// ```
/// use limiter_core::{Limiter, MemoryStore, store::DynStore};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = DynStore::new(MemoryStore::new()); // or another, as the program's settings say
/// let limiter = Limiter::builder("5/s".parse()?).store(store).build();
/// assert!(limiter.blocking().check("ada")?.allowed());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DynStore(Arc<dyn Erased>);

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`Store`] as an object. The name tells stores apart in `Debug`.
trait Erased: Send + Sync {
    fn name(&self) -> &'static str;
    fn as_any(&self) -> &dyn Any;
    fn take<'a>(
        &'a self,
        demands: &'a [Demand<'a>],
        clock: Option<&'a dyn Clock>,
    ) -> Answer<'a, Result<Decision, StoreError>>;
    fn peek<'a>(
        &'a self,
        demands: &'a [Demand<'a>],
        clock: Option<&'a dyn Clock>,
    ) -> Answer<'a, Result<Decision, StoreError>>;
    fn adjust<'a>(
        &'a self,
        demand: Demand<'a>,
        adjust: Adjust,
        clock: Option<&'a dyn Clock>,
    ) -> Answer<'a, Result<Decision, StoreError>>;
    fn reset<'a>(&'a self, scope: &'a Scope, key: &'a [u8]) -> Answer<'a, Result<(), StoreError>>;
    fn sweep<'a>(&'a self, clock: Option<&'a dyn Clock>) -> Answer<'a, Result<usize, StoreError>>;
    fn now<'a>(&'a self, clock: Option<&'a dyn Clock>) -> Answer<'a, Result<Timestamp, StoreError>>;
    fn is_same(&self, other: &dyn Any) -> bool;
    fn is_local(&self) -> bool;
    fn take_now(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Option<Result<Decision, StoreError>>;
    fn look_up(&self, scope: &Scope, key: &[u8]) -> Option<Lookup>;
    fn grant_now(&self, demand: &Demand<'_>, clock: Option<&dyn Clock>) -> Option<Timestamp>;
    fn snapshot<'a>(
        &'a self,
        demand: Demand<'a>,
        clock: Option<&'a dyn Clock>,
    ) -> Answer<'a, Option<(KeyState, Timestamp)>>;
}

impl DynStore {
    /// `store`, without its type.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self(Arc::new(store))
    }
}

impl<S: Store> Erased for S {
    fn name(&self) -> &'static str {
        std::any::type_name::<S>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn take<'a>(
        &'a self,
        demands: &'a [Demand<'a>],
        clock: Option<&'a dyn Clock>,
    ) -> Answer<'a, Result<Decision, StoreError>> {
        Box::pin(Store::take(self, demands, clock))
    }

    fn peek<'a>(
        &'a self,
        demands: &'a [Demand<'a>],
        clock: Option<&'a dyn Clock>,
    ) -> Answer<'a, Result<Decision, StoreError>> {
        Box::pin(Store::peek(self, demands, clock))
    }

    fn adjust<'a>(
        &'a self,
        demand: Demand<'a>,
        adjust: Adjust,
        clock: Option<&'a dyn Clock>,
    ) -> Answer<'a, Result<Decision, StoreError>> {
        Box::pin(Store::adjust(self, demand, adjust, clock))
    }

    fn reset<'a>(&'a self, scope: &'a Scope, key: &'a [u8]) -> Answer<'a, Result<(), StoreError>> {
        Box::pin(Store::reset(self, scope, key))
    }

    fn sweep<'a>(&'a self, clock: Option<&'a dyn Clock>) -> Answer<'a, Result<usize, StoreError>> {
        Box::pin(Store::sweep(self, clock))
    }

    fn now<'a>(&'a self, clock: Option<&'a dyn Clock>) -> Answer<'a, Result<Timestamp, StoreError>> {
        Box::pin(Store::now(self, clock))
    }

    fn is_same(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<S>().is_some_and(|other| Store::is_same(self, other))
    }

    fn is_local(&self) -> bool {
        Store::is_local(self)
    }

    fn take_now(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Option<Result<Decision, StoreError>> {
        Store::take_now(self, demands, clock)
    }

    fn look_up(&self, scope: &Scope, key: &[u8]) -> Option<Lookup> {
        Store::look_up(self, scope, key)
    }

    fn grant_now(&self, demand: &Demand<'_>, clock: Option<&dyn Clock>) -> Option<Timestamp> {
        Store::grant_now(self, demand, clock)
    }

    fn snapshot<'a>(
        &'a self,
        demand: Demand<'a>,
        clock: Option<&'a dyn Clock>,
    ) -> Answer<'a, Option<(KeyState, Timestamp)>> {
        Box::pin(Store::snapshot(self, demand, clock))
    }
}

impl Store for DynStore {
    async fn take(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        match self.0.take_now(demands, clock) {
            Some(answer) => answer,
            None => self.0.take(demands, clock).await,
        }
    }

    async fn peek(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.0.peek(demands, clock).await
    }

    async fn adjust(
        &self,
        demand: Demand<'_>,
        adjust: Adjust,
        clock: Option<&dyn Clock>,
    ) -> Result<Decision, StoreError> {
        self.0.adjust(demand, adjust, clock).await
    }

    async fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError> {
        self.0.reset(scope, key).await
    }

    async fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError> {
        self.0.sweep(clock).await
    }

    async fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
        self.0.now(clock).await
    }

    fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(other.0.as_any())
    }

    fn is_local(&self) -> bool {
        self.0.is_local()
    }

    fn take_now(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Option<Result<Decision, StoreError>> {
        self.0.take_now(demands, clock)
    }

    fn look_up(&self, scope: &Scope, key: &[u8]) -> Option<Lookup> {
        self.0.look_up(scope, key)
    }

    fn grant_now(&self, demand: &Demand<'_>, clock: Option<&dyn Clock>) -> Option<Timestamp> {
        self.0.grant_now(demand, clock)
    }

    async fn snapshot(&self, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
        self.0.snapshot(demand, clock).await
    }
}

impl fmt::Debug for DynStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DynStore").field(&self.0.name()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limiter, MemoryStore};

    #[test]
    fn erased_handles_of_one_store_are_the_same_and_of_two_are_not() {
        let memory = MemoryStore::new();
        let (a, b) = (DynStore::new(memory.clone()), DynStore::new(memory));
        assert!(Store::is_same(&a, &b));
        assert!(!Store::is_same(&a, &DynStore::new(MemoryStore::new())));
    }

    #[test]
    fn limiters_over_one_erased_store_decide_together() {
        let store = DynStore::new(MemoryStore::new());
        let limiter = |quota: &str| Limiter::builder(quota.parse().unwrap()).store(store.clone()).build();
        let (user, all) = (limiter("2/day"), limiter("1/day"));
        let both = Limiter::all([user.on("ada"), all.on(())]);
        assert!(both.blocking().check().unwrap().allowed());
        assert!(!both.blocking().check().unwrap().allowed());
        assert_eq!(user.blocking().peek("ada").unwrap().remaining(), 1);
    }
}

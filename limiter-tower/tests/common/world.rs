//! Limiters of one store, in virtual time, each named as its policy.

use limiter_core::{Limiter, LimiterBuilder, ManualClock, MemoryStore, Store};
use limiter_tower::{Policy, PolicyName};
use std::borrow::Borrow;

pub struct World<S: Store = MemoryStore> {
    pub store: S,
    pub clock: ManualClock,
}

impl World {
    pub fn new() -> Self {
        Self::over(MemoryStore::new())
    }
}

impl<S: Store> World<S> {
    pub fn over(store: S) -> Self {
        Self { store, clock: ManualClock::default() }
    }

    pub fn builder(&self, name: &str, quota: &str) -> LimiterBuilder<S> {
        let builder = Limiter::builder(quota.parse().unwrap()).name(name).store(self.store.clone());
        builder.clock(self.clock.clone()).sleep(self.clock.clone())
    }

    pub fn limiter(&self, name: &str, quota: &str) -> Limiter<S> {
        self.builder(name, quota).build()
    }

    pub fn policy(&self, name: &str, quota: &str) -> Policy<S> {
        policy(self.limiter(name, quota))
    }
}

/// The policy of that limiter, and of its name.
pub fn policy<S: Store>(limiter: impl Borrow<Limiter<S>>) -> Policy<S> {
    let limiter = limiter.borrow().clone();
    Policy::new(PolicyName::new(limiter.name()).unwrap(), limiter)
}

//! A store that is not in this process, as far as the layer can tell.

use limiter_core::{
    Clock, Decision, KeyState, LocalStore, MemoryStore, Store, StoreError, StoreErrorKind, Timestamp,
    store::{Adjust, Demand, Scope},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Memory that answers a turn later, or not at all.
#[derive(Clone, Default)]
pub struct Remote {
    pub memory: MemoryStore,
    is_down: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    delay: Duration,
}

impl Remote {
    pub fn down() -> Self {
        let store = Self::default();
        store.go_down();
        store
    }

    pub fn go_down(&self) {
        self.is_down.store(true, Ordering::SeqCst);
    }

    pub fn come_up(&self) {
        self.is_down.store(false, Ordering::SeqCst);
    }

    /// One that takes its time.
    pub fn slow(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// How often it was asked.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn turn(&self) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.delay.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(self.delay).await;
        }
        if self.is_down.load(Ordering::SeqCst) { Err(StoreError::new(StoreErrorKind::Unavailable)) } else { Ok(()) }
    }
}

impl Store for Remote {
    async fn take(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.turn().await?;
        LocalStore::take(&self.memory, demands, clock)
    }

    async fn peek(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.turn().await?;
        LocalStore::peek(&self.memory, demands, clock)
    }

    async fn adjust(
        &self,
        demand: Demand<'_>,
        adjust: Adjust,
        clock: Option<&dyn Clock>,
    ) -> Result<Decision, StoreError> {
        self.turn().await?;
        LocalStore::adjust(&self.memory, demand, adjust, clock)
    }

    async fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError> {
        self.turn().await?;
        LocalStore::reset(&self.memory, scope, key)
    }

    async fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError> {
        self.turn().await?;
        LocalStore::sweep(&self.memory, clock)
    }

    async fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
        self.turn().await?;
        LocalStore::now(&self.memory, clock)
    }

    async fn snapshot(&self, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
        self.turn().await.ok()?;
        LocalStore::snapshot(&self.memory, demand, clock)
    }

    fn is_same(&self, other: &Self) -> bool {
        LocalStore::is_same(&self.memory, &other.memory)
    }
}

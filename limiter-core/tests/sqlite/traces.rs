//! Every event of the committed traces is decided as they expect.

use crate::{folder::Folder, support};
use limiter_core::{
    Clock, Decision, KeyState, SqliteStore, Store, StoreError, Timestamp,
    store::{Adjust, Demand, Scope},
};
use std::sync::Arc;

support::traces::trace_families!(|| SqliteStore::new(":memory:").unwrap());

mod in_a_file {
    use super::*;

    support::traces::trace_families!(InFile::new);
}

/// A store with the folder it is in.
#[derive(Clone)]
struct InFile {
    store: SqliteStore,
    _folder: Arc<Folder>,
}

impl InFile {
    fn new() -> Self {
        let folder = Folder::new();
        Self { store: folder.store(), _folder: Arc::new(folder) }
    }
}

impl Store for InFile {
    async fn take(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.store.take(demands, clock).await
    }

    async fn peek(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.store.peek(demands, clock).await
    }

    async fn adjust(
        &self,
        demand: Demand<'_>,
        adjust: Adjust,
        clock: Option<&dyn Clock>,
    ) -> Result<Decision, StoreError> {
        self.store.adjust(demand, adjust, clock).await
    }

    async fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError> {
        self.store.reset(scope, key).await
    }

    async fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError> {
        self.store.sweep(clock).await
    }

    async fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
        self.store.now(clock).await
    }

    fn is_same(&self, other: &Self) -> bool {
        self.store.is_same(&other.store)
    }

    async fn snapshot(&self, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
        self.store.snapshot(demand, clock).await
    }
}

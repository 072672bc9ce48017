//! The memory store passes every case; a clone of it is another handle.

use limiter_core::{MemoryStore, conformance::Harness};
use std::future::{Future, ready};

pub(crate) struct Memory;

impl Harness for Memory {
    type Store = MemoryStore;

    fn fresh(&self) -> impl Future<Output = MemoryStore> + Send {
        ready(MemoryStore::new())
    }

    fn reopen(&self, store: MemoryStore) -> impl Future<Output = Option<MemoryStore>> + Send {
        ready(Some(store))
    }

    fn share(&self, store: &MemoryStore) -> impl Future<Output = Option<MemoryStore>> + Send {
        ready(Some(store.clone()))
    }
}

limiter_core::conformance::tests!(Memory, Persists, Shares);

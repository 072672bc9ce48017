//! The contract of stores, over files of their own, handles of their own, and files opened again.

use super::world::{Folder, patient};
use limiter_core::{
    SharedStore,
    conformance::{Harness, Limits},
};
use std::{
    future::{Future, ready},
    sync::atomic::{AtomicUsize, Ordering},
};

struct Files {
    folder: Folder,
    made: AtomicUsize,
}

impl Files {
    fn new() -> Self {
        Self { folder: Folder::new(), made: AtomicUsize::new(0) }
    }
}

impl Harness for Files {
    type Store = SharedStore;

    fn fresh(&self) -> impl Future<Output = SharedStore> + Send {
        let path = self.folder.path().join(self.made.fetch_add(1, Ordering::Relaxed).to_string());
        ready(patient().max_keys(20_000).open(path).unwrap())
    }

    fn reopen(&self, store: SharedStore) -> impl Future<Output = Option<SharedStore>> + Send {
        let path = store.path().to_owned();
        drop(store);
        ready(Some(patient().open(path).unwrap()))
    }

    fn share(&self, store: &SharedStore) -> impl Future<Output = Option<SharedStore>> + Send {
        ready(Some(patient().open(store.path()).unwrap()))
    }

    fn limits(&self) -> Limits {
        Limits::default().largest_exact_log(10_000)
    }
}

limiter_core::conformance::tests!(Files::new(), Persists, Shares);

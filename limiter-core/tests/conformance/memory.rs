//! The memory store passes every case, as itself and behind a `DynStore`; clones are its further handles.

use limiter_core::{
    MemoryStore, Store,
    conformance::{CASES, Harness},
    store::DynStore,
};
use std::{
    future::{Future, ready},
    marker::PhantomData,
};

/// Stores whose clones are as good as handles of other processes.
struct InProcess<S>(fn() -> S, PhantomData<S>);

impl<S: Store> Harness for InProcess<S> {
    type Store = S;

    fn fresh(&self) -> impl Future<Output = S> + Send {
        ready(self.0())
    }

    fn reopen(&self, store: S) -> impl Future<Output = Option<S>> + Send {
        ready(Some(store))
    }

    fn share(&self, store: &S) -> impl Future<Output = Option<S>> + Send {
        ready(Some(store.clone()))
    }
}

limiter_core::conformance::tests!(InProcess(MemoryStore::new, PhantomData), Persists, Shares);

mod erased {
    use super::*;

    limiter_core::conformance::tests!(InProcess(|| DynStore::new(MemoryStore::new()), PhantomData), Persists, Shares);
}

/// A case is a future like any other; what it starts threads for, it awaits.
#[tokio::test]
async fn cases_run_inside_a_runtime_too() {
    for case in CASES.iter().filter(|case| case.name.contains("exactly_the_quota")) {
        case.run(&InProcess(MemoryStore::new, PhantomData)).await.unwrap();
    }
}

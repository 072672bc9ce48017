//! The custom store keeps the contract, and its program runs to its end.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../custom-store/main.rs"]
mod custom_store;

use custom_store::ThreadStore;
use limiter_core::conformance::Harness;
use std::future::{Future, ready};

/// Clones are all the handles there are.
struct Threads;

impl Harness for Threads {
    type Store = ThreadStore;

    fn fresh(&self) -> impl Future<Output = ThreadStore> + Send {
        ready(ThreadStore::start().unwrap())
    }

    fn share(&self, store: &ThreadStore) -> impl Future<Output = Option<ThreadStore>> + Send {
        ready(Some(store.clone()))
    }
}

limiter_core::conformance::tests!(Threads, Shares);

#[tokio::test]
async fn it_limits() {
    custom_store::run().await.unwrap();
}

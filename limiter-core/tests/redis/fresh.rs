//! Stores that meet nobody else's keys.

use super::{
    servers::{RedisServer, eventually},
    support::block_on,
};
use limiter_core::{
    Decision, Quota, RedisStore, Store, StoreError, StoreErrorKind,
    store::{Demand, RedisStoreBuilder, Scope},
};
use std::{
    cell::RefCell,
    sync::{
        Arc, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A server that several tests share, alive as long as any of them.
pub(crate) fn shared() -> Arc<RedisServer> {
    static SERVER: LazyLock<Mutex<Weak<RedisServer>>> = LazyLock::new(Mutex::default);
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    server.upgrade().unwrap_or_else(|| {
        let started = Arc::new(RedisServer::start());
        *server = Arc::downgrade(&started);
        started
    })
}

/// A name that nothing else in this process has.
pub(crate) fn name() -> String {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    format!("test{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

/// Settings for a machine that has far more to do than it can: by default a call may take a second.
pub(crate) fn patient(url: &str) -> RedisStoreBuilder {
    RedisStore::builder(url).timeout(Duration::from_secs(60))
}

/// A store in a namespace of its own.
pub(crate) fn store(server: &RedisServer) -> RedisStore {
    store_in(&server.url(), &name())
}

/// A store in this namespace.
pub(crate) fn store_in(url: &str, namespace: &str) -> RedisStore {
    patient(url).namespace(namespace).build().unwrap()
}

pub(crate) fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

/// Takes units for a key of the limiter `api`, by the server's time.
pub(crate) fn take(store: &RedisStore, key: &str, quota: &Quota, cost: u64) -> Result<Decision, StoreError> {
    let scope = Scope::new("api");
    block_on(store.take(&[Demand::new(&scope, key.as_bytes(), quota, cost)], None))
}

/// Looks at a key of the limiter `api`.
pub(crate) fn remaining(store: &RedisStore, key: &str, quota: &Quota) -> u64 {
    let scope = Scope::new("api");
    block_on(store.peek(&[Demand::new(&scope, key.as_bytes(), quota, 0)], None)).unwrap().remaining()
}

/// The kind of an error, and that its text and `Debug` show no secret.
pub(crate) fn kind(result: Result<impl std::fmt::Debug, StoreError>) -> StoreErrorKind {
    let error = result.unwrap_err();
    let shown = format!("{error:?} {error} {:?}", std::error::Error::source(&error).map(ToString::to_string));
    assert!(!shown.contains("secret"), "{shown}");
    error.kind()
}

/// Takes until one is admitted: a server that comes back needs a moment to be found.
pub(crate) fn take_again(store: &RedisStore, key: &str, quota: &Quota) -> Decision {
    let last = RefCell::new(None);
    eventually(
        || match take(store, key, quota, 1) {
            Ok(decision) => Some(decision),
            Err(error) => {
                *last.borrow_mut() = Some(error);
                None
            }
        },
        || format!("an answer, after {last:?}"),
    )
}

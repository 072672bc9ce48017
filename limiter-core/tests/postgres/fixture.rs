//! Stores of a test's own on the one server of this binary.

use crate::servers::{Database, PostgresServer};
use limiter_core::{PostgresStore, store::PostgresStoreBuilder};
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// More than any call takes where many tests share two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The database that tests share whose stores have prefixes of their own.
pub(crate) fn database() -> &'static Database<'static> {
    static DATABASE: OnceLock<Database<'static>> = OnceLock::new();
    DATABASE.get_or_init(|| PostgresServer::shared().fresh_database())
}

/// A store that shares nothing with another.
pub(crate) fn fresh() -> PostgresStore {
    builder(&database().url()).prefix(prefix()).build().unwrap()
}

pub(crate) fn builder(url: &str) -> PostgresStoreBuilder {
    PostgresStore::builder(url).timeout(PATIENCE).max_connections(4)
}

/// A prefix that no other store has.
pub(crate) fn prefix() -> String {
    static STORES: AtomicU32 = AtomicU32::new(0);
    format!("test{}", STORES.fetch_add(1, Ordering::Relaxed))
}

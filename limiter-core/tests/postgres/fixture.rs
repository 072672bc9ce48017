//! Stores of a test's own on the one server of this binary.

use crate::servers::{Database, PostgresServer};
use deadpool_postgres::{Manager, Pool, tokio_postgres::NoTls};
use limiter_core::{Error, Limiter, PostgresStore, StoreError, StoreErrorKind, store::PostgresStoreBuilder};
use std::{
    error::Error as _,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

/// More than any call takes where many tests share two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The database that tests share whose stores have prefixes or keys of their own.
pub(crate) fn database() -> &'static Database<'static> {
    static DATABASE: OnceLock<Database<'static>> = OnceLock::new();
    DATABASE.get_or_init(|| PostgresServer::shared().fresh_database())
}

/// A store that shares nothing with another but its tables and connections: its keys are hashed under a secret.
pub(crate) fn fresh() -> PostgresStore {
    static POOL: OnceLock<Pool> = OnceLock::new();
    let pool = POOL.get_or_init(|| {
        let manager = Manager::new(database().url().parse().unwrap(), NoTls);
        Pool::builder(manager).max_size(8).build().unwrap()
    });
    PostgresStore::from_pool(pool.clone()).timeout(PATIENCE).hash_keys(unique()).build().unwrap()
}

/// A store on the tables of this prefix, with its names as they are.
pub(crate) fn on_tables(prefix: &str) -> PostgresStore {
    builder(&database().url()).prefix(prefix).build().unwrap()
}

pub(crate) fn builder(url: &str) -> PostgresStoreBuilder {
    PostgresStore::builder(url).timeout(PATIENCE).max_connections(4)
}

/// A name that no other has.
pub(crate) fn unique() -> String {
    static NAMES: AtomicU32 = AtomicU32::new(0);
    format!("test{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

/// A limiter over `store` of 100 units a day, none of which come back while a test runs.
pub(crate) fn hundred(store: &PostgresStore) -> Limiter<PostgresStore> {
    Limiter::builder("sliding_log 100/10day".parse().unwrap()).name("hundred").store(store.clone()).build()
}

/// How many takes of one unit succeed, of `takes` in each of `threads` threads.
pub(crate) fn admitted(limiter: &Limiter<PostgresStore>, threads: usize, takes: usize) -> usize {
    thread::scope(|scope| {
        let count = || (0..takes).filter(|_| limiter.blocking().check("hot").unwrap().allowed()).count();
        let counts: Vec<_> = (0..threads).map(|_| scope.spawn(count)).collect();
        counts.into_iter().map(|count| count.join().unwrap()).sum()
    })
}

/// What failed, and all that its sources say.
pub(crate) fn says(error: &StoreError) -> (StoreErrorKind, String) {
    let (mut text, mut source) = (String::new(), error.source());
    while let Some(error) = source {
        text += &format!("{error}; ");
        source = error.source();
    }
    (error.kind(), text)
}

/// The store's error of a call.
pub(crate) fn failed<T>(answer: Result<T, Error>) -> StoreError {
    match answer {
        Err(Error::Store(error)) => error,
        Err(other) => panic!("not an error of the store: {other}"),
        Ok(_) => panic!("no error"),
    }
}

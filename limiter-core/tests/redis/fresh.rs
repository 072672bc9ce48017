//! Stores that meet nobody else's keys.

use super::servers::RedisServer;
use limiter_core::RedisStore;
use std::sync::{
    Arc, LazyLock, Mutex, PoisonError, Weak,
    atomic::{AtomicU64, Ordering},
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

/// A store in a namespace of its own.
pub(crate) fn store(server: &RedisServer) -> RedisStore {
    RedisStore::builder(&server.url()).namespace(name()).build().unwrap()
}

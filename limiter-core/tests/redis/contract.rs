//! The contract of stores, over a server.

use crate::{fresh, servers::RedisServer};
use limiter_core::{RedisStore, conformance::Harness};
use std::{
    future::{Future, ready},
    sync::Arc,
};

/// Stores in namespaces of their own; other handles are other connections.
#[derive(Clone)]
struct Server(Arc<RedisServer>);

impl Server {
    fn start() -> Self {
        Self(fresh::shared())
    }

    /// The namespace of a store, as its `Debug` tells it.
    fn again(&self, store: &RedisStore) -> RedisStore {
        let shown = format!("{store:?}");
        let namespace = shown.split("prefix: \"").nth(1).unwrap().split(":1:").next().unwrap().to_owned();
        fresh::store_in(&self.0.url(), &namespace)
    }
}

impl Harness for Server {
    type Store = RedisStore;

    fn fresh(&self) -> impl Future<Output = RedisStore> + Send {
        ready(fresh::store(&self.0))
    }

    fn reopen(&self, store: RedisStore) -> impl Future<Output = Option<RedisStore>> + Send {
        ready(Some(self.again(&store)))
    }

    fn share(&self, store: &RedisStore) -> impl Future<Output = Option<RedisStore>> + Send {
        ready(Some(self.again(store)))
    }
}

limiter_core::conformance::tests!(Server::start(), Persists, Shares);

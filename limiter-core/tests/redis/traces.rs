//! Every event of the committed traces is decided on a server as in memory.

use crate::{fresh, support};
use std::{cell::OnceCell, sync::Arc};

thread_local! {
    /// A server as long as the test's thread lives, and one connection to it.
    static SERVER: OnceCell<Arc<super::servers::RedisServer>> = const { OnceCell::new() };
}

fn fresh_store() -> limiter_core::RedisStore {
    SERVER.with(|server| fresh::store(server.get_or_init(fresh::shared)))
}

support::traces::trace_families!(fresh_store);

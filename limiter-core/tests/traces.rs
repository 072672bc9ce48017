//! Every event of the committed traces is decided in memory as they expect.

mod support;

use limiter_core::{DynStore, MemoryStore};

support::traces::trace_families!(MemoryStore::new);

mod erased {
    use super::*;

    support::traces::trace_families!(|| DynStore::new(MemoryStore::new()));
}

//! Every event of the committed traces is decided in a shared file as they expect.

use super::{support, world::unnamed};
use limiter_core::SharedStore;

support::traces::trace_families!(|| unnamed(SharedStore::builder().max_keys(64)));

//! Quotas that change, and keys that are reset, while calls are under way.

use super::{support, world::unnamed};
use limiter_core::SharedStore;

support::late::late_calls!(|| unnamed(SharedStore::builder().max_keys(64)));

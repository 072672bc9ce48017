//! Quotas that change, and keys that are reset, while calls are under way.

use super::support;
use limiter_core::SqliteStore;

support::late::late_calls!(|| SqliteStore::new(":memory:").unwrap());

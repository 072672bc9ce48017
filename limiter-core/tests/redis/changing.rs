//! Quotas that change, and keys that are reset, while calls are under way.

use super::{
    fresh::{shared, store},
    support,
};

support::late::late_calls!({
    let server = shared();
    move || store(&server)
});

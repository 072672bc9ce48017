//! The Postgres store on real servers.

// Lower than the default of 128, so that a caller has room around our futures.
#![recursion_limit = "96"]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../servers/mod.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

mod callers;
mod contract;
mod faults;
mod fixture;
mod lifetime;
mod logs;
mod processes;
mod schema;
mod sessions;

mod changing {
    use super::{fixture::fresh, support};

    support::late::late_calls!(fresh);
}

mod traces {
    use super::{fixture::fresh, support};

    support::traces::trace_families!(fresh);
}

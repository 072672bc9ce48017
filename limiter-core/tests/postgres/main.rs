//! The Postgres store on real servers.

#![cfg(all(feature = "postgres", feature = "conformance"))]

#[path = "../servers/mod.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

mod contract;
mod fixture;

mod traces {
    use super::{fixture::fresh, support};

    support::traces::trace_families!(fresh);
}

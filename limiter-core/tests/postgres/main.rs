//! The Postgres store on real servers.

#![cfg(feature = "postgres")]

#[path = "../servers/mod.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

mod fixture;

mod traces {
    use super::{fixture::fresh, support};

    support::traces::trace_families!(fresh);
}

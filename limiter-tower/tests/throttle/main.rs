//! Throttled services: pace, order, readiness, clients over sockets, and the faults of tower's own rate limit.

#![allow(clippy::unwrap_used, clippy::panic)]

mod clients;
#[path = "../common/mod.rs"]
mod common;
mod pace;
mod readiness;
mod tower_faults;

//! The Redis store over real servers.

// Lower than the default of 128, so that a caller has room around our futures.
#![recursion_limit = "96"]
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../servers/mod.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

mod changing;
#[cfg(feature = "conformance")]
mod contract;
mod fake;
mod faults;
mod fresh;
mod groups;
mod keys;
mod large;
mod processes;
mod scripts;
mod stream;
mod traces;

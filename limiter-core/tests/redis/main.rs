//! The Redis store over real servers.

#![cfg(feature = "redis")]

#[path = "../servers/mod.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "conformance")]
mod contract;
mod faults;
mod fresh;
mod groups;
mod keys;
mod large;
mod processes;
mod scripts;
mod stream;
mod traces;

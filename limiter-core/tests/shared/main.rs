//! The shared file: equal to memory, exact among processes, whole after kills, clear about what is wrong with a file.

#![cfg(all(feature = "shared", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::panic)]

mod changing;
#[cfg(feature = "conformance")]
mod contract;
mod equal;
mod files;
mod full;
mod kills;
mod processes;
mod stopped;
#[path = "../support/mod.rs"]
mod support;
mod traces;
mod world;

//! The SQLite store: the same decisions as in memory, whatever happens to processes and files.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod folder;
mod traces;

//! Rules from files: what they say, which mistakes they can have, and how they change while requests run.

#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../limiter-core/tests/support/alloc.rs"]
mod alloc;
mod allocations;
mod change;
#[path = "../common/mod.rs"]
mod common;
mod meaning;
mod mistakes;

//! The contract's own tests: the stores that keep it pass each case, and each case fails on a store that breaks it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod memory;

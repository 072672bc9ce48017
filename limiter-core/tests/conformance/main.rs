//! The contract's own tests: the stores that keep it pass each case, and each case fails on a store that breaks it.
//!
//! * `memory`: the memory store passes, in its own type and erased.
//! * `broken`: a store that can be told to break the contract in one way; each case finds the way meant for it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod broken;
mod memory;

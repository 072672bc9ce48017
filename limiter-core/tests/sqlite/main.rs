//! The SQLite store: the same decisions as in memory, whatever happens to processes and files.
//!
//! * `traces`, `contract`, `equality`, `changing`: what it decides.
//! * `processes`, `kills`: several processes on one file, and the sudden end of some; they are this very binary (`worker`).
//! * `faults`: files and disks that are not as they should be.
//! * `runtimes`: callers, their runtimes, and futures that are dropped.
//! * `clock`, `upkeep`: time, idle keys, names and long logs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod changing;
mod clock;
mod contract;
mod equality;
mod faults;
mod folder;
mod kills;
mod processes;
mod runtimes;
mod traces;
mod upkeep;
mod worker;

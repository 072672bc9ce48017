//! The limiter against a slow, obvious oracle, and against what it promises.
//!
//! * `decisions`: every field of every decision of random runs is the oracle's.
//! * `properties`: what was admitted keeps the promise over every window; waits and resets are honest.
//! * `clocks`: steps of the clock, to both ends of its range, admit nothing extra and lock nobody out.
//! * `extremes`: from one unit in 366 days to 4096 a microsecond, and the costs at the edges.
//! * `threads`: what threads are answered is what some order of their calls is answered by the oracle.
//! * `changes`: quotas that change while they run.
//! * `waiting`: lines under random arrivals, departures and refunds.
//! * `reserve`: units reserved for later, used at their instants, keep the promise.
//!
//! Runs are random and repeatable: each test takes two fixed seeds and prints them. Set `LIMITER_SEED` to another number,
//! or to `fresh` for one never seen, to look for more.

#![allow(clippy::unwrap_used, clippy::panic)]

mod changes;
mod clocks;
mod decisions;
mod extremes;
mod model;
mod promise;
mod properties;
mod random;
mod reserve;
#[path = "../support/mod.rs"]
mod support;
mod threads;
mod waiting;

//! Waiting for units: first come, first served, on every key.
//!
//! Who must wait stands in the key's queue. One driver a key asks the store on behalf of the queue's head, sleeps once
//! to the instant the store names, and hands over each grant. The driver runs wherever its timer wakes it, not in any
//! waiter's task: a waiter that is never polled again delays nobody.

mod acquire;
mod acquire_all;
mod driver;
mod line;
#[cfg(all(test, limiter_loom))]
mod models;
mod one_key;
mod permit;
mod queue;
mod sleep;
mod slots;
#[cfg(feature = "futures")]
mod stream;
mod task;
mod timer;
mod turns;
mod waiter;
mod wrap;

pub use acquire::{Acquire, AcquireFuture};
pub use acquire_all::{AcquireAll, AcquireAllFuture};
pub use one_key::{KeyAcquire, KeyAcquireFuture, KeyPermit};
pub use permit::Permit;
pub use sleep::Sleep;
pub use slots::Place;
#[cfg(feature = "futures")]
pub use stream::{LimitedSink, LimitedStream};
pub use task::{block_on, detach};
pub use timer::ThreadTimer;
pub use wrap::{Charge, WrappedFuture};

pub(crate) use driver::panicked;
pub(crate) use queue::Queues;
pub(crate) use slots::{Slot, Slots};
pub(crate) use task::Task;
pub(crate) use waiter::wake;

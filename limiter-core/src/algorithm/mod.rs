//! The algorithms: pure functions of a key's state, the time and the cost.
//!
//! No clock, lock or I/O is in here: the same state, instant and cost give the same decision, on every store.
//!
//! | algorithm | admits in any interval of length w | state a rate | wants |
//! | --- | --- | --- | --- |
//! | `gcra` | burst + limit·w/period | one instant | servers: smooth, smallest, fastest |
//! | `fixed_window` | limit in each aligned window | a counter | quotas that reset on the hour or the day |
//! | `sliding_window` | limit + ⌈limit·w/period⌉ | two counters | near exactness at constant memory |
//! | `sliding_log` | limit, for w up to the period, both ends included | a stamp a take | somebody else's quota |
//!
//! A clock that steps back holds still: it never mints. State may lie ahead of the time by at most one period (a
//! bucket: by two full quotas); a take that finds it further ahead pulls it to that edge, also when it is denied.
//!
//! Sources: `gcra` is the generic cell rate algorithm of ITU-T I.371, annex A. `sliding_window` is the approximation
//! that Cloudflare published in 2017, [How we built rate limiting capable of scaling to millions of
//! domains][cloudflare]. `sliding_log` is the exact log of timestamps, with the semantics of PyrateLimiter.
//! `fixed_window` is a plain counter a window.
//!
//! [cloudflare]: https://blog.cloudflare.com/counting-things-a-lot-of-different-things/
//!
//! By hand, as a store does it:
//!
//! ```
//! use limiter_core::{
//!     KeyState, Quota, Timestamp,
//!     algorithm::{Mode, View, decide},
//! };
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), limiter_core::QuotaError> {
//! let quota: Quota = "sliding_log 3/s".parse()?;
//! let mut state = KeyState::default(); // a key never seen
//! let mut take = |cost, now| decide(&mut [View { quota: &quota, state: &mut state, cost }], now, Mode::Take);
//!
//! let now = Timestamp::from_micros(1_760_000_000_000_000);
//! assert_eq!(take(2, now).remaining(), 1);
//! let denied = take(2, now);
//! assert_eq!(denied.retry_after(), Some(Duration::from_micros(1_000_001))); // the window is closed at both ends
//! assert!(take(2, now.saturating_add(Duration::from_micros(1_000_001))).allowed());
//! # Ok(())
//! # }
//! ```

mod decide;
mod fixed_window;
pub(crate) mod gcra;
mod projection;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod report;
mod sliding_log;
mod sliding_window;
mod state;

pub use decide::{Mode, View, decide};
pub(crate) use decide::{Single, decide_one, decide_singles};
pub(crate) use fixed_window::FixedWindow;
pub(crate) use gcra::Gcra;
pub(crate) use projection::Projection;
#[cfg(any(feature = "redis", feature = "postgres"))]
pub(crate) use report::{RateReport, Report, judge};
pub(crate) use sliding_log::SlidingLog;
pub(crate) use sliding_window::SlidingWindow;
pub(crate) use state::Cells;
pub use state::KeyState;

// What stores that keep states in forms of their own take apart and put together.
#[cfg(any(feature = "shared", feature = "sqlite"))]
pub(crate) use sliding_log::Log;
#[cfg(feature = "shared")]
pub(crate) use sliding_log::Run;
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) use sliding_log::runs::Units;
#[cfg(any(feature = "postgres", feature = "redis", feature = "shared", feature = "sqlite"))]
pub(crate) use {fixed_window::Counted, sliding_log::Logs, sliding_window::Counts};

use smallvec::SmallVec;

/// One rate of an algorithm that keeps a few numbers a rate. Times are microseconds, instants microseconds since the
/// Unix epoch.
pub(crate) trait Meter {
    /// What a key keeps for this rate; the default is a key never seen.
    type State: Clone + Default;

    /// The most units that fit at once.
    fn capacity(&self) -> u64;

    /// The time until `cost` units, at most the capacity, fit; zero where they fit now.
    fn wait(&self, state: &Self::State, now: u64, cost: u64) -> u64;

    /// What is left and when all of it is back.
    fn level(&self, state: &Self::State, now: u64) -> Level;

    /// Whether the state lies further ahead of `now` than it may, as after a clock that stepped back.
    fn is_ahead(&self, state: &Self::State, now: u64) -> bool;

    /// Takes `cost` units without asking, into at most one capacity of debt; none still pulls back what is ahead.
    fn take(&self, state: &mut Self::State, now: u64, cost: u64);

    /// Returns what a take of `cost` units at `taken` still holds.
    fn refund(&self, state: &mut Self::State, now: u64, cost: u64, taken: u64);

    /// Units in use now, parts of a unit rounded up.
    fn in_use(&self, state: &Self::State, now: u64) -> u64;
}

/// All rates of a quota, over what one key keeps for them; [`Meter`] tells what each call is, here of the rate `i`.
pub(crate) trait Bank {
    type State;

    fn fresh(&self) -> Self::State;
    fn wait(&self, i: usize, state: &Self::State, now: u64, cost: u64) -> u64;
    fn level(&self, i: usize, state: &Self::State, now: u64) -> Level;
    fn in_use(&self, i: usize, state: &Self::State, now: u64) -> u64;
    /// Takes under every rate.
    fn take(&self, state: &mut Self::State, now: u64, cost: u64);
    /// Takes under one rate only.
    fn take_of(&self, i: usize, state: &mut Self::State, now: u64, cost: u64);
    /// Whether so many units can be taken ahead beside all that counts now.
    fn has_room_ahead(&self, state: &Self::State, now: u64, cost: u64) -> bool;
    /// Takes under every rate as of `at`, a later instant than `now`, without forgetting what counts until then.
    fn take_ahead(&self, state: &mut Self::State, now: u64, at: u64, cost: u64);
    /// Pulls back what lies too far ahead of `now`.
    fn pull_back(&self, state: &mut Self::State, now: u64);
    /// Refunds under every rate.
    fn refund(&self, state: &mut Self::State, now: u64, cost: u64, taken: u64);
}

impl<M: Meter> Bank for [M] {
    type State = SmallVec<[M::State; 1]>;

    fn fresh(&self) -> Self::State {
        SmallVec::from_elem(M::State::default(), self.len())
    }

    #[inline]
    fn wait(&self, i: usize, state: &Self::State, now: u64, cost: u64) -> u64 {
        self[i].wait(&state[i], now, cost)
    }

    #[inline]
    fn level(&self, i: usize, state: &Self::State, now: u64) -> Level {
        self[i].level(&state[i], now)
    }

    fn in_use(&self, i: usize, state: &Self::State, now: u64) -> u64 {
        self[i].in_use(&state[i], now)
    }

    #[inline]
    fn take(&self, state: &mut Self::State, now: u64, cost: u64) {
        self.iter().zip(state).for_each(|(meter, state)| meter.take(state, now, cost));
    }

    fn has_room_ahead(&self, _state: &Self::State, _now: u64, _cost: u64) -> bool {
        true // what is taken ahead counts where it will
    }

    fn take_ahead(&self, state: &mut Self::State, _now: u64, at: u64, cost: u64) {
        self.take(state, at, cost); // a bucket and a previous window count on; see `KeyState::reserve` for the others
    }

    fn take_of(&self, i: usize, state: &mut Self::State, now: u64, cost: u64) {
        self[i].take(&mut state[i], now, cost);
    }

    fn pull_back(&self, state: &mut Self::State, now: u64) {
        for (meter, state) in self.iter().zip(state) {
            if meter.is_ahead(state, now) {
                meter.take(state, now, 0);
            }
        }
    }

    fn refund(&self, state: &mut Self::State, now: u64, cost: u64, taken: u64) {
        self.iter().zip(state).for_each(|(meter, state)| meter.refund(state, now, cost, taken));
    }
}

/// How far a rate is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    /// Whole units left.
    pub(crate) remaining: u64,
    /// Microseconds until every unit is back.
    pub(crate) reset_after_us: u64,
}

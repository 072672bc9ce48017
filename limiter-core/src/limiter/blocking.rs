//! Every store from plain synchronous code.

use super::{All, Limiter};
use crate::{
    Decision, Error, Key, Permit, Timestamp,
    key::with_bytes,
    store::{Adjust, Store},
    wait::block_on,
};
use std::{fmt, time::Duration};

/// The calls of a [`Limiter`] or an [`All`] for code without a runtime, over any store: each keeps its thread until the
/// store has answered. Made by [`Limiter::blocking`] and [`All::blocking`].
///
/// In-process stores answer at once; they have the same calls on the limiter itself. Do not call these where a runtime's
/// tasks run: a thread that waits runs no tasks.
///
/// ```
/// use limiter_core::Limiter;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::parse("5/s")?; // of any store
/// assert!(limiter.blocking().check("ada")?.allowed());
/// assert_eq!(limiter.blocking().peek("ada")?.remaining(), 4);
/// # Ok(())
/// # }
/// ```
pub struct Blocking<'a, T>(&'a T);

impl<S: Store> Limiter<S> {
    /// The calls of this limiter for code without a runtime.
    #[must_use]
    pub fn blocking(&self) -> Blocking<'_, Self> {
        Blocking(self)
    }
}

impl<S: Store> All<S> {
    /// The calls of this decision for code without a runtime.
    #[must_use]
    pub fn blocking(&self) -> Blocking<'_, Self> {
        Blocking(self)
    }
}

impl<S: Store> Blocking<'_, Limiter<S>> {
    /// See [`Limiter::check_async`].
    ///
    /// # Errors
    /// As there.
    pub fn check(&self, key: impl Key) -> Result<Decision, Error> {
        self.check_n(key, 1)
    }

    /// See [`Limiter::check_n_async`].
    ///
    /// # Errors
    /// As there.
    pub fn check_n(&self, key: impl Key, cost: u64) -> Result<Decision, Error> {
        with_bytes(&key, |key| match self.0.core().check_now(key, cost) {
            Some(answer) => answer, // without a future
            None => block_on(self.0.check_bytes(key, cost)),
        })
    }

    /// See [`Limiter::take_up_to_async`].
    ///
    /// # Errors
    /// As there.
    pub fn take_up_to(&self, key: impl Key, most: u64) -> Result<(u64, Decision), Error> {
        with_bytes(&key, |key| block_on(self.0.take_up_to_bytes(key, most)))
    }

    /// See [`Limiter::peek_async`].
    ///
    /// # Errors
    /// As there.
    pub fn peek(&self, key: impl Key) -> Result<Decision, Error> {
        self.peek_n(key, 1)
    }

    /// See [`Limiter::peek_n_async`].
    ///
    /// # Errors
    /// As there.
    pub fn peek_n(&self, key: impl Key, cost: u64) -> Result<Decision, Error> {
        with_bytes(&key, |key| block_on(self.0.peek_bytes(key, cost)))
    }

    /// See [`Limiter::charge_async`].
    ///
    /// # Errors
    /// As there.
    pub fn charge(&self, key: impl Key, cost: u64) -> Result<Decision, Error> {
        with_bytes(&key, |key| block_on(self.0.core().adjust(key, cost, Adjust::Charge)))
    }

    /// See [`Limiter::refund_async`].
    ///
    /// # Errors
    /// As there.
    pub fn refund(&self, key: impl Key, cost: u64, taken: Timestamp) -> Result<Decision, Error> {
        with_bytes(&key, |key| block_on(self.0.core().adjust(key, cost, Adjust::Refund { taken })))
    }

    /// See [`Limiter::reset_async`].
    ///
    /// # Errors
    /// As there.
    pub fn reset(&self, key: impl Key) -> Result<(), Error> {
        with_bytes(&key, |key| block_on(self.0.core().reset(key)))
    }

    /// See [`Limiter::block_async`].
    ///
    /// # Errors
    /// As there.
    pub fn block(&self, key: impl Key, duration: Duration) -> Result<Decision, Error> {
        self.block_until(key, block_on(self.0.core().now())?.saturating_add(duration))
    }

    /// See [`Limiter::block_at_least_async`].
    ///
    /// # Errors
    /// As there.
    pub fn block_at_least(&self, key: impl Key, duration: Duration) -> Result<Decision, Error> {
        let until = block_on(self.0.core().now())?.saturating_add(duration);
        with_bytes(&key, |key| block_on(self.0.core().adjust(key, 0, Adjust::BlockAtLeast { until })))
    }

    /// See [`Limiter::block_until_async`].
    ///
    /// # Errors
    /// As there.
    pub fn block_until(&self, key: impl Key, until: Timestamp) -> Result<Decision, Error> {
        with_bytes(&key, |key| block_on(self.0.core().adjust(key, 0, Adjust::Block { until })))
    }

    /// See [`Limiter::reserve`].
    ///
    /// # Errors
    /// As there.
    pub fn reserve(&self, key: impl Key, cost: u64) -> Result<(Permit<S>, Duration), Error> {
        with_bytes(&key, |key| block_on(self.0.reserve_bytes(key, cost)))
    }

    /// See [`Limiter::sweep_async`].
    ///
    /// # Errors
    /// As there.
    pub fn sweep(&self) -> Result<usize, Error> {
        block_on(self.0.sweep_async())
    }
}

impl<S: Store> Blocking<'_, All<S>> {
    /// See [`All::check_async`].
    ///
    /// # Errors
    /// As there.
    pub fn check(&self) -> Result<Decision, Error> {
        block_on(self.0.check_async())
    }

    /// See [`All::peek_async`].
    ///
    /// # Errors
    /// As there.
    pub fn peek(&self) -> Result<Decision, Error> {
        block_on(self.0.peek_async())
    }
}

impl<T: fmt::Debug> fmt::Debug for Blocking<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Blocking").field(self.0).finish()
    }
}

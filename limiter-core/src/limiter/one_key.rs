//! A limiter's handle for one key.

use super::{Limiter, fits};
use crate::{
    Decision, Error, Key, KeyBuf, MemoryStore, Timestamp,
    store::{Demand, LocalStore, Lookup, Store},
    wait::KeyAcquire,
};
use std::fmt;

/// One key of a [`Limiter`], looked up once: for loops that ask for the same key over and over. Made by
/// [`Limiter::for_key`].
///
/// It is the same key of the same limiter: whoever asks the limiter for it shares its units and stands in the same line.
/// A permit taken here borrows this handle, where that of [`Limiter::acquire`] owns what it needs; clone the handle, or
/// put it into an [`Arc`](std::sync::Arc), for tasks of their own.
///
/// Cost: with one `gcra` rate in a [`MemoryStore`], and a quota that is the same for all keys and was never changed,
/// an acquisition that finds its units hashes nothing, counts no reference and makes no [`Decision`]: about a fifth of
/// [`Limiter::acquire`]. Elsewhere it costs what that does.
pub struct KeyLimiter<S: Store = MemoryStore> {
    limiter: Limiter<S>,
    key: KeyBuf,
    /// Where the store expects the key, as of the limiter's first plan.
    lookup: Option<Lookup>,
}

impl<S: Store> Limiter<S> {
    /// A handle for one key, which is then looked up once and not at each call.
    ///
    /// ```
    /// use limiter_core::Limiter;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("1000/s burst 10")?;
    /// let host = limiter.for_key("api.example.com");
    /// for _page in 0..20 {
    ///     let _permit = host.acquire().await?; // waits from the 11th on
    ///     // fetch the page
    /// }
    /// assert!(limiter.check_async("api.example.com").await?.remaining() < 10); // the same key, the same units
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn for_key(&self, key: impl Key) -> KeyLimiter<S> {
        let key = KeyBuf::of(&key);
        let lookup = self.0.look_up(key.as_slice());
        KeyLimiter { limiter: self.clone(), key, lookup }
    }
}

impl<S: Store> KeyLimiter<S> {
    /// Takes units of the key, one where no other cost is set, or waits for them in line; see [`Limiter::acquire`].
    ///
    /// ```
    /// use limiter_core::{Error, Limiter};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ada = Limiter::parse("10/day")?.for_key("ada");
    /// let permit = ada.acquire().cost(8).await?;
    /// assert_eq!(permit.settle(5).await?.remaining(), 5); // it took less
    /// let refused = ada.acquire().cost(6).timeout(Duration::from_secs(1)).await;
    /// assert!(matches!(refused, Err(Error::WaitTooLong { .. })));
    /// # Ok(())
    /// # }
    /// ```
    #[inline(always)]
    pub fn acquire(&self) -> KeyAcquire<'_, S> {
        KeyAcquire::new(self)
    }

    /// The limiter that the key is one of.
    #[must_use]
    pub fn limiter(&self) -> &Limiter<S> {
        &self.limiter
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &KeyBuf {
        &self.key
    }

    /// Takes `cost` units where that can be said at once, and by the shortest way; `None`, with nothing done, elsewhere.
    #[inline(always)]
    pub(crate) fn grant_now(&self, cost: u64) -> Option<Timestamp> {
        let (core, demand) = (self.limiter.core(), self.demand(cost)?);
        let asks = cost > 0 && cost <= demand.quota.capacity() && core.queues.is_free();
        if asks { core.store.grant_now(&demand, core.clock()) } else { None }
    }

    /// What to ask of the store, where the store has looked the key up and its quota is no question.
    #[inline(always)]
    fn demand(&self, cost: u64) -> Option<Demand<'_>> {
        let lookup = self.lookup.as_ref()?;
        Some(self.limiter.core().first_demand(self.key.as_slice(), cost)?.at(lookup))
    }
}

impl<S: LocalStore> KeyLimiter<S> {
    /// Takes one unit of the key if it is there; see [`Limiter::check`].
    ///
    /// # Errors
    /// [`Error::Store`], which memory never gives. A denial is no error.
    #[inline]
    pub fn check(&self) -> Result<Decision, Error> {
        self.check_n(1)
    }

    /// Takes `cost` units of the key if all of them are there; see [`Limiter::check_n`].
    ///
    /// # Errors
    /// [`Error::NeverFits`] for a cost above the quota's capacity; [`Error::Store`], which memory never gives.
    #[inline]
    pub fn check_n(&self, cost: u64) -> Result<Decision, Error> {
        let core = self.limiter.core();
        match self.demand(cost) {
            Some(demand) if core.queues.waiting() == 0 => {
                fits(demand.quota, cost)?;
                let answer = core.store.take(std::slice::from_ref(&demand), core.clock());
                answer.or_else(|error| core.take_again(&demand, error))
            }
            _ => self.limiter.check_n(&self.key, cost),
        }
    }
}

impl<S: Store> Clone for KeyLimiter<S> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), key: self.key.clone(), lookup: self.lookup.clone() }
    }
}

impl<S: Store> fmt::Debug for KeyLimiter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyLimiter").field("limiter", &self.limiter).field("key", &self.key).finish()
    }
}

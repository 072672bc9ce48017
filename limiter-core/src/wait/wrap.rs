//! Functions that wait their turn.

use crate::{Error, Key, Limiter, store::Store};
use std::{future::Future, pin::Pin};

/// What a call of a wrapped function takes: a key, for one unit, or a key and a cost.
///
/// ```
/// use limiter_core::Limiter;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::parse("100/s")?;
/// let by_user = limiter.wrap(|(user, _): &(&'static str, u64)| *user, |(user, n)| format!("{user}: {n}"));
/// assert_eq!(by_user(("ada", 7))?, "ada: 7");
/// let by_size = limiter.wrap(|text: &&'static str| ("texts", text.len() as u64), |text| text.to_uppercase());
/// assert_eq!(by_size("hello")?, "HELLO");
/// # Ok(())
/// # }
/// ```
pub trait Charge {
    /// The key.
    type Key: Key;

    /// The key and the units.
    fn charge(self) -> (Self::Key, u64);
}

impl<K: Key> Charge for (K, u64) {
    type Key = K;

    fn charge(self) -> (K, u64) {
        self
    }
}

macro_rules! one_unit {
    ($($key:ty),*) => {$(
        impl Charge for $key {
            type Key = Self;

            fn charge(self) -> (Self, u64) {
                (self, 1)
            }
        }
    )*};
}

one_unit!(&str, String, u64, u32, std::net::IpAddr, crate::KeyBuf);

/// Wrapped functions.
impl<S: Store> Limiter<S> {
    /// `work` as a function that first waits its turn, blocking its thread, and never runs unadmitted.
    ///
    /// `charge` tells key and cost from the argument. What `work` returns, errors of its own included, is passed through
    /// in `Ok`.
    ///
    /// ```
    /// use limiter_core::Limiter;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("100/s")?;
    /// let parse = limiter.wrap(|_: &&str| "parser", |text: &str| text.parse::<u32>());
    /// assert_eq!(parse("42")??, 42);
    /// assert!(parse("x")?.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The function made returns what [`acquire`](Limiter::acquire) does where the call is not admitted.
    pub fn wrap<A, C: Charge, R>(
        &self,
        charge: impl Fn(&A) -> C,
        work: impl Fn(A) -> R,
    ) -> impl Fn(A) -> Result<R, Error> {
        let limiter = self.clone();
        move |argument| {
            let (key, cost) = charge(&argument).charge();
            let _permit = limiter.acquire(key).cost(cost).blocking()?;
            Ok(work(argument))
        }
    }

    /// `work` as an async function that first waits its turn and never runs unadmitted; see [`wrap`](Self::wrap).
    ///
    /// ```
    /// use limiter_core::Limiter;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("100/s")?;
    /// let double = limiter.wrap_async(|_: &u32| "double", async |n: u32| n * 2);
    /// assert_eq!(double(21).await?, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`wrap`](Self::wrap).
    pub fn wrap_async<A, C, F>(
        &self,
        charge: impl Fn(&A) -> C,
        work: impl Fn(A) -> F + Clone + Send + 'static,
    ) -> impl Fn(A) -> WrappedFuture<F::Output>
    where
        A: Send + 'static,
        C: Charge,
        F: Future + Send,
    {
        let limiter = self.clone();
        move |argument| {
            let (key, cost) = charge(&argument).charge();
            let (turn, work) = (limiter.acquire(key).cost(cost), work.clone());
            Box::pin(async move {
                let _permit = turn.await?;
                Ok(work(argument).await)
            })
        }
    }
}

/// The future of a function wrapped by [`Limiter::wrap_async`]. It borrows nothing, so it can be spawned.
pub type WrappedFuture<R> = Pin<Box<dyn Future<Output = Result<R, Error>> + Send>>;

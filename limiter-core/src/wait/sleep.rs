//! The one thing waiting needs from outside: a timer.

use super::ThreadTimer;
use std::{
    future::Future,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// A timer. Closures that make sleeps are timers, so any runtime's fits:
///
/// ```
/// use limiter_core::Limiter;
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let limiter = Limiter::builder("5/s".parse()?).sleep(tokio::time::sleep).build();
/// # Ok(())
/// # }
/// ```
///
/// The default is [`ThreadTimer`](crate::ThreadTimer), which needs no runtime. A sleep of a runtime ends only while
/// that runtime runs.
pub trait Sleep: Send + Sync + 'static {
    /// A future that ends once `duration` has passed, and not before. It may be polled, and wake, on any thread.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// How much later than asked a sleep may as well end. Grants of a bucket that are due so close together are made at
    /// one awakening, at the last one's instant, where that loses no capacity. None by default.
    fn grain(&self) -> Duration {
        Duration::ZERO
    }
}

impl<F, S> Sleep for F
where
    F: Fn(Duration) -> S + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self(duration))
    }
}

/// A sleep whose timer may panic: a runtime's does on a thread that has no runtime, and once its runtime is gone.
pub(super) struct Nap(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Nap {
    /// On `timer`, or on ours, which works anywhere.
    pub(super) fn new(timer: &dyn Sleep, duration: Duration) -> Self {
        let made = panic::catch_unwind(AssertUnwindSafe(|| timer.sleep(duration)));
        Self(made.unwrap_or_else(|_| ThreadTimer.sleep(duration)))
    }

    /// One that does not end.
    pub(super) fn endless() -> Self {
        Self(Box::pin(std::future::pending()))
    }
}

impl Future for Nap {
    type Output = ();

    /// Ready too once the timer panics: whoever sleeps looks again then, and sleeps elsewhere.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        panic::catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))).unwrap_or(Poll::Ready(()))
    }
}

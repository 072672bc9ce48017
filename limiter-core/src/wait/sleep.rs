//! The one thing waiting needs from outside: a timer.

use std::{future::Future, pin::Pin, time::Duration};

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

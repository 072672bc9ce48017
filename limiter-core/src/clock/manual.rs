//! A clock that a test turns by hand.

use super::{Clock, Timestamp, micros_up};
use crate::wait::Sleep;
use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// A clock that moves only when told to, and a timer on it: virtual time for tests.
///
/// Clones share one time. As a [`Sleep`] it ends each sleep at its exact instant while [`advance`](Self::advance)
/// passes over it, so that waiting is tested to the microsecond and in no time at all.
///
/// ```
/// use limiter_core::{Clock, ManualClock, Timestamp};
/// use std::time::Duration;
///
/// let clock = ManualClock::new(Timestamp::from_micros(1_000_000));
/// clock.advance(Duration::from_secs(2));
/// assert_eq!(clock.now().as_micros(), 3_000_000);
/// clock.set(Timestamp::MIN); // it may step back
/// assert_eq!(clock.now(), Timestamp::MIN);
/// ```
#[derive(Clone, Default)]
pub struct ManualClock(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    now: Timestamp,
    /// By the microsecond they end at, which may lie behind the end of time: those never end.
    sleepers: BTreeMap<(u64, u64), Waker>,
    next_id: u64,
}

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Inner { now: start, ..Inner::default() })))
    }

    /// Moves the clock on by `step`, stopping at the instant of each sleep that ends on the way.
    pub fn advance(&self, step: Duration) {
        let target = self.lock().now.saturating_add(step);
        while self.wake_next(target) {}
        let mut inner = self.lock();
        inner.now = inner.now.max(target);
    }

    /// Puts the clock to `now`, which may be earlier, and ends the sleeps that are due by then.
    pub fn set(&self, now: Timestamp) {
        self.lock().now = now;
        while self.wake_next(now) {}
    }

    /// The earliest instant at which a sleep ends, if anybody sleeps.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        let due = self.lock().sleepers.first_key_value().map(|(&(due, _), _)| due)?;
        (due <= Timestamp::MAX.as_micros()).then(|| Timestamp::from_micros(due))
    }

    fn wake_next(&self, until: Timestamp) -> bool {
        let mut inner = self.lock();
        let Some(entry) = inner.sleepers.first_entry().filter(|entry| entry.key().0 <= until.as_micros()) else {
            return false;
        };
        let ((due, _), waker) = entry.remove_entry();
        inner.now = inner.now.max(Timestamp::from_micros(due));
        drop(inner); // what wakes may ask for the time, or sleep again
        waker.wake();
        true
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }
}

impl Sleep for ManualClock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut inner = self.lock();
        inner.next_id += 1;
        let place = (inner.now.as_micros().saturating_add(micros_up(duration)), inner.next_id);
        drop(inner);
        Box::pin(ManualSleep { clock: self.clone(), place })
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

struct ManualSleep {
    clock: ManualClock,
    place: (u64, u64),
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.clock.lock();
        if inner.now.as_micros() >= self.place.0 {
            inner.sleepers.remove(&self.place);
            return Poll::Ready(());
        }
        inner.sleepers.insert(self.place, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        let waker = self.clock.lock().sleepers.remove(&self.place);
        drop(waker); // after the lock: a waker's own drop may sleep or ask for the time
    }
}

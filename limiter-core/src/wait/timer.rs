//! A timer that needs no runtime.

use super::{Sleep, wake};
use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

/// How long the thread stays for the next sleep once nobody sleeps.
const LINGER: Duration = Duration::from_secs(1);

/// The default [`Sleep`]: one thread for the whole process, there only while somebody waits.
///
/// Precise to what the operating system's condition variables give, some 60 µs on Linux; a runtime's timer is often
/// no finer than a millisecond. It works under any runtime and under none, and goes on when one shuts down.
#[derive(Clone, Copy, Default, Debug)]
pub struct ThreadTimer;

impl Sleep for ThreadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        // Whoever sleeps beyond what an `Instant` can tell sleeps for a year at a time.
        let due = Instant::now().checked_add(duration).unwrap_or_else(|| Instant::now() + YEAR);
        Box::pin(ThreadSleep { due, place: None })
    }

    fn grain(&self) -> Duration {
        GRAIN
    }
}

/// What runtimes' own timers round to; an awakening costs more than it is worth to be more precise in a crowd.
const GRAIN: Duration = Duration::from_millis(1);

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

static TIMER: Timer = Timer { sleepers: Mutex::new(Sleepers::new()), changed: Condvar::new() };

struct Timer {
    sleepers: Mutex<Sleepers>,
    changed: Condvar,
}

struct Sleepers {
    by_due: BTreeMap<(Instant, u64), Waker>,
    next_id: u64,
    has_thread: bool,
    /// Whether the thread sleeps: it looks at who is due before it does, so who comes while it is awake need not wake it.
    is_asleep: bool,
}

impl Sleepers {
    const fn new() -> Self {
        Self { by_due: BTreeMap::new(), next_id: 0, has_thread: false, is_asleep: false }
    }
}

struct ThreadSleep {
    due: Instant,
    /// Where the waker stands; `None` before the first poll.
    place: Option<u64>,
}

impl Future for ThreadSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.due {
            return Poll::Ready(());
        }
        let mut sleepers = TIMER.lock();
        let id = *self.place.get_or_insert_with(|| {
            sleepers.next_id += 1;
            sleepers.next_id
        });
        let replaced = sleepers.by_due.insert((self.due, id), cx.waker().clone());
        let is_first = sleepers.by_due.first_key_value().is_some_and(|(&place, _)| place == (self.due, id));
        TIMER.ensure_thread(&mut sleepers);
        let is_asleep = sleepers.is_asleep;
        drop(sleepers);
        drop(replaced);
        if is_first && is_asleep {
            TIMER.changed.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for ThreadSleep {
    fn drop(&mut self) {
        if let Some(id) = self.place {
            let waker = TIMER.lock().by_due.remove(&(self.due, id));
            drop(waker); // after the lock: it may be the last owner of another sleep
        }
    }
}

impl Timer {
    fn ensure_thread(&self, sleepers: &mut Sleepers) {
        if !sleepers.has_thread {
            let spawned = thread::Builder::new().name("limiter-timer".to_owned()).spawn(|| TIMER.run());
            // Without a thread the next sleep tries again; a process that cannot have one has worse troubles.
            sleepers.has_thread = spawned.is_ok();
        }
    }

    /// Wakes whoever is due, until nobody has slept for a while.
    fn run(&self) {
        let mut sleepers = self.lock();
        let mut due = Vec::new();
        loop {
            let now = Instant::now();
            while let Some(entry) = sleepers.by_due.first_entry().filter(|entry| entry.key().0 <= now) {
                due.push(entry.remove());
            }
            if !due.is_empty() {
                drop(sleepers); // what is woken runs here, and may sleep again
                due.drain(..).for_each(wake);
                sleepers = self.lock();
                continue;
            }
            let next = sleepers.by_due.first_key_value().map(|(&(due, _), _)| due);
            let pause = next.map_or(LINGER, |due| due.saturating_duration_since(now));
            sleepers.is_asleep = true;
            let (woken, timeout) = self.changed.wait_timeout(sleepers, pause).unwrap_or_else(PoisonError::into_inner);
            sleepers = woken;
            sleepers.is_asleep = false;
            if timeout.timed_out() && sleepers.by_due.is_empty() {
                sleepers.has_thread = false;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sleepers> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::block_on;
    use std::sync::mpsc;

    #[test]
    fn sleeps_end_in_order_and_never_early() {
        let (sender, receiver) = mpsc::channel();
        let started = Instant::now();
        let threads = [60_u64, 20, 40].map(|millis| {
            let sender = sender.clone();
            thread::spawn(move || {
                block_on(ThreadTimer.sleep(Duration::from_millis(millis)));
                assert!(started.elapsed() >= Duration::from_millis(millis));
                sender.send(millis).unwrap();
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(sender);
        assert_eq!(receiver.iter().count(), 3);
    }

    #[test]
    fn a_dropped_sleep_leaves_nothing_behind() {
        let mut sleep = ThreadTimer.sleep(Duration::MAX);
        let before = TIMER.lock().by_due.len();
        assert!(sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(TIMER.lock().by_due.len() > before.saturating_sub(3));
        let far = Instant::now() + YEAR / 2;
        assert_eq!(TIMER.lock().by_due.keys().filter(|(due, _)| *due > far).count(), 1);
        drop(sleep);
        assert_eq!(TIMER.lock().by_due.keys().filter(|(due, _)| *due > far).count(), 0);
    }
}

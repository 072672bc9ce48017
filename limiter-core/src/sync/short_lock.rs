//! A lock for what takes some tens of nanoseconds.
//!
//! A mutex that puts those who wait to sleep must look, when it is unlocked, for somebody to wake: a second atomic
//! exchange, half of what an uncontended lock costs. This one is unlocked by a plain store. Who finds it held spins, then
//! gives the processor away, then sleeps for a moment: a holder that the system has stopped is not waited for in vain.

#![allow(unsafe_code)] // for the value behind the lock

use super::{
    UnsafeCell,
    atomic::{AtomicBool, Ordering},
    pause,
};
use std::ops::{Deref, DerefMut};

/// A value that one thread at a time has hold of. There is no poison: a panic unlocks it as any end does.
pub(crate) struct ShortLock<T> {
    is_held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is only reached through a guard, of which there is one at a time; so it moves between threads, as in
// a mutex, but is never shared by two.
unsafe impl<T: Send> Sync for ShortLock<T> {}

// SAFETY: as for any value that is owned.
unsafe impl<T: Send> Send for ShortLock<T> {}

/// Has hold of the value until it is dropped.
pub(crate) struct ShortGuard<'a, T>(&'a ShortLock<T>);

impl<T> ShortLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { is_held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    #[inline]
    pub(crate) fn lock(&self) -> ShortGuard<'_, T> {
        if self.is_held.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.wait();
        }
        ShortGuard(self)
    }

    #[cold]
    fn wait(&self) {
        let mut waited = 0;
        loop {
            // Looked at before it is tried: a look leaves the cache line to the holder.
            if !self.is_held.load(Ordering::Relaxed) && !self.is_held.swap(true, Ordering::Acquire) {
                return;
            }
            pause(waited);
            waited += 1;
        }
    }
}

impl<T> Deref for ShortGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a guard is made by who has set `is_held`, and its end clears it; so there is no other, and what borrows
        // from this one ends before it.
        self.0.value.with(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for ShortGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and this one is borrowed mutably.
        self.0.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T> Drop for ShortGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.is_held.store(false, Ordering::Release);
    }
}

#[cfg(all(test, limiter_loom))]
mod models {
    use super::*;
    use loom::{model::Builder, thread};
    use std::sync::Arc;

    #[test]
    fn one_thread_at_a_time_has_hold_and_sees_what_others_left() {
        let mut builder = Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let lock = Arc::new(ShortLock::new(0));
            let add = |lock: &ShortLock<u32>| {
                let mut held = lock.lock();
                *held += 1;
            };
            let other = {
                let lock = Arc::clone(&lock);
                thread::spawn(move || add(&lock))
            };
            add(&lock);
            other.join().unwrap();
            assert_eq!(*lock.lock(), 2);
        });
    }
}

#[cfg(all(test, not(limiter_loom)))]
mod tests {
    use super::*;
    use std::{sync::Arc, thread, time::Duration};

    #[test]
    fn who_waits_for_a_holder_that_sleeps_or_panics_gets_hold_at_its_end() {
        let lock = Arc::new(ShortLock::new(Vec::new()));
        let held = lock.lock();
        let waiters = (0..8).map(|number| {
            let lock = Arc::clone(&lock);
            thread::spawn(move || {
                let mut held = lock.lock();
                held.push(number);
                assert!(number != 3, "one of them panics while it has hold");
            })
        });
        let waiters: Vec<_> = waiters.collect();
        thread::sleep(Duration::from_millis(20));
        assert!(held.is_empty());
        drop(held);
        let ended = waiters.into_iter().map(|waiter| waiter.join().is_ok()).filter(|is_ok| *is_ok);
        assert_eq!(ended.count(), 7);
        let mut numbers = lock.lock().clone();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..8).collect::<Vec<_>>());
    }
}

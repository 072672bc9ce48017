//! One value from the store's thread to a future, on any runtime or none.

use std::{
    future::Future,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// The end that the value is put in. Dropped without one, the future ends with `None`.
pub(super) struct Promise<T>(Arc<Slot<T>>);

/// The end that waits.
pub(super) struct Promised<T>(Arc<Slot<T>>);

struct Slot<T>(Mutex<State<T>>);

enum State<T> {
    Waiting(Option<Waker>),
    Done(Option<T>),
    /// Nobody waits any more.
    Gone,
}

pub(super) fn promise<T>() -> (Promise<T>, Promised<T>) {
    let slot = Arc::new(Slot(Mutex::new(State::Waiting(None))));
    (Promise(Arc::clone(&slot)), Promised(slot))
}

impl<T> Promise<T> {
    pub(super) fn keep(self, value: T) {
        self.0.finish(Some(value));
    }

    /// Whether somebody still waits.
    pub(super) fn is_awaited(&self) -> bool {
        !matches!(*self.0.lock(), State::Gone)
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.0.finish(None);
    }
}

impl<T> Future for Promised<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match &mut *self.0.lock() {
            State::Done(value) => Poll::Ready(value.take()),
            State::Waiting(Some(waker)) if waker.will_wake(cx.waker()) => Poll::Pending,
            state => {
                *state = State::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Promised<T> {
    fn drop(&mut self) {
        *self.0.lock() = State::Gone;
    }
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, value: Option<T>) {
        let mut state = self.lock();
        if let State::Waiting(waker) = &mut *state {
            let waker = waker.take();
            *state = State::Done(value);
            drop(state);
            // A waker that panics has lost its own task; nobody else's.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| waker.map(Waker::wake)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::block_on;
    use std::thread;

    #[test]
    fn a_value_reaches_who_waits_and_a_broken_promise_ends_the_wait() {
        let (promise, promised) = promise();
        let other = thread::spawn(move || promise.keep(7));
        assert_eq!(block_on(promised), Some(7));
        other.join().unwrap();
        let (promise, promised) = super::promise::<u8>();
        let other = thread::spawn(move || drop(promise));
        assert_eq!(block_on(promised), None);
        other.join().unwrap();
    }

    #[test]
    fn a_promise_knows_whether_somebody_waits() {
        let (promise, promised) = promise::<u8>();
        assert!(promise.is_awaited());
        drop(promised);
        assert!(!promise.is_awaited());
    }
}

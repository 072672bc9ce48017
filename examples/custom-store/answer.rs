//! A result on its way back from the thread.

use limiter_core::{StoreError, StoreErrorKind};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// Waits for a result; any runtime can poll it.
///
/// Dropping it ends the waiting and nothing else: what was sent is done, and its result goes nowhere. So a dropped call
/// leaves nothing half-way.
pub(crate) struct Answer<T>(Arc<Mutex<Slot<T>>>);

/// Where the thread puts the result.
pub(crate) struct Reply<T>(Arc<Mutex<Slot<T>>>);

struct Slot<T> {
    result: Option<Result<T, StoreError>>,
    waker: Option<Waker>,
}

pub(crate) fn pair<T>() -> (Reply<T>, Answer<T>) {
    let slot = Arc::new(Mutex::new(Slot { result: None, waker: None }));
    (Reply(Arc::clone(&slot)), Answer(slot))
}

fn lock<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Reply<T> {
    pub(crate) fn send(self, result: T) {
        lock(&self.0).result = Some(Ok(result));
    }
}

/// Wakes who waits, also when the thread went without an answer: the waiting must end.
impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        let mut slot = lock(&self.0);
        slot.result.get_or_insert_with(|| Err(StoreError::new(StoreErrorKind::Unavailable)));
        let waker = slot.waker.take();
        drop(slot); // a waker may poll at once
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, StoreError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = lock(&self.0);
        match slot.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

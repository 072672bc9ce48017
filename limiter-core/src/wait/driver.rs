//! Serves one key's line, for as long as anybody stands in it.

use crate::{
    Error, Timestamp,
    limiter::{Core, never_fits},
    store::{Adjust, Store},
};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

/// Asks the store for the head of the line, sleeps until the instant it names, and hands the grant over; from the
/// first waiter, who was denied with `first_wait`, to the last.
///
/// Nobody is asked for whom the store has just been asked: a grant costs one take, and one more if it had to be slept
/// for.
pub(super) async fn drive<S: Store>(
    core: Arc<Core<S>>,
    key: Arc<[u8]>,
    changed: Arc<AtomicBool>,
    first_wait: Duration,
) {
    pause(&core, first_wait, &changed).await;
    while let Some(head) = core.queues.head(&key) {
        match core.take(&key, head.cost).await {
            Ok(decision) if decision.allowed() => {
                let taken = decision.at();
                let read = head.grant(decision);
                core.queues.pop(&key, &head);
                if !read {
                    give_back(&core, &key, head.cost, taken).await;
                }
            }
            Ok(denied) => {
                let Some(wait) = denied.retry_after() else {
                    head.fail(never_fits(&core.quota(&key), head.cost));
                    core.queues.pop(&key, &head);
                    continue;
                };
                let due = denied.at().saturating_add(wait.saturating_add(core.buffer));
                if let Some(error) = head.too_late(due) {
                    head.fail(error);
                    core.queues.pop(&key, &head);
                    continue;
                }
                if head.is_surprised(due)
                    && let Some(state) = core.snapshot(&key).await
                {
                    core.queues.reconsider(&key, &core.quota(&key), state);
                }
                pause(&core, wait, &changed).await;
            }
            Err(error) => {
                head.fail(Error::Store(error));
                core.queues.pop(&key, &head);
            }
        }
    }
}

/// Returns units that nobody is there for any more. Should the store fail, they stay taken: never too much is admitted.
pub(super) async fn give_back<S: Store>(core: &Core<S>, key: &[u8], cost: u64, taken: Timestamp) {
    let _ = core.adjust(key, cost, Adjust::Refund { taken }).await;
}

/// Sleeps for `wait` and the limiter's buffer, or until the line's head changes.
fn pause<S: Store>(core: &Core<S>, wait: Duration, changed: &AtomicBool) -> impl Future<Output = ()> + Send {
    Pause { sleep: core.sleep.sleep(wait.saturating_add(core.buffer)), changed }
}

struct Pause<'a> {
    sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
    changed: &'a AtomicBool,
}

impl Future for Pause<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.changed.swap(false, Ordering::AcqRel) {
            return Poll::Ready(());
        }
        self.sleep.as_mut().poll(cx)
    }
}

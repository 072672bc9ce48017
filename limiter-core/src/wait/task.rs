//! Runs futures without a runtime: in place, wherever they are woken.

use crate::sync::{
    Mutex,
    atomic::{AtomicU8, Ordering},
};
use std::{
    future::Future,
    panic::{self, AssertUnwindSafe},
    pin::{Pin, pin},
    sync::{Arc, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

const IDLE: u8 = 0;
const RUNNING: u8 = 1;
/// Running, and woken since it was last polled.
const WOKEN: u8 = 2;

/// A future that its own waker polls, on the thread that wakes it.
///
/// So a driver needs no task of a runtime and no thread of its own. What it runs must be short and must not block;
/// whoever wakes it must hold no lock that it takes.
pub(crate) struct Task {
    state: AtomicU8,
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

impl Task {
    /// Starts `future`, at once and on this thread as far as it gets.
    pub(crate) fn start(future: impl Future<Output = ()> + Send + 'static) -> Arc<Self> {
        let task = Self::paused(future);
        task.run();
        task
    }

    /// A task that does nothing until it is first woken.
    pub(super) fn paused(future: impl Future<Output = ()> + Send + 'static) -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(IDLE), future: Mutex::new(Some(Box::pin(future))) })
    }

    /// Polls the future, again as long as it is woken meanwhile; leaves that to whoever polls it already.
    pub(super) fn run(self: &Arc<Self>) {
        let begin = |state| match state {
            IDLE => Some(RUNNING),
            _ => Some(WOKEN), // written again where it is so already: whoever runs must see what came before each wake
        };
        if self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, begin) != Ok(IDLE) {
            return;
        }
        let waker = Waker::from(Arc::clone(self));
        loop {
            let mut slot = self.future.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(future) = slot.as_mut() {
                let mut cx = Context::from_waker(&waker);
                let polled = panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)));
                if !matches!(polled, Ok(Poll::Pending)) {
                    // Over: by its end, or by a panic, which ends this future only and not the thread that woke it.
                    let ended = slot.take();
                    drop(slot);
                    drop(ended);
                }
            }
            let end = self.state.compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire);
            if end.is_ok() {
                return;
            }
            self.state.swap(RUNNING, Ordering::AcqRel);
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.run();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.run();
    }
}

/// Runs a future on its own, without a runtime: at once and in place as far as it gets, then wherever it is woken.
///
/// For what is to be done although nobody waits for it any more: a call of a limiter or a store that a `drop` has to make.
/// It must be short and must not block. A panic ends this future, and nothing else. Futures that need a runtime, such as
/// those of sockets, do not work here.
///
/// ```
/// use limiter_core::{Limiter, detach};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::parse("5/s")?;
/// let blocked = limiter.clone();
/// detach(async move {
///     let _ = blocked.block_async("ada", Duration::from_secs(60)).await;
/// });
/// assert!(!limiter.check("ada")?.allowed()); // a store in memory is done at once
/// # Ok(())
/// # }
/// ```
pub fn detach(future: impl Future<Output = ()> + Send + 'static) {
    Task::start(future);
}

/// Runs a future on this thread, which sleeps whenever there is nothing to do.
///
/// For what awaits limiters and stores, in code without a runtime; not for where a runtime's tasks run, as a thread that
/// waits runs none. Futures that need a runtime of their own, such as those of sockets, do not work here.
///
/// ```
/// use limiter_core::{Limiter, block_on};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::parse("5/s")?;
/// let left = block_on(async {
///     let permit = limiter.acquire("ada").await?;
///     permit.settle(3).await
/// })?;
/// assert_eq!(left.remaining(), 2);
/// # Ok(())
/// # }
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut future = pin!(future);
    // What an in-process store answers is ready at once, and costs no waker.
    if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return output;
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_task_woken_while_it_runs_is_polled_again() {
        static POLLS: AtomicUsize = AtomicUsize::new(0);
        Task::start(std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if POLLS.fetch_add(1, Ordering::Relaxed) < 4 { Poll::Pending } else { Poll::Ready(()) }
        }));
        assert_eq!(POLLS.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn a_finished_task_lets_go_of_its_future() {
        let held = Arc::new(());
        let inside = Arc::clone(&held);
        let task = Task::start(async move { drop(inside) });
        assert_eq!(Arc::strong_count(&held), 1);
        task.run();
    }
}

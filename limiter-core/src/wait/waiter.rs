//! One caller's place in a line.

use super::Slot;
use crate::{
    Decision, Error, Timestamp,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};
use std::{
    panic::{self, AssertUnwindSafe},
    sync::PoisonError,
    task::{Context, Poll, Waker},
    time::Duration,
};

pub(super) struct Waiter {
    pub(super) cost: u64,
    /// When it asked and how long it lets itself wait.
    pub(super) limit: Option<(Timestamp, Duration)>,
    /// Its place in line: before all of a higher rank, behind those of the same.
    pub(super) rank: u64,
    /// Whether it is one of those that the limiter counts as waiting.
    counted: AtomicBool,
    state: Mutex<State>,
}

enum State {
    Waiting { waker: Option<Waker>, expected: Option<Timestamp> },
    Done(Box<Result<Granted, Error>>),
    Gone,
}

/// What a waiter is handed.
pub(super) struct Granted {
    pub(super) decision: Decision,
    pub(super) slot: Option<Slot>,
    /// The limiter's count of resets before the units were asked for.
    pub(super) since: u64,
}

/// How a waiter stood when it went away.
pub(super) enum Gone {
    /// In line.
    Waiting,
    /// Granted, and nobody had read it.
    Granted(Granted),
    /// Served or refused.
    Finished,
}

/// A waiter to be woken.
#[must_use = "somebody waits for it"]
pub(super) struct Wake(Option<Waker>);

impl Wake {
    pub(super) fn now(self) {
        self.0.into_iter().for_each(wake);
    }
}

/// Wakes somebody. Who panics has lost its own task; nobody else's.
pub(crate) fn wake(waker: Waker) {
    let _ = panic::catch_unwind(AssertUnwindSafe(|| waker.wake()));
}

/// How much later than told a grant may be before everybody behind it is told anew: timers are late by less.
const TOLERANCE: Duration = Duration::from_millis(1);

impl Waiter {
    pub(super) fn new(cost: u64, limit: Option<(Timestamp, Duration)>, rank: u64) -> Self {
        let state = State::Waiting { waker: None, expected: None };
        Self { cost, limit, rank, counted: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Notes whether it is counted; whether it was otherwise before.
    pub(super) fn set_counted(&self, counted: bool) -> bool {
        self.counted.swap(counted, Ordering::SeqCst) != counted
    }

    /// Puts a grant down for it; `None` where it has gone.
    pub(super) fn grant(&self, granted: Granted) -> Option<Wake> {
        self.finish(Ok(granted))
    }

    pub(super) fn fail(&self, error: Error) {
        if let Some(wake) = self.finish(Err(error)) {
            wake.now();
        }
    }

    fn finish(&self, result: Result<Granted, Error>) -> Option<Wake> {
        let mut state = self.lock();
        let State::Waiting { waker, .. } = &mut *state else { return None };
        let waker = waker.take();
        *state = State::Done(Box::new(result));
        Some(Wake(waker))
    }

    /// The instant after which it no longer wants to wait.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.limit.map(|(asked, allowed)| asked.saturating_add(allowed))
    }

    /// Why a grant `wait` after `now` would be too late, if it would.
    pub(super) fn too_late(&self, now: Timestamp, wait: Duration) -> Option<Error> {
        let (asked, allowed) = self.limit?;
        let needed = now.saturating_since(asked).saturating_add(wait);
        (needed > allowed).then_some(Error::WaitTooLong { needed, allowed })
    }

    /// How much later than this waiter was told a grant at `due` is, where that is more than timers make it.
    pub(super) fn surprise(&self, due: Timestamp) -> Option<Duration> {
        match *self.lock() {
            State::Waiting { expected: Some(expected), .. } => {
                Some(due.saturating_since(expected)).filter(|late| *late > TOLERANCE)
            }
            _ => None,
        }
    }

    /// How much later than `expected` its grant could be.
    pub(super) fn spare(&self, expected: Timestamp) -> Duration {
        self.deadline().map_or(Duration::MAX, |deadline| deadline.saturating_since(expected))
    }

    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Result<Granted, Error>> {
        // A waker is dropped after the lock, as whatever that drops may stand in the same line.
        let mut _replaced = None;
        let mut state = self.lock();
        match &mut *state {
            State::Waiting { waker, .. } => {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    _replaced = waker.replace(cx.waker().clone());
                }
                Poll::Pending
            }
            State::Done(_) | State::Gone => match std::mem::replace(&mut *state, State::Gone) {
                State::Done(result) => Poll::Ready(*result),
                _ => Poll::Pending,
            },
        }
    }

    /// Marks the waiter as gone, and tells how it stood.
    pub(super) fn go(&self) -> Gone {
        let state = std::mem::replace(&mut *self.lock(), State::Gone); // dropped after the lock
        match state {
            State::Waiting { .. } => Gone::Waiting,
            State::Done(result) => match *result {
                Ok(granted) => Gone::Granted(granted),
                Err(_) => Gone::Finished,
            },
            State::Gone => Gone::Finished,
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(*self.lock(), State::Gone)
    }

    /// Notes when its grant is expected.
    pub(super) fn expect(&self, at: Option<Timestamp>) {
        if let State::Waiting { expected, .. } = &mut *self.lock() {
            *expected = at;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

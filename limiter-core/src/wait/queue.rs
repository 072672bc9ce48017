//! Who waits, in the order they came.

use super::task::Task;
use crate::{Decision, Error, KeyState, Quota, Timestamp, algorithm::Projection};
use hashbrown::HashMap;
use std::{
    collections::VecDeque,
    hash::RandomState,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

/// The lines of all keys of a limiter that somebody waits for.
pub(crate) struct Queues {
    lines: Mutex<HashMap<Arc<[u8]>, Line, RandomState>>,
    /// Waiters over all lines; 0 lets the hot path pass without a lock.
    waiting: AtomicUsize,
    max: usize,
    slack: Duration,
}

/// The waiters of one key.
struct Line {
    waiters: VecDeque<Arc<Waiter>>,
    /// Waiters in the line that have gone away.
    gone: usize,
    driver: Arc<Task>,
    changed: Arc<AtomicBool>,
    /// The key behind everybody in line; `None` when it must be worked out anew.
    projection: Option<Projection>,
    /// Counts what happens to the line, so that a snapshot taken before is told from one taken after.
    version: u64,
}

/// One caller's place in a line.
pub(super) struct Waiter {
    pub(super) cost: u64,
    /// When it asked and how long it lets itself wait.
    limit: Option<(Timestamp, Duration)>,
    /// Whether it is one of `Queues::waiting`; whoever sees it leave the line first takes it off.
    counted: AtomicBool,
    state: Mutex<State>,
}

enum State {
    Waiting { waker: Option<Waker>, expected: Option<Timestamp> },
    Done(Box<Result<Decision, Error>>),
    Gone,
}

/// What came of an attempt to join a line.
pub(super) enum Join {
    /// In line, behind others.
    Queued(Arc<Waiter>),
    /// In line as the first; the caller wakes the driver.
    First(Arc<Waiter>, Arc<Task>),
    /// Nobody waits any more: take again.
    Vanished,
    /// How long it will be is not known; try again with a snapshot taken at this version.
    Unknown(u64),
    /// It cannot be.
    Refused(Error),
}

/// A snapshot of a key and the line's version before it was taken.
pub(super) struct Seen {
    pub(super) version: u64,
    pub(super) state: Option<(KeyState, Timestamp)>,
    /// No newer one will be had.
    pub(super) last: bool,
}

impl Queues {
    pub(crate) fn new(max: usize, slack: Duration) -> Self {
        Self { lines: Mutex::new(HashMap::default()), waiting: AtomicUsize::new(0), max, slack }
    }

    /// Whether anybody waits for `key`.
    #[inline]
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.waiting.load(Ordering::Acquire) > 0 && self.lock().contains_key(key)
    }

    /// How many wait, over all keys.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Lets the driver of `key` ask again: something may have become free, or the head has gone.
    pub(crate) fn nudge(&self, key: &[u8]) {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut lines = self.lock();
        let Some(line) = lines.get_mut(key) else { return };
        line.projection = None;
        line.version += 1;
        line.changed.store(true, Ordering::Release);
        let driver = Arc::clone(&line.driver);
        drop(lines); // the driver takes the lock
        driver.run();
    }

    /// [`nudge`](Self::nudge) on every line.
    pub(crate) fn nudge_all(&self) {
        let keys: Vec<Arc<[u8]>> = self.lock().keys().cloned().collect();
        keys.iter().for_each(|key| self.nudge(key));
    }

    /// The instant at which one more request of `cost` would be granted, if `state` is the key's now.
    pub(crate) fn expected(
        &self,
        key: &[u8],
        quota: &Quota,
        cost: u64,
        state: Option<(KeyState, Timestamp)>,
    ) -> Option<Timestamp> {
        let mut lines = self.lock();
        let line = lines.get_mut(key)?;
        line.project(quota, state, self.slack);
        Some(line.projection.clone()?.grant(quota, cost, self.slack))
    }

    /// Joins the line of `key`. Who joins an empty one has been denied just now; `driver` then makes the line's.
    pub(super) fn join(
        &self,
        key: &Arc<[u8]>,
        quota: &Quota,
        waiter: Waiter,
        denied: bool,
        seen: Option<Seen>,
        driver: impl FnOnce(Arc<AtomicBool>) -> Arc<Task>,
    ) -> Join {
        let mut lines = self.lock();
        if self.waiting.load(Ordering::Relaxed) >= self.max {
            return Join::Refused(Error::QueueFull { waiting: self.max });
        }
        if let Some(line) = lines.get_mut(key) {
            if let Some((asked, allowed)) = waiter.limit {
                match seen {
                    Some(seen) if seen.version == line.version || seen.last => {
                        line.project(quota, seen.state, self.slack);
                    }
                    _ if line.projection.is_none() => return Join::Unknown(line.version),
                    _ => {}
                }
                // A store that cannot tell its state lets everybody in; who cannot be served in time learns it later.
                let expected = line.projection.clone().map(|mut ahead| ahead.grant(quota, waiter.cost, self.slack));
                if let Some(expected) = expected.filter(|&expected| expected > asked.saturating_add(allowed)) {
                    return Join::Refused(Error::WaitTooLong { needed: expected.saturating_since(asked), allowed });
                }
            }
            let expected = line.projection.as_mut().map(|ahead| ahead.grant(quota, waiter.cost, self.slack));
            waiter.expect(expected);
            let waiter = Arc::new(waiter);
            line.waiters.push_back(Arc::clone(&waiter));
            line.version += 1;
            self.waiting.fetch_add(1, Ordering::Release);
            return Join::Queued(waiter);
        }
        if !denied {
            return Join::Vanished;
        }
        let changed = Arc::new(AtomicBool::new(false));
        let driver = driver(Arc::clone(&changed));
        let waiter = Arc::new(waiter);
        let line = Line {
            waiters: VecDeque::from([Arc::clone(&waiter)]),
            gone: 0,
            driver: Arc::clone(&driver),
            changed,
            projection: None,
            version: 0,
        };
        lines.insert(Arc::clone(key), line);
        self.waiting.fetch_add(1, Ordering::Release);
        Join::First(waiter, driver)
    }

    /// The first in line who is still there; `None` ends the line.
    pub(super) fn head(&self, key: &[u8]) -> Option<Arc<Waiter>> {
        let mut lines = self.lock();
        let line = lines.get_mut(key)?;
        while let Some(front) = line.waiters.front() {
            if !front.is_gone() {
                return Some(Arc::clone(front));
            }
            line.waiters.pop_front();
            line.gone = line.gone.saturating_sub(1);
        }
        let ended = lines.remove(key);
        drop(lines);
        drop(ended);
        None
    }

    /// Takes a served or failed head out of the line.
    pub(super) fn pop(&self, key: &[u8], head: &Arc<Waiter>) {
        let mut lines = self.lock();
        if let Some(line) = lines.get_mut(key)
            && line.waiters.front().is_some_and(|front| Arc::ptr_eq(front, head))
        {
            line.waiters.pop_front();
            line.version += 1;
        }
        self.uncount(head);
    }

    /// Notes that a waiter has gone; the driver moves on if it was the head.
    pub(super) fn leave(&self, key: &[u8], waiter: &Arc<Waiter>) {
        let mut lines = self.lock();
        let Some(line) = lines.get_mut(key) else { return };
        let was_head = line.waiters.front().is_some_and(|front| Arc::ptr_eq(front, waiter));
        line.gone += 1;
        line.projection = None;
        line.version += 1;
        self.uncount(waiter);
        if line.gone > 16 && line.gone > line.waiters.len() / 2 {
            line.waiters.retain(|waiter| !waiter.is_gone());
            line.gone = 0;
        }
        if was_head {
            line.changed.store(true, Ordering::Release);
            let driver = Arc::clone(&line.driver);
            drop(lines); // the driver takes the lock
            driver.run();
        }
    }

    /// Works out anew when everybody will be served, and fails those whom that is too late for.
    pub(super) fn reconsider(&self, key: &[u8], quota: &Quota, state: (KeyState, Timestamp)) {
        let mut lines = self.lock();
        let Some(line) = lines.get_mut(key) else { return };
        let mut ahead = Projection::new(state.0, state.1);
        let mut wakers = Vec::new();
        line.waiters.retain(|waiter| {
            if waiter.is_gone() {
                return true;
            }
            let before = ahead.clone();
            let expected = ahead.grant(quota, waiter.cost, self.slack);
            match waiter.reconsider(expected) {
                Ok(()) => true,
                Err(waker) => {
                    ahead = before;
                    self.uncount(waiter);
                    wakers.extend(waker);
                    false
                }
            }
        });
        line.projection = Some(ahead);
        line.version += 1;
        drop(lines);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn uncount(&self, waiter: &Waiter) {
        if waiter.counted.swap(false, Ordering::AcqRel) {
            self.waiting.fetch_sub(1, Ordering::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<[u8]>, Line, RandomState>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Carries `state` on past everybody in line, where that is not known yet.
    fn project(&mut self, quota: &Quota, state: Option<(KeyState, Timestamp)>, slack: Duration) {
        if self.projection.is_none()
            && let Some((state, now)) = state
        {
            let mut ahead = Projection::new(state, now);
            for waiter in self.waiters.iter().filter(|waiter| !waiter.is_gone()) {
                waiter.expect(Some(ahead.grant(quota, waiter.cost, slack)));
            }
            self.projection = Some(ahead);
        }
    }
}

impl Waiter {
    pub(super) fn new(cost: u64, limit: Option<(Timestamp, Duration)>) -> Self {
        Self {
            cost,
            limit,
            counted: AtomicBool::new(true),
            state: Mutex::new(State::Waiting { waker: None, expected: None }),
        }
    }

    /// Hands a grant over; `false` where the waiter has gone.
    pub(super) fn grant(&self, decision: Decision) -> bool {
        let mut state = self.lock();
        let State::Waiting { waker, .. } = &mut *state else { return false };
        let waker = waker.take();
        *state = State::Done(Box::new(Ok(decision)));
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        true
    }

    pub(super) fn fail(&self, error: Error) {
        let mut state = self.lock();
        let State::Waiting { waker, .. } = &mut *state else { return };
        let waker = waker.take();
        *state = State::Done(Box::new(Err(error)));
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Why a grant at `due` would be too late, if it would.
    pub(super) fn too_late(&self, due: Timestamp) -> Option<Error> {
        let (asked, allowed) = self.limit?;
        (due > asked.saturating_add(allowed))
            .then(|| Error::WaitTooLong { needed: due.saturating_since(asked), allowed })
    }

    /// Whether a grant at `due` is later than this waiter was told.
    pub(super) fn is_surprised(&self, due: Timestamp) -> bool {
        match *self.lock() {
            State::Waiting { expected: Some(expected), .. } => due > expected.saturating_add(TOLERANCE),
            _ => false,
        }
    }

    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Result<Decision, Error>> {
        let mut state = self.lock();
        match &mut *state {
            State::Waiting { waker, .. } => {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
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
        match std::mem::replace(&mut *self.lock(), State::Gone) {
            State::Waiting { .. } => Gone::Waiting,
            State::Done(result) => (*result).map_or(Gone::Finished, |decision| Gone::Granted(decision.at())),
            State::Gone => Gone::Finished,
        }
    }

    fn is_gone(&self) -> bool {
        matches!(*self.lock(), State::Gone)
    }

    fn expect(&self, at: Option<Timestamp>) {
        if let State::Waiting { expected, .. } = &mut *self.lock() {
            *expected = at;
        }
    }

    /// Takes note of a new expectation; fails, with whom to wake, where it is too late.
    fn reconsider(&self, at: Timestamp) -> Result<(), Option<Waker>> {
        let too_late = self.too_late(at);
        let mut state = self.lock();
        match (&mut *state, too_late) {
            (State::Waiting { waker, .. }, Some(error)) => {
                let waker = waker.take();
                *state = State::Done(Box::new(Err(error)));
                Err(waker)
            }
            (State::Waiting { expected, .. }, None) => {
                *expected = Some(at);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a waiter stood when it went away.
pub(super) enum Gone {
    /// In line.
    Waiting,
    /// Granted at that instant, and nobody had read it.
    Granted(Timestamp),
    /// Served or refused.
    Finished,
}

/// How much later than told a grant may be before everybody behind it is told anew: timers are late by less.
const TOLERANCE: Duration = Duration::from_millis(1);

//! The lines of a limiter: one a key that somebody waits for.

use super::{
    line::{Join, Line, Seen},
    slots::{Slot, Slots},
    task::Task,
    turns::{Turn, Turns},
    waiter::{Waiter, wake},
};
use crate::{
    Error, KeyState, Quota, Timestamp,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};
use hashbrown::HashMap;
use std::{
    array,
    hash::RandomState,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// The lines of all keys of a limiter that somebody waits for.
///
/// The map's lock is held for a look-up only; what takes longer happens under the lock of one line.
pub(crate) struct Queues {
    lines: Mutex<HashMap<Arc<[u8]>, Arc<Line>, RandomState>>,
    /// Waiters over all lines; 0 lets the hot path pass without a lock.
    waiting: AtomicUsize,
    /// Counts the nudges of keys, so that who is about to join a line notices those it came too late for.
    nudges: [AtomicU64; 64],
    pub(crate) max: usize,
    pub(super) slack: Duration,
    slots: Option<Slots>,
    /// The lines of those who wait for keys of other limiters too.
    turns: Turns,
    closed: AtomicBool,
    /// Set when those who wait were failed.
    failed: AtomicBool,
    /// Who waits for the last waiter to go, once it is closed.
    closing: Mutex<Vec<Waker>>,
}

/// One of those counted as waiting.
pub(super) struct Counted(Arc<Queues>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.notify_idle();
    }
}

/// All places are held.
pub(crate) struct NoSlot;

impl Queues {
    pub(crate) fn new(max: usize, slack: Duration, at_once: Option<usize>) -> Self {
        Self {
            lines: Mutex::new(HashMap::default()),
            waiting: AtomicUsize::new(0),
            nudges: array::from_fn(|_| AtomicU64::new(0)),
            max,
            slack,
            slots: at_once.map(Slots::new),
            turns: Turns::default(),
            closed: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            closing: Mutex::new(Vec::new()),
        }
    }

    /// Whether anybody stands in line for `key`.
    #[inline]
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0 && self.lock().contains_key(key)
    }

    /// Whether anybody waits for units of `key` whom the store has refused: a check must not overtake them.
    #[inline]
    pub(crate) fn has_refused(&self, key: &[u8]) -> bool {
        self.has_line(key) || self.has_turns(key)
    }

    /// Whether those who wait for units of `key` alone were refused.
    #[inline]
    pub(crate) fn has_line(&self, key: &[u8]) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0 && self.line(key).is_some_and(|line| line.is_refused())
    }

    /// Whether anybody waits for units of `key` and of others.
    #[inline]
    pub(crate) fn has_turns(&self, key: &[u8]) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0 && self.turns.has(key)
    }

    /// Whether whoever finds units may have them: nobody waits, the limiter is open, and no place is needed.
    #[inline]
    pub(crate) fn is_free(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0 && !self.is_closed() && self.slots.is_none()
    }

    /// How many wait, over all keys.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Lets the driver of `key` ask again: something may have become free, or be taken for longer.
    pub(crate) fn nudge(&self, key: &[u8]) {
        self.nudges_of(key).fetch_add(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            if let Some(line) = self.line(key) {
                line.forget_projection();
                line.wake_driver();
            }
            self.turns.nudge(key);
        }
    }

    /// [`nudge`](Self::nudge) on every line.
    pub(crate) fn nudge_all(&self) {
        for nudges in &self.nudges {
            nudges.fetch_add(1, Ordering::SeqCst);
        }
        let keys: Vec<Arc<[u8]>> = self.lock().keys().cloned().collect();
        keys.iter().for_each(|key| self.nudge(key));
        self.turns.nudge_all();
    }

    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Counts one who waits for several keys, until it is dropped.
    pub(super) fn count_one(queues: &Arc<Self>) -> Result<Counted, Error> {
        if queues.has_failed() {
            return Err(Error::Closed);
        }
        let one_more = |waiting| (waiting < queues.max).then_some(waiting + 1);
        match queues.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more) {
            Ok(_) => Ok(Counted(Arc::clone(queues))),
            Err(_) => Err(queues.full()),
        }
    }

    /// Whether those who waited were failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// A place among those of `key` that may be held at once, where that is bounded; `Err` where none is free.
    #[inline]
    pub(crate) fn enter(self: &Arc<Self>, key: &[u8]) -> Result<Option<Slot>, NoSlot> {
        match &self.slots {
            None => Ok(None),
            Some(slots) => slots.enter(key, self).map(Some).ok_or(NoSlot),
        }
    }

    pub(crate) fn slots(&self) -> Option<&Slots> {
        self.slots.as_ref()
    }

    /// Lets nobody join a line from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Fails everybody who waits.
    pub(crate) fn fail_all(&self) {
        self.failed.store(true, Ordering::SeqCst);
        self.turns.nudge_all();
        let lines: Vec<Arc<Line>> = self.lock().values().cloned().collect();
        for line in lines {
            line.abandon(self, || Error::Closed);
            line.wake_driver(); // which finds nobody, and ends
        }
    }

    /// Ready once nobody waits.
    pub(crate) fn poll_idle(&self, cx: &Context<'_>) -> Poll<()> {
        let mut closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.waiting() == 0 {
            return Poll::Ready(());
        }
        if !closing.iter().any(|waker| waker.will_wake(cx.waker())) {
            closing.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Wakes who waits for nobody to be waiting. To be called without a lock, when a line has ended.
    pub(super) fn notify_idle(&self) {
        if self.is_closed() && self.waiting() == 0 {
            let wakers = std::mem::take(&mut *self.closing.lock().unwrap_or_else(PoisonError::into_inner));
            wakers.into_iter().for_each(wake);
        }
    }

    /// How often `key` was nudged so far, give or take other keys: to be read before the store is asked.
    #[inline]
    pub(super) fn nudged(&self, key: &[u8]) -> u64 {
        self.nudges_of(key).load(Ordering::SeqCst)
    }

    /// The instant at which one more request of `cost` would be granted, if `state` is the key's now.
    pub(crate) fn expected(
        &self,
        key: &[u8],
        quota: &Quota,
        cost: u64,
        state: Option<(KeyState, Timestamp)>,
    ) -> Option<Timestamp> {
        match self.line(key) {
            Some(line) => line.expected(quota, cost, state, self.slack),
            None => self.turn_expected(key, None, quota, cost, state?),
        }
    }

    /// The instant at which the key lets `cost` units in behind those who wait for other keys too and stand before
    /// `turn`, or behind all of them.
    pub(super) fn turn_expected(
        &self,
        key: &[u8],
        turn: Option<&Arc<Turn>>,
        quota: &Quota,
        cost: u64,
        state: (KeyState, Timestamp),
    ) -> Option<Timestamp> {
        self.turns.expected(key, turn, (quota, cost), state, self.slack)
    }

    /// Joins the line of `key`, or starts it: with `driver`, and only where the waiter has just been refused;
    /// `nudged` is what [`nudged`](Self::nudged) said before that.
    pub(super) fn join(
        &self,
        key: &Arc<[u8]>,
        quota: &Quota,
        waiter: Waiter,
        refused_since: Option<u64>,
        mut seen: Option<Seen>,
        driver: impl FnOnce(Arc<Line>) -> Arc<Task>,
    ) -> Join {
        if self.is_closed() {
            return Join::Refused(Error::Closed);
        }
        let waiter = Arc::new(waiter);
        loop {
            if let Some(line) = self.line(key) {
                match line.join(self, quota, &waiter, seen.take()) {
                    Some(joined) => return joined,
                    None => self.forget(key, &line), // it ended just now
                }
                continue;
            }
            let Some(nudged) = refused_since else { return Join::Vanished };
            if !self.count(&waiter) {
                return Join::Refused(self.full());
            }
            let line = Arc::new(Line::new(Arc::clone(&waiter)));
            let driver = driver(Arc::clone(&line));
            let is_first = match self.lock().entry(Arc::clone(key)) {
                hashbrown::hash_map::Entry::Occupied(_) => false,
                hashbrown::hash_map::Entry::Vacant(place) => {
                    // Not before: from here on the two hold each other until the driver has run to its end.
                    line.set_driver(&driver);
                    place.insert(Arc::clone(&line));
                    true
                }
            };
            if !is_first {
                // Somebody else was. The new line was never seen; its driver never ran.
                self.uncount(&waiter);
                self.notify_idle();
                return Join::Vanished;
            }
            // Who nudges from here on finds the line; who did since the store was asked may not have.
            if self.nudged(key) != nudged {
                line.note_change();
            }
            return Join::First(line, waiter, driver);
        }
    }

    /// The line of `key` has ended.
    pub(super) fn forget(&self, key: &[u8], line: &Arc<Line>) {
        let mut lines = self.lock();
        if lines.get(key).is_some_and(|known| Arc::ptr_eq(known, line)) {
            let ended = lines.remove(key);
            drop(lines);
            drop(ended);
        }
    }

    /// Counts a waiter, if one more may wait.
    pub(super) fn count(&self, waiter: &Waiter) -> bool {
        let one_more = |waiting| (waiting < self.max).then_some(waiting + 1);
        let counted = self.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok();
        if counted {
            waiter.set_counted(true);
        }
        counted
    }

    /// Whoever sees a waiter leave its line first takes it off the count.
    pub(super) fn uncount(&self, waiter: &Waiter) {
        if waiter.set_counted(false) {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    pub(super) fn full(&self) -> Error {
        Error::QueueFull { waiting: self.max }
    }

    fn line(&self, key: &[u8]) -> Option<Arc<Line>> {
        self.lock().get(key).cloned()
    }

    /// Told by the key's end and length alone: keys that share a counter cost each other one more question to the store
    /// now and then, not more.
    #[inline]
    fn nudges_of(&self, key: &[u8]) -> &AtomicU64 {
        let end = match key.last_chunk::<8>() {
            Some(end) => u64::from_le_bytes(*end),
            None => key.iter().fold(0, |end, byte| end << 8 | u64::from(*byte)),
        };
        let place = (end ^ key.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
        &self.nudges[usize::try_from(place).unwrap_or(0)]
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<[u8]>, Arc<Line>, RandomState>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(limiter_loom)))]
mod tests {
    use super::*;
    use std::future::pending;

    #[test]
    fn who_finds_that_another_began_the_line_leaves_nothing_behind() {
        let queues = Queues::new(9, Duration::ZERO, None);
        let (key, quota) = (Arc::<[u8]>::from(*b"k"), "1/s".parse().unwrap());
        let held = Arc::new(()); // by the drivers, as they hold their limiter
        let begin = |between: &dyn Fn()| {
            let held = Arc::clone(&held);
            queues.join(&key, &quota, Waiter::new(1, None, 0), Some(0), None, |line| {
                between();
                Task::paused(async move {
                    let _both = (held, line);
                    pending::<()>().await;
                })
            })
        };
        let first = std::cell::RefCell::new(None);
        let second = begin(&|| *first.borrow_mut() = Some(begin(&|| {})));
        assert!(matches!(second, Join::Vanished) && matches!(*first.borrow(), Some(Join::First(..))));
        assert_eq!((Arc::strong_count(&held), queues.waiting()), (2, 1));
    }
}

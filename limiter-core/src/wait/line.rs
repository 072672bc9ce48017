//! The waiters of one key, in the order they came.

use super::{queue::Queues, task::Task, waiter::Waiter};
use crate::{
    Error, KeyState, Quota, Timestamp,
    algorithm::Projection,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};
use smallvec::SmallVec;
use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock, PoisonError},
    time::Duration,
};

pub(super) struct Line {
    inner: Mutex<Inner>,
    driver: OnceLock<Arc<Task>>,
    /// Set when the driver must ask again before its sleep is over.
    changed: AtomicBool,
    /// Set once the store has refused somebody in it: until then it is but on its way to the store.
    refused: AtomicBool,
}

/// The first waiters of a line, whom one take is for.
pub(super) type Heads = SmallVec<[Arc<Waiter>; 1]>;

struct Inner {
    waiters: VecDeque<Arc<Waiter>>,
    /// Waiters in the line that have gone away.
    gone: usize,
    /// The key behind everybody in line; `None` when it must be worked out anew.
    projection: Option<Projection>,
    /// Counts what happens to the line, so that a snapshot taken before is told from one taken after.
    version: u64,
    /// How much later than they were told all grants can be before one misses its deadline.
    spare: Duration,
    /// Somebody with a deadline was let in without knowing how long it will be.
    unjudged: bool,
    /// Nobody was left: it takes nobody any more, and is about to leave the map.
    ended: bool,
}

/// What came of an attempt to join a line.
pub(super) enum Join {
    /// In line, behind others.
    Queued(Arc<Line>, Arc<Waiter>),
    /// In line as the first; the caller starts the driver.
    First(Arc<Line>, Arc<Waiter>, Arc<Task>),
    /// Nobody waits any more, or somebody just began to: ask the store again.
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

impl Line {
    pub(super) fn new(first: Arc<Waiter>) -> Self {
        let waiters = VecDeque::from([first]);
        Self {
            inner: Mutex::new(Inner {
                waiters,
                gone: 0,
                projection: None,
                version: 0,
                spare: Duration::MAX,
                unjudged: false,
                ended: false,
            }),
            driver: OnceLock::new(),
            changed: AtomicBool::new(false),
            refused: AtomicBool::new(false),
        }
    }

    pub(super) fn set_driver(&self, driver: &Arc<Task>) {
        self.driver.get_or_init(|| Arc::clone(driver));
    }

    /// Lets the driver ask again. Whoever calls must hold no lock: it runs here.
    pub(super) fn wake_driver(&self) {
        self.note_change();
        if let Some(driver) = self.driver.get() {
            driver.run();
        }
    }

    pub(super) fn note_change(&self) {
        self.changed.store(true, Ordering::SeqCst);
    }

    pub(super) fn note_refusal(&self) {
        self.refused.store(true, Ordering::SeqCst);
    }

    /// Whether those in it wait for units, as far as the store has said.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::SeqCst)
    }

    pub(super) fn take_change(&self) -> bool {
        self.changed.swap(false, Ordering::SeqCst)
    }

    pub(super) fn forget_projection(&self) {
        let mut inner = self.lock();
        inner.projection = None;
        inner.version += 1;
    }

    pub(super) fn expected(
        &self,
        quota: &Quota,
        cost: u64,
        state: Option<(KeyState, Timestamp)>,
        slack: Duration,
    ) -> Option<Timestamp> {
        let mut inner = self.lock();
        inner.project(quota, state, slack);
        Some(inner.projection.as_mut()?.when(quota, cost, slack))
    }

    /// Puts a waiter at the end; `None` if the line has ended.
    pub(super) fn join(
        self: &Arc<Self>,
        queues: &Queues,
        quota: &Quota,
        waiter: &Arc<Waiter>,
        seen: Option<Seen>,
    ) -> Option<Join> {
        let slack = queues.slack;
        let mut inner = self.lock();
        if inner.ended {
            return None;
        }
        if let Some((asked, allowed)) = waiter.limit {
            match seen {
                Some(seen) if seen.version == inner.version || seen.last => inner.project(quota, seen.state, slack),
                _ if inner.projection.is_none() => return Some(Join::Unknown(inner.version)),
                _ => {}
            }
            // A store that cannot tell its state lets everybody in; who cannot be served in time learns it later.
            let expected = inner.projection.as_mut().map(|ahead| ahead.when(quota, waiter.cost, slack));
            if let Some(expected) = expected.filter(|&expected| expected > asked.saturating_add(allowed)) {
                let needed = expected.saturating_since(asked);
                return Some(Join::Refused(Error::WaitTooLong { needed, allowed }));
            }
        }
        if !queues.count(waiter) {
            return Some(Join::Refused(queues.full()));
        }
        let expected = inner.projection.as_mut().map(|ahead| ahead.grant(quota, waiter.cost, slack));
        waiter.expect(expected);
        inner.spare = inner.spare.min(expected.map_or(Duration::MAX, |expected| waiter.spare(expected)));
        // The end, unless it has a priority: a search would touch waiters all over the memory for nothing.
        let place = match inner.waiters.back() {
            Some(last) if last.rank > waiter.rank => inner.waiters.partition_point(|other| other.rank <= waiter.rank),
            _ => inner.waiters.len(),
        };
        if place < inner.waiters.len() {
            inner.projection = None; // it put the waiter last
        }
        let is_unjudged = waiter.limit.is_some() && expected.is_none();
        inner.unjudged |= is_unjudged;
        inner.waiters.insert(place, Arc::clone(waiter));
        inner.version += 1;
        drop(inner);
        if place == 0 || is_unjudged || (waiter.limit.is_some() && queues.slots().is_some()) {
            self.wake_driver(); // it sleeps for another head, or without a thought of this deadline
        }
        Some(Join::Queued(Arc::clone(self), Arc::clone(waiter)))
    }

    /// Whether somebody misses a deadline if all grants come so much later than they were told.
    pub(super) fn misses_a_deadline(&self, late: Duration) -> bool {
        late > self.lock().spare
    }

    /// Whether somebody was let in of whom it is not known if they can be served in time; asked once.
    pub(super) fn take_unjudged(&self) -> bool {
        std::mem::take(&mut self.lock().unjudged)
    }

    /// The earliest instant after which somebody in line no longer wants to wait.
    pub(super) fn earliest_deadline(&self) -> Option<Timestamp> {
        let inner = self.lock();
        let waiting = inner.waiters.iter().filter(|waiter| !waiter.is_gone());
        waiting.filter_map(|waiter| waiter.deadline()).min()
    }

    /// Fails those whose time is over.
    pub(super) fn expire(&self, queues: &Queues, now: Timestamp) {
        let mut expired = Vec::new();
        let mut inner = self.lock();
        inner.waiters.retain(|waiter| {
            let is_over = !waiter.is_gone() && waiter.deadline().is_some_and(|deadline| deadline <= now);
            if is_over {
                queues.uncount(waiter);
                expired.push(Arc::clone(waiter));
            }
            !is_over
        });
        if !expired.is_empty() {
            inner.projection = None;
            inner.version += 1;
        }
        drop(inner);
        for waiter in expired {
            waiter.fail(Error::TimedOut { waited: waiter.limit.map_or(Duration::ZERO, |(_, allowed)| allowed) });
        }
    }

    /// The first in line who is still there; `None` ends the line.
    pub(super) fn head(&self, queues: &Queues) -> Option<Arc<Waiter>> {
        let mut inner = self.lock();
        while let Some(front) = inner.waiters.front() {
            if !front.is_gone() {
                return Some(Arc::clone(front));
            }
            queues.uncount(front);
            inner.waiters.pop_front();
            inner.gone = inner.gone.saturating_sub(1);
        }
        inner.ended = true;
        None
    }

    /// `head`, and those behind it whose costs fit into `room` with its own.
    pub(super) fn heads(&self, head: &Arc<Waiter>, room: u64) -> Heads {
        let mut heads = Heads::from_elem(Arc::clone(head), 1);
        let Some(mut left) = room.checked_sub(head.cost).filter(|left| *left > 0) else { return heads };
        let inner = self.lock();
        if !inner.waiters.front().is_some_and(|front| Arc::ptr_eq(front, head)) {
            return heads;
        }
        for waiter in inner.waiters.iter().skip(1).filter(|waiter| !waiter.is_gone()) {
            match left.checked_sub(waiter.cost) {
                Some(rest) => left = rest,
                None => break,
            }
            heads.push(Arc::clone(waiter));
        }
        heads
    }

    /// Takes a served or failed head out of the line; whether that leaves anybody, else the line ends.
    pub(super) fn pop(&self, queues: &Queues, head: &Arc<Waiter>, was_served: bool) -> bool {
        let mut inner = self.lock();
        // Nearly always the first; one of a higher priority may have come in front of it meanwhile.
        if let Some(place) = inner.waiters.iter().position(|waiter| Arc::ptr_eq(waiter, head)) {
            inner.waiters.remove(place);
            inner.version += 1;
        }
        if !was_served {
            inner.projection = None; // it counts units that will not be taken
        }
        queues.uncount(head);
        inner.ended |= inner.waiters.is_empty();
        !inner.ended
    }

    /// Notes that a waiter has gone; the driver moves on if it was the head.
    pub(super) fn leave(&self, queues: &Queues, waiter: &Arc<Waiter>) {
        queues.uncount(waiter);
        let mut inner = self.lock();
        let was_head = inner.waiters.front().is_some_and(|front| Arc::ptr_eq(front, waiter));
        inner.gone += 1;
        inner.projection = None;
        inner.version += 1;
        if inner.gone > 16 && inner.gone > inner.waiters.len() / 2 {
            inner.waiters.retain(|waiter| !waiter.is_gone());
            inner.gone = 0;
        }
        drop(inner);
        if was_head {
            self.wake_driver();
        }
    }

    /// How long after the head's instant the last grant is due that can as well be made together with it.
    pub(super) fn together(&self, quota: &Quota, head: &Waiter, grain: Duration) -> Duration {
        // A quarter of the leeway stays for the timer, which is late by some tens of microseconds: what it is later than a
        // full bucket allows is lost.
        let most = (quota.leeway(head.cost) * 3 / 4).min(grain);
        if most.is_zero() {
            return Duration::ZERO;
        }
        let inner = self.lock();
        let mut due = Duration::ZERO;
        for waiter in inner.waiters.iter().skip(1).filter(|waiter| !waiter.is_gone()) {
            match due.saturating_add(quota.spacing(waiter.cost)) {
                next if next <= most => due = next,
                _ => break,
            }
        }
        due
    }

    /// Works out anew when everybody will be served, and fails those whom that is too late for.
    pub(super) fn reconsider(&self, queues: &Queues, quota: &Quota, state: (KeyState, Timestamp)) {
        let mut ahead = Projection::new(state.0, state.1);
        let (mut failed, mut spare) = (Vec::new(), Duration::MAX);
        let mut inner = self.lock();
        inner.waiters.retain(|waiter| {
            if waiter.is_gone() {
                return true;
            }
            let expected = ahead.when(quota, waiter.cost, queues.slack);
            if let Some(error) = waiter.too_late(expected, Duration::ZERO) {
                queues.uncount(waiter);
                failed.push((Arc::clone(waiter), error));
                return false;
            }
            let expected = ahead.grant(quota, waiter.cost, queues.slack);
            spare = spare.min(waiter.spare(expected));
            waiter.expect(Some(expected));
            true
        });
        inner.spare = spare;
        inner.projection = Some(ahead);
        inner.version += 1;
        drop(inner);
        failed.into_iter().for_each(|(waiter, error)| waiter.fail(error));
    }

    /// Ends the line and fails whoever is left in it.
    pub(super) fn abandon(&self, queues: &Queues, error: impl Fn() -> Error) {
        let mut inner = self.lock();
        inner.ended = true;
        let left = std::mem::take(&mut inner.waiters);
        drop(inner);
        for waiter in left {
            queues.uncount(&waiter);
            waiter.fail(error());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Carries `state` on past everybody in line, where that is not known yet.
    fn project(&mut self, quota: &Quota, state: Option<(KeyState, Timestamp)>, slack: Duration) {
        if self.projection.is_none()
            && let Some((state, now)) = state
        {
            let mut ahead = Projection::new(state, now);
            for waiter in self.waiters.iter().filter(|waiter| !waiter.is_gone()) {
                let expected = ahead.grant(quota, waiter.cost, slack);
                self.spare = self.spare.min(waiter.spare(expected));
                waiter.expect(Some(expected));
            }
            self.projection = Some(ahead);
        }
    }
}

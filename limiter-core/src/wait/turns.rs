//! Lines of those who wait for several keys at once.
//!
//! Who is refused stands in the line of the key that refused it, and only its first asks again; the others' keys are free
//! meanwhile. Whoever the next answer refuses for the sake of another key goes to the end of that one's line.

use super::waiter;
use crate::{
    KeyState, Quota, Timestamp,
    algorithm::Projection,
    sync::{Mutex, MutexGuard},
};
use hashbrown::HashMap;
use std::{
    cell::RefCell,
    collections::VecDeque,
    hash::RandomState,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

/// The lines of a limiter, by key; a line is there only while somebody stands in it.
#[derive(Default)]
pub(super) struct Turns {
    lines: Mutex<Lines>,
    /// How many stand in them: nearly always none, which is then known without the lock. Whoever joins asks the store once
    /// more, so that nobody who looked just before is missed; no model is needed of that.
    standing: AtomicUsize,
}

type Lines = HashMap<Arc<[u8]>, VecDeque<Arc<Turn>>, RandomState>;

/// Somebody in a line.
pub(super) struct Turn {
    cost: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waker: Option<Waker>,
    /// The key has changed since it was last told: as the first, it is to ask again.
    changed: bool,
}

impl Turn {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// Those whose turn came while somebody was being woken on this thread.
    static TO_WAKE: RefCell<Option<VecDeque<Waker>>> = const { RefCell::new(None) };
}

/// Wakes somebody, and whoever is woken by that, one after the other: each runs where it is woken, and a long line that
/// is served at once would else go as deep as it is long.
fn wake(waker: Waker) {
    let is_waking = with_queue(|queue| match queue {
        Some(queue) => {
            queue.push_back(waker.clone());
            true
        }
        None => {
            *queue = Some(VecDeque::new());
            false
        }
    });
    let mut next = (is_waking != Some(true)).then_some(waker);
    while let Some(waker) = next {
        waiter::wake(waker);
        next = with_queue(|queue| {
            let next = queue.as_mut().and_then(VecDeque::pop_front);
            if next.is_none() {
                *queue = None;
            }
            next
        })
        .flatten();
    }
}

/// `None` on a thread that is ending, and has lost it: the last thing it drops may be what somebody waits for.
fn with_queue<R>(work: impl FnOnce(&mut Option<VecDeque<Waker>>) -> R) -> Option<R> {
    TO_WAKE.try_with(|queue| work(&mut queue.borrow_mut())).ok()
}

/// How somebody stands in a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// Others come first.
    Behind,
    First,
    /// First, and the key has changed since this was last asked.
    Changed,
}

impl Turns {
    /// A place at the end of the key's line.
    pub(super) fn join(&self, key: &Arc<[u8]>, cost: u64) -> Arc<Turn> {
        let turn = Arc::new(Turn { cost, state: Mutex::default() });
        self.standing.fetch_add(1, Ordering::SeqCst);
        self.lock().entry(Arc::clone(key)).or_default().push_back(Arc::clone(&turn));
        turn
    }

    /// Leaves the key's line; where that was its first, the next one's turn has come.
    pub(super) fn leave(&self, key: &[u8], turn: &Arc<Turn>) {
        let mut lines = self.lock();
        let Some(line) = lines.get_mut(key) else { return };
        let Some(place) = line.iter().position(|waiting| Arc::ptr_eq(waiting, turn)) else { return };
        line.remove(place);
        self.standing.fetch_sub(1, Ordering::SeqCst);
        let next = if place == 0 { line.front().and_then(|first| first.lock().waker.take()) } else { None };
        if line.is_empty() {
            lines.remove(key);
        }
        drop(lines);
        if let Some(next) = next {
            wake(next);
        }
    }

    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.standing.load(Ordering::SeqCst) > 0 && self.lock().contains_key(key)
    }

    /// How somebody stands in the key's line; `cx` is woken when that changes.
    pub(super) fn standing(&self, key: &[u8], turn: &Arc<Turn>, cx: &Context<'_>) -> Standing {
        let lines = self.lock();
        let is_first = lines.get(key).and_then(VecDeque::front).is_some_and(|first| Arc::ptr_eq(first, turn));
        let mut state = turn.lock();
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        match (is_first, std::mem::take(&mut state.changed)) {
            (true, true) => Standing::Changed,
            (true, false) => Standing::First,
            _ => Standing::Behind,
        }
    }

    pub(super) fn is_first(&self, key: &[u8], turn: &Arc<Turn>) -> bool {
        self.lock().get(key).and_then(VecDeque::front).is_some_and(|first| Arc::ptr_eq(first, turn))
    }

    /// Lets the first of the key's line ask again. Whoever calls must hold no lock: it may run here.
    pub(super) fn nudge(&self, key: &[u8]) {
        if self.standing.load(Ordering::SeqCst) == 0 {
            return;
        }
        let lines = self.lock();
        let Some(first) = lines.get(key).and_then(VecDeque::front) else { return };
        let mut state = first.lock();
        state.changed = true;
        let waker = state.waker.take();
        drop(state);
        drop(lines);
        waker.into_iter().for_each(wake);
    }

    /// Lets everybody look how they stand.
    pub(super) fn nudge_all(&self) {
        let mut wakers = Vec::new();
        for turn in self.lock().values().flatten() {
            let mut state = turn.lock();
            state.changed = true;
            wakers.extend(state.waker.take());
        }
        wakers.into_iter().for_each(wake);
    }

    /// The instant at which the key alone lets `cost` units in behind all who stand in its line before `turn`, or
    /// behind all of them; `None` where nobody does.
    pub(super) fn expected(
        &self,
        key: &[u8],
        turn: Option<&Arc<Turn>>,
        (quota, cost): (&Quota, u64),
        (state, now): (KeyState, Timestamp),
        slack: Duration,
    ) -> Option<Timestamp> {
        let mut ahead = Projection::new(state, now);
        let is_before = |waiting: &&Arc<Turn>| !turn.is_some_and(|turn| Arc::ptr_eq(waiting, turn));
        for waiting in self.lock().get(key)?.iter().take_while(is_before) {
            ahead.grant(quota, waiting.cost.min(quota.capacity()), slack);
        }
        Some(ahead.when(quota, cost.min(quota.capacity()), slack))
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

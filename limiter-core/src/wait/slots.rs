//! At most so many at once: places that are held until they are dropped, by permits or by themselves.

use super::queue::Queues;
use crate::sync::Mutex;
use hashbrown::HashMap;
use std::{
    fmt,
    hash::RandomState,
    sync::{Arc, PoisonError},
};

/// The places of each key of a limiter.
pub(crate) struct Slots {
    most: usize,
    held: Mutex<HashMap<Arc<[u8]>, usize, RandomState>>,
}

/// A place that is held; free again when dropped.
pub(crate) struct Slot {
    queues: Arc<Queues>,
    key: Arc<[u8]>,
    /// Whether those who wait are told when it becomes free.
    tells: bool,
}

/// A place among those of a key that can be held at once; made by [`Limiter::place`](crate::Limiter::place). Dropping it
/// lets the next one in.
#[must_use = "a place that is dropped is free for the next one"]
pub struct Place(Option<Slot>);

impl Place {
    pub(crate) fn new(slot: Option<Slot>) -> Self {
        Self(slot)
    }
}

impl Slots {
    pub(super) fn new(most: usize) -> Self {
        Self { most, held: Mutex::default() }
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// A place of `key`, if one is free.
    pub(super) fn enter(&self, key: &[u8], queues: &Arc<Queues>) -> Option<Slot> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match held.get_key_value(key) {
            Some((_, &count)) if count >= self.most => return None,
            Some((known, _)) => Arc::clone(known),
            None if self.most == 0 => return None,
            None => key.into(),
        };
        *held.entry(Arc::clone(&key)).or_insert(0) += 1;
        Some(Slot { queues: Arc::clone(queues), key, tells: true })
    }

    fn leave(&self, key: &Arc<[u8]>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                held.remove(key);
            }
        }
    }
}

impl Slot {
    /// Frees the place without a word to those who wait: for who serves them, and found no units for them.
    pub(super) fn leave_quietly(mut self) {
        self.tells = false;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.queues.slots() {
            slots.leave(&self.key);
        }
        if self.tells {
            self.queues.nudge(&self.key);
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("is_bounded", &self.0.is_some()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

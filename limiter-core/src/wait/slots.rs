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
    held: Mutex<HashMap<Arc<[u8]>, Held, RandomState>>,
}

#[derive(Default)]
struct Held {
    places: usize,
    /// Somebody found none since one last became free, and is to be told of the next. Nobody else is: two who try for
    /// places, find no units and free them again would wake each other without end.
    is_missed: bool,
}

/// A place that is held; free again when dropped, which those hear of who found none.
pub(crate) struct Slot {
    queues: Arc<Queues>,
    key: Arc<[u8]>,
    is_free: bool,
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
        let key = match held.get_key_value_mut(key) {
            Some((_, held)) if held.places >= self.most => {
                held.is_missed = true;
                return None;
            }
            Some((known, _)) => Arc::clone(known),
            None if self.most == 0 => return None,
            None => key.into(),
        };
        held.entry(Arc::clone(&key)).or_default().places += 1;
        Some(Slot { queues: Arc::clone(queues), key, is_free: false })
    }

    /// Frees a place; whether somebody is to be told.
    fn leave(&self, key: &Arc<[u8]>) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(of_key) = held.get_mut(key) else { return false };
        of_key.places -= 1;
        let is_missed = std::mem::take(&mut of_key.is_missed);
        if of_key.places == 0 {
            held.remove(key);
        }
        is_missed
    }
}

impl Slot {
    /// Frees the place; whether anybody was told, which is a nudge of the key.
    pub(super) fn leave(mut self) -> bool {
        self.free()
    }

    fn free(&mut self) -> bool {
        let was_free = std::mem::replace(&mut self.is_free, true);
        let tells = !was_free && self.queues.slots().is_some_and(|slots| slots.leave(&self.key));
        if tells {
            self.queues.nudge(&self.key);
        }
        tells
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.free();
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

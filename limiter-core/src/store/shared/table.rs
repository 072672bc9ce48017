//! Finding a key's slot, and making one.
//!
//! A key can lie in any slot of its group. There is no lock of the group: whoever makes a slot shows the key's tag in a
//! free slot that it owns, then looks whether anybody else shows the same. Of two that meet the one in the lower slot
//! goes on; since each shows before it looks, they cannot miss each other.

use super::{
    core::Core,
    error::Fault,
    layout::header,
    slot::{Found, Look, look},
    step::Step,
    wait::Patience,
    words::{Name, Words},
};
use crate::Timestamp;
use std::{hint, thread};

/// Slots looked at for idle ones at each insertion, and where all are taken.
const STEPS: usize = 2;
const STEPS_WHEN_FULL: usize = 64;

/// How long one that makes a slot waits for another of the same key to withdraw, before it starts anew itself.
const TURNS: usize = 300;

pub(super) enum Claim {
    Slot(usize),
    NoRoom,
    /// Somebody else has, or makes, a slot of this key.
    Again,
}

impl Core {
    /// The state of a key that has a slot, its own or, blocked, one in the overflow.
    pub(super) fn find(&self, name: Name, patience: &mut Patience) -> Result<Option<Found>, Fault> {
        let words = self.words();
        'again: loop {
            for slot in exact_places(words, name).filter(|slot| words.tag(*slot) == name.first) {
                match look(words, slot) {
                    Look::State(found) if found.name() == name => return Ok(Some(found)),
                    Look::State(_) | Look::Free => {}
                    Look::Corrupt => return Err(Fault::Corrupt),
                    Look::Owned => {
                        self.wait_for(slot, patience)?;
                        continue 'again;
                    }
                }
            }
            return Ok(None);
        }
    }

    /// The states that a key without a slot may have written to, one a quota.
    pub(super) fn ways(&self, way: Name, patience: &mut Patience) -> Result<Vec<Found>, Fault> {
        let words = self.words();
        if !overflow_is_used(words) {
            return Ok(Vec::new());
        }
        'again: loop {
            let mut ways = Vec::new();
            for slot in shared_places(words, way) {
                match look(words, slot) {
                    Look::State(found) if found.name().first == way.first => ways.push(found),
                    Look::State(_) | Look::Free => {}
                    Look::Corrupt => return Err(Fault::Corrupt),
                    Look::Owned => {
                        self.wait_for(slot, patience)?;
                        continue 'again;
                    }
                }
            }
            return Ok(ways);
        }
    }

    /// A slot of its own for a key that had none, in its group or in the overflow.
    pub(super) fn claim_own(&self, step: &mut Step<'_>, name: Name, in_overflow: bool) -> Claim {
        let words = self.words();
        let free = if in_overflow {
            words.layout.overflow_slots().find(|slot| own_if_free(words, step, *slot, name))
        } else {
            words.places(name).find(|slot| own_if_free(words, step, *slot, name))
        };
        free.map_or(Claim::NoRoom, |slot| meet_others(words, step, slot, name, exact_places(words, name)))
    }

    /// A slot of the overflow for the state of this way.
    pub(super) fn claim_way(&self, step: &mut Step<'_>, way: Name) -> Claim {
        let words = self.words();
        let free = words.layout.overflow_slots().find(|slot| own_if_free(words, step, *slot, way));
        free.map_or(Claim::NoRoom, |slot| meet_others(words, step, slot, way, words.layout.overflow_slots()))
    }

    /// Whether what a step does for a key without a slot of its own still holds: it owns every state the key may have
    /// written to, and nobody else makes the key a slot.
    pub(super) fn is_alone_with(&self, step: &Step<'_>, name: Name, way: Name) -> bool {
        let words = self.words();
        !overflow_is_used(words)
            || (shared_places(words, way).all(|slot| step.owns(slot))
                && exact_places(words, name).all(|slot| words.tag(slot) != name.first || step.owns(slot)))
    }

    /// Frees idle slots among a few that the key could have.
    pub(super) fn reclaim_some(&self, name: Name, now: Timestamp) -> Result<(), Fault> {
        // The bits that choose the place where a key begins are not these.
        let skip = usize::try_from(name.first % self.layout.group_size as u64).unwrap_or(0);
        self.reclaim(self.words().places(name).cycle().skip(skip).take(STEPS), now).map(drop)
    }

    /// Frees idle slots among many that the key could have, and of the overflow; whether there were any.
    pub(super) fn make_room(&self, name: Name, in_overflow: bool, now: Timestamp) -> Result<bool, Fault> {
        let words = self.words();
        let hand = words.add(header::HAND, STEPS_WHEN_FULL as u64);
        let skip = |size: usize| usize::try_from(hand % size as u64).unwrap_or(0);
        let freed = if in_overflow {
            let slots = words.layout.overflow_slots();
            self.reclaim(slots.cycle().skip(skip(self.layout.overflow)).take(STEPS_WHEN_FULL), now)?
        } else {
            let size = self.layout.group_size;
            self.reclaim(words.places(name).cycle().skip(skip(size)).take(STEPS_WHEN_FULL.min(size)), now)?
        };
        Ok(freed > 0)
    }

    /// Frees the idle ones of these slots.
    pub(super) fn reclaim(&self, slots: impl Iterator<Item = usize>, now: Timestamp) -> Result<usize, Fault> {
        let words = self.words();
        let mut freed = 0;
        for slot in slots.filter(|slot| words.tag(*slot) != 0) {
            if let Look::State(found) = look(words, slot)
                && found.is_idle(self, now)
                && self.free(&found, &mut Patience::default())?
            {
                freed += 1;
            }
        }
        Ok(freed)
    }
}

/// Whether anything was ever put in the overflow.
fn overflow_is_used(words: Words<'_>) -> bool {
    words.load(header::OVERFLOW_USED) != 0
}

/// Where a key's own slot can be.
fn exact_places(words: Words<'_>, name: Name) -> impl Iterator<Item = usize> {
    let overflow = if overflow_is_used(words) { words.layout.overflow_slots() } else { 0..0 };
    words.places(name).chain(overflow)
}

/// The slots that show the tag of this way.
fn shared_places(words: Words<'_>, way: Name) -> impl Iterator<Item = usize> {
    words.layout.overflow_slots().filter(move |slot| words.tag(*slot) == way.first)
}

fn own_if_free(words: Words<'_>, step: &mut Step<'_>, slot: usize, name: Name) -> bool {
    words.tag(slot) == 0 && {
        let head = words.head(slot);
        head.is_free() && step.own_free(slot, head, name.first)
    }
}

/// Looks for others that have or make a slot of this name.
fn meet_others(
    words: Words<'_>,
    step: &Step<'_>,
    slot: usize,
    name: Name,
    places: impl Iterator<Item = usize>,
) -> Claim {
    for other in places.filter(|&other| other != slot && words.tag(other) == name.first && !step.owns(other)) {
        let mut turns = 0;
        loop {
            match look(words, other) {
                Look::State(found) if found.name() == name => return Claim::Again,
                Look::Owned if other < slot || turns == TURNS => return Claim::Again,
                Look::Owned => {}
                _ => break,
            }
            if words.tag(other) != name.first {
                break;
            }
            turns += 1;
            if turns < TURNS / 2 { hint::spin_loop() } else { thread::yield_now() }
        }
    }
    Claim::Slot(slot)
}

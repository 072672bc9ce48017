//! The words of a file, by what they mean: the way every read and write of a decision goes.

use super::{fuse, head::Head, layout::Layout};
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};

/// A key as the file knows it: a keyed hash, which also says where its slot can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Name {
    /// What tags show; never 0.
    pub(super) first: u64,
    pub(super) second: u64,
}

#[derive(Clone, Copy)]
pub(super) struct Words<'a> {
    words: &'a [AtomicU64],
    pub(super) layout: &'a Layout,
}

impl<'a> Words<'a> {
    pub(super) fn new(words: &'a [AtomicU64], layout: &'a Layout) -> Self {
        Self { words, layout }
    }

    /// A word of what a head guards. Whoever reads one that a step wrote sees, by this order, that step in the head too.
    #[inline]
    pub(super) fn get(self, at: usize) -> u64 {
        self.words[at].load(Acquire)
    }

    #[inline]
    pub(super) fn set(self, at: usize, value: u64) {
        if fuse::is_lit() {
            self.words[at].store(value, Release);
        }
    }

    /// A word that stands for itself: all processes see writes of these in one order.
    #[inline]
    pub(super) fn load(self, at: usize) -> u64 {
        self.words[at].load(SeqCst)
    }

    pub(super) fn store(self, at: usize, value: u64) {
        if fuse::is_lit() {
            self.words[at].store(value, SeqCst);
        }
    }

    /// Whether the word was `old`, and now is `new`.
    #[inline]
    pub(super) fn swap(self, at: usize, old: u64, new: u64) -> bool {
        fuse::is_lit() && self.words[at].compare_exchange(old, new, SeqCst, SeqCst).is_ok()
    }

    pub(super) fn raise(self, at: usize, value: u64) {
        self.words[at].fetch_max(value, SeqCst);
    }

    /// Adds to a counter that nothing depends on; what it was.
    pub(super) fn add(self, counter: usize, more: u64) -> u64 {
        self.words[counter].fetch_add(more, Relaxed)
    }

    #[inline]
    pub(super) fn head(self, slot: usize) -> Head {
        Head::from_word(self.load(self.layout.slot(slot)))
    }

    /// Gives up a slot: whoever sees this head sees all that was written before.
    pub(super) fn set_head(self, slot: usize, head: Head) {
        self.set(self.layout.slot(slot), head.word());
    }

    #[inline]
    pub(super) fn swap_head(self, slot: usize, old: Head, new: Head) -> bool {
        self.swap(self.layout.slot(slot), old.word(), new.word())
    }

    #[inline]
    pub(super) fn tag(self, slot: usize) -> u64 {
        self.load(self.layout.tag(slot))
    }

    pub(super) fn set_tag(self, slot: usize, tag: u64) {
        self.store(self.layout.tag(slot), tag);
    }

    /// The slots a key can have, in the order they are tried.
    #[inline]
    pub(super) fn places(self, name: Name) -> impl Iterator<Item = usize> + Clone {
        let (high, low) = (name.second >> 32, name.second & u64::from(u32::MAX));
        // What is left is less than a size of this machine's memory.
        let group = usize::try_from(high % self.layout.groups as u64).unwrap_or(0);
        let start = usize::try_from(low % self.layout.group_size as u64).unwrap_or(0);
        let slots = self.layout.group(group);
        (slots.start + start..slots.end).chain(slots.start..slots.start + start)
    }
}

//! Records: who is inside a step, which slots it owns, and what it is about to write.
//!
//! A step gathers its slots, puts what is to become of them into its record, and says with one store that it is
//! committed. Only then does it write to the slots. So of a step that was cut short before that store nothing is left
//! but ownership, and one that was cut short later can be finished by anybody: both by whoever takes over its record.

use super::{
    chain,
    head::Head,
    layout::{ENTRY_HEADER, Layout, header},
    owner::Owner,
    words::Words,
};

/// The words of a record.
const OWNER: usize = 0;
const PHASE: usize = 1;
const ENTRIES: usize = 2;
/// 1 once the step may have claimed or freed blocks.
const BLOCKS: usize = 3;
/// Counts the record's steps, so that no two look alike in a head.
const STEP: usize = 4;

const COMMITTED: u64 = 1;

/// The words of an entry, before the copy of its slot.
const SLOT: usize = 0;
const OLD: usize = 1;
const NEW: usize = 2;
const KIND: usize = 3;

/// Kinds of entries. A tentative one had no key before.
const TENTATIVE: u64 = 1;
const WRITTEN: u64 = 2;
const FREED: u64 = 4;
/// Above them, how many words are written.
const WORDS_SHIFT: u32 = 8;

/// What becomes of a slot that does not stay as it was.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome<'a> {
    /// Holds these words; the first one, the head's, is not looked at.
    Written { payload: u64, words: &'a [u64] },
    /// Free.
    Freed,
}

#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    words: Words<'a>,
    index: usize,
}

impl<'a> Record<'a> {
    pub(super) fn new(words: Words<'a>, index: usize) -> Self {
        Self { words, index }
    }

    /// A record that was nobody's, from now on of `owner`.
    pub(super) fn claim(words: Words<'a>, entries: usize, owner: Owner, hint: usize) -> Option<Self> {
        let range = Layout::records_for(entries);
        let start = hint % range.len();
        (range.start + start..range.end)
            .chain(range.start..range.start + start)
            .map(|index| Self { words, index })
            .find(|record| record.owner() == Owner::NOBODY && record.pass(Owner::NOBODY, owner))
            .inspect(|record| words.set(record.at(STEP), words.get(record.at(STEP)).wrapping_add(1)))
    }

    /// What the heads of the step's slots are.
    fn head(self) -> Head {
        Head::owned_by(self.index, self.words.get(self.at(STEP)))
    }

    pub(super) fn owner(self) -> Owner {
        Owner::from_word(self.words.get(self.at(OWNER)))
    }

    /// The one compare-and-swap that makes a record somebody else's.
    fn pass(self, from: Owner, to: Owner) -> bool {
        self.words.swap(self.at(OWNER), from.word(), to.word())
    }

    /// Owns a slot whose head is `old`; whether it still was. A tentative slot shows the tag from then on.
    pub(super) fn own(self, slot: usize, old: Head, tag: Option<u64>) -> bool {
        let entry = self.len();
        if entry >= Layout::entries(self.index) {
            return false;
        }
        self.set(entry, SLOT, slot as u64);
        self.set(entry, OLD, old.word());
        self.set(entry, NEW, old.word());
        self.set(entry, KIND, if tag.is_some() { TENTATIVE } else { 0 });
        self.set_len(entry + 1); // before the head: whoever takes over finds every slot there may be
        let owned = self.words.swap_head(slot, old, self.head());
        match tag {
            _ if !owned => self.set_len(entry),
            Some(tag) => self.words.set_tag(slot, tag),
            None => {}
        }
        owned
    }

    /// Notes that blocks are about to be claimed or freed: whoever takes over looks for those that lead nowhere.
    pub(super) fn touch_blocks(self) {
        self.words.set(self.at(BLOCKS), 1);
    }

    /// Notes what is to become of an entry's slot.
    pub(super) fn plan(self, entry: usize, outcome: Outcome<'_>) {
        let old = Head::from_word(self.get(entry, OLD));
        let tentative = self.get(entry, KIND) & TENTATIVE;
        let (kind, new) = match outcome {
            Outcome::Freed => (FREED, old.next_free()),
            Outcome::Written { payload, words } => {
                for (i, word) in words.iter().enumerate().skip(1) {
                    self.set(entry, ENTRY_HEADER + i, *word);
                }
                (tentative | WRITTEN | (words.len() as u64) << WORDS_SHIFT, old.next_live(payload))
            }
        };
        self.set(entry, NEW, new.word());
        self.set(entry, KIND, kind);
    }

    /// From here on the step has happened.
    pub(super) fn commit(self) {
        self.words.set(self.at(PHASE), COMMITTED);
    }

    /// Ends the step: finishes it where it is committed, else leaves all as it was; `before` is told of each slot that
    /// is still owned, before that ends.
    fn settle(self, before: impl Fn(usize)) {
        let committed = self.words.get(self.at(PHASE)) == COMMITTED;
        for entry in 0..self.len() {
            let slot = usize::try_from(self.get(entry, SLOT)).unwrap_or(usize::MAX);
            if slot >= self.words.layout.slots() || self.words.head(slot) != self.head() {
                continue; // not yet owned, or no longer
            }
            let kind = self.get(entry, KIND);
            let head = self.get(entry, if committed { NEW } else { OLD });
            let at = self.words.layout.slot(slot);
            if committed && kind & WRITTEN != 0 {
                let words = usize::try_from(kind >> WORDS_SHIFT).unwrap_or(0).min(self.words.layout.slot_words());
                (1..words).for_each(|i| self.words.set(at + i, self.get(entry, ENTRY_HEADER + i)));
                self.words.set_tag(slot, self.words.get(at + 1));
            } else if kind & TENTATIVE != 0 || (committed && kind & FREED != 0) {
                self.words.set_tag(slot, 0);
                (1..super::layout::SLOT_HEADER).for_each(|i| self.words.set(at + i, 0));
            }
            before(slot);
            self.words.set_head(slot, Head::from_word(head));
        }
        self.set_len(0);
        self.words.set(self.at(PHASE), 0);
        self.words.set(self.at(BLOCKS), 0);
        self.words.set(self.at(OWNER), Owner::NOBODY.word());
    }

    /// Ends the own step; `unused` are blocks to free while their slot is still owned.
    pub(super) fn end(self, unused: &[u32]) {
        for block in unused {
            chain::free(self.words, *block);
        }
        self.settle(|_| {});
    }

    /// Takes the record over from `dead` and ends its step; whether nobody else did.
    pub(super) fn take_over(self, dead: Owner, me: Owner) -> bool {
        if !self.pass(dead, me) {
            return false;
        }
        let blocks = self.words.get(self.at(BLOCKS)) != 0;
        self.settle(|slot| {
            if blocks {
                chain::free_unlinked(self.words, slot);
            }
        });
        self.words.add(header::RECOVERED, 1);
        true
    }

    fn at(self, word: usize) -> usize {
        self.words.layout.record(self.index) + word
    }

    fn len(self) -> usize {
        let len = usize::try_from(self.words.get(self.at(ENTRIES))).unwrap_or(0);
        len.min(Layout::entries(self.index))
    }

    fn set_len(self, len: usize) {
        self.words.set(self.at(ENTRIES), len as u64);
    }

    fn get(self, entry: usize, word: usize) -> u64 {
        self.words.get(self.words.layout.entry(self.index, entry) + word)
    }

    fn set(self, entry: usize, word: usize, value: u64) {
        self.words.set(self.words.layout.entry(self.index, entry) + word, value);
    }
}

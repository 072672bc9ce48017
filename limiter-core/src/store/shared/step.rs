//! One atomic step over some slots: it owns them from the first compare-and-swap of a head until it ends, committed or not.

use super::{
    chain::{self, Blocks},
    core::Core,
    error::Fault,
    head::Head,
    owner::Owner,
    record::{Outcome, Record},
    slot::{self, Found},
    wait::Patience,
};
use smallvec::SmallVec;
use std::ptr;

pub(super) struct Step<'a> {
    core: &'a Core,
    record: Record<'a>,
    /// The slots owned, by entry.
    slots: SmallVec<[usize; 4]>,
    /// What it does to the pool of blocks.
    pub(super) blocks: Blocks,
    is_committed: bool,
}

impl<'a> Step<'a> {
    /// A step over at most so many slots.
    pub(super) fn begin(core: &'a Core, entries: usize, patience: &mut Patience) -> Result<Self, Fault> {
        let owner = core.me.owner()?;
        let record = loop {
            if let Some(record) = Record::claim(core.words(), entries, owner, hint(owner)) {
                break record;
            }
            if !core.end_dead_steps()? {
                patience.turn(0, core.budget).map_err(|waited| Fault::NoRecord { waited })?;
            }
        };
        Ok(Self { core, record, slots: SmallVec::new(), blocks: Blocks::default(), is_committed: false })
    }

    /// Owns a slot whose head is `head`; whether it still was. What is owned already stays so.
    pub(super) fn own(&mut self, slot: usize, head: Head) -> bool {
        self.owns(slot) || self.add(slot, head, None)
    }

    /// Owns a free slot for the key of this tag.
    pub(super) fn own_free(&mut self, slot: usize, head: Head, tag: u64) -> bool {
        self.add(slot, head, Some(tag))
    }

    fn add(&mut self, slot: usize, head: Head, tag: Option<u64>) -> bool {
        let owned = self.record.own(slot, head, tag);
        if owned {
            self.slots.push(slot);
        }
        owned
    }

    pub(super) fn owns(&self, slot: usize) -> bool {
        self.slots.contains(&slot)
    }

    /// Says what is to become of an owned slot; the others stay as they were.
    pub(super) fn plan(&mut self, slot: usize, outcome: Outcome<'_>) {
        if let Some(entry) = self.slots.iter().position(|owned| *owned == slot) {
            self.record.plan(entry, outcome);
        }
    }

    /// To be called before blocks are claimed or freed.
    pub(super) fn touch_blocks(&self) {
        self.record.touch_blocks();
    }

    /// Gives back the blocks claimed since there were so many, and keeps so many of those that would be unused.
    pub(super) fn give_back(&mut self, claimed: usize, unused: usize) {
        for block in self.blocks.claimed.drain(claimed..) {
            chain::free(self.core.words(), block);
        }
        self.blocks.unused.truncate(unused);
    }

    pub(super) fn commit(mut self) {
        self.record.commit();
        self.is_committed = true;
    }
}

impl Drop for Step<'_> {
    /// Also where a caller's clock panicked.
    fn drop(&mut self) {
        self.record.end(if self.is_committed { &self.blocks.unused } else { &self.blocks.claimed });
    }
}

impl Core {
    /// Frees the slot of a key, if it is still as it was found.
    pub(super) fn free(&self, found: &Found, patience: &mut Patience) -> Result<bool, Fault> {
        let mut step = Step::begin(self, 1, patience)?;
        if !step.own(found.slot, found.head) {
            return Ok(false);
        }
        if found.has_log() {
            step.touch_blocks();
        }
        slot::drop_logs(self.words(), Some(found), 0, &mut step.blocks);
        step.plan(found.slot, Outcome::Freed);
        step.commit();
        Ok(true)
    }
}

/// Where a thread looks for a record first, so that threads seldom meet.
fn hint(owner: Owner) -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    let place = HERE.with(|here| ptr::from_ref(here).addr());
    (place >> 6) ^ (place >> 12) ^ (owner.pid() as usize).wrapping_mul(37)
}

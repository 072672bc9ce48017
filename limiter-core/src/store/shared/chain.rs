//! The runs of logs, in chains of blocks.
//!
//! Of a chain that a settled slot links, nothing is ever changed but what lies beyond its end; so a step that does not
//! come to be committed leaves it as it was. The newest run is kept in the slot itself, since further units often join it.
//!
//! A block belongs to the slot that its claim names. What a slot claims and does not link is lost only while a step owns
//! the slot: whoever takes such a step over looks for it.

use super::{
    layout::{BLOCK_RUNS, header},
    words::Words,
};
use crate::algorithm::{Log, Run};
use std::collections::{HashSet, VecDeque};

/// The words of a rate's log in its slot.
pub(super) const LOG_WORDS: usize = 5;

/// The latest instant, with a cell and a period more, takes fewer bits.
const STAMP_BITS: u32 = 54;

/// A log as its slot keeps it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Chain {
    base: u64,
    newest: (u64, u64),
    /// The first and the last block, plus one; 0 without any.
    head: u32,
    tail: u32,
    /// Runs of the first block that are gone.
    offset: u32,
    /// Runs, with the newest.
    count: u32,
}

impl Chain {
    pub(super) fn from_words(words: &[u64]) -> Self {
        let get = |i: usize| words.get(i).copied().unwrap_or(0);
        let ((head, tail), (offset, count)) = (halves(get(3)), halves(get(4)));
        Self { base: get(0), newest: (get(1), get(2)), head, tail, offset, count }
    }

    pub(super) fn to_words(self) -> [u64; LOG_WORDS] {
        let whole = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        [self.base, self.newest.0, self.newest.1, whole(self.head, self.tail), whole(self.offset, self.count)]
    }

    /// Runs in blocks.
    fn linked(&self) -> usize {
        (self.count as usize).saturating_sub(1)
    }

    /// The chain's blocks, from the first on; short where a link leads nowhere.
    pub(super) fn blocks(&self, words: Words<'_>) -> Vec<u32> {
        let count = match self.linked() {
            0 => 0,
            linked => (self.offset as usize + linked).div_ceil(BLOCK_RUNS).min(words.layout.blocks),
        };
        let mut next = self.head;
        let mut blocks = Vec::with_capacity(count);
        while blocks.len() < count {
            let Some(block) = next.checked_sub(1).filter(|block| (*block as usize) < words.layout.blocks) else {
                break;
            };
            blocks.push(block);
            next = u32::try_from(words.get(words.layout.block(block as usize))).unwrap_or(0);
        }
        blocks
    }

    /// The log; `None` where its blocks do not hold it.
    pub(super) fn log(&self, words: Words<'_>) -> Option<Log> {
        if self.count == 0 {
            return Some(Log::of(self.base, VecDeque::new()));
        }
        let (blocks, linked, offset) = (self.blocks(words), self.linked(), self.offset as usize);
        if blocks.len() * BLOCK_RUNS < offset + linked || offset >= BLOCK_RUNS {
            return None;
        }
        let mut runs = VecDeque::with_capacity(linked + 2);
        for place in offset..offset + linked {
            let at = run_at(words, blocks[place / BLOCK_RUNS], place % BLOCK_RUNS);
            runs.push_back(Run { stamp: words.get(at), total: words.get(at + 1) });
        }
        runs.push_back(Run { stamp: self.newest.0, total: self.newest.1 });
        let in_order = runs.iter().zip(runs.iter().skip(1)).all(|(one, next)| one.stamp < next.stamp);
        (in_order && self.newest.0 >> STAMP_BITS == 0).then(|| Log::of(self.base, runs))
    }

    /// The chain of `new`, a log that was `old` in this one. `claimed` and `unused` gain the blocks that it has more and
    /// less than this one. `None` where no block is free.
    pub(super) fn update(
        &self,
        words: Words<'_>,
        slot: usize,
        old: &Log,
        new: &Log,
        blocks: &mut Blocks,
    ) -> Option<Self> {
        let Some(newest) = new.runs.back() else {
            blocks.unused.extend(self.blocks(words));
            return Some(Self { base: new.base, ..Self::default() });
        };
        let wanted = new.runs.len() - 1;
        let dropped = usize::try_from(new.gone - old.gone.min(new.gone)).unwrap_or(usize::MAX).min(self.linked());
        let kept = self.linked() - dropped;
        let goes_on = kept > 0 && kept <= wanted && (0..kept).all(|i| old.runs.get(dropped + i) == new.runs.get(i));
        let held = self.blocks(words);
        let mut chain = Self { base: new.base, newest: (newest.stamp, newest.total), ..*self };
        let mut place = 0; // where the next run goes, counted from the start of the first block
        let first = if goes_on {
            let start = self.offset as usize + dropped;
            let passed = start / BLOCK_RUNS;
            blocks.unused.extend(held.iter().take(passed));
            chain.head = held.get(passed)? + 1;
            chain.tail = held.last()? + 1;
            chain.offset = u32::try_from(start % BLOCK_RUNS).ok()?;
            place = start % BLOCK_RUNS + kept;
            kept
        } else {
            blocks.unused.extend(held);
            (chain.head, chain.tail, chain.offset) = (0, 0, 0);
            0
        };
        for run in new.runs.range(first..wanted) {
            if place % BLOCK_RUNS == 0 {
                let block = claim(words, slot)?;
                blocks.claimed.push(block);
                match chain.tail.checked_sub(1) {
                    Some(tail) => words.set(words.layout.block(tail as usize), u64::from(block) + 1),
                    None => chain.head = block + 1,
                }
                chain.tail = block + 1;
            }
            let at = run_at(words, chain.tail - 1, place % BLOCK_RUNS);
            words.set(at, run.stamp);
            words.set(at + 1, run.total);
            place += 1;
        }
        chain.count = u32::try_from(wanted + 1).ok()?;
        Some(chain)
    }
}

/// What a step does to the pool.
#[derive(Default, Debug)]
pub(super) struct Blocks {
    /// Claimed in this step: free again unless it is committed.
    pub(super) claimed: Vec<u32>,
    /// Free once it is.
    pub(super) unused: Vec<u32>,
}

/// A free block, from now on the slot's.
fn claim(words: Words<'_>, slot: usize) -> Option<u32> {
    let blocks = words.layout.blocks;
    let start = usize::try_from(words.get(header::NEXT_BLOCK)).unwrap_or(0) % blocks;
    let block = (start..blocks).chain(0..start).find(|&block| {
        let claim = words.layout.claim(block);
        words.get(claim) == 0 && words.swap(claim, 0, slot as u64 + 1)
    })?;
    words.set(header::NEXT_BLOCK, block as u64 + 1);
    u32::try_from(block).ok()
}

pub(super) fn free(words: Words<'_>, block: u32) {
    words.store(words.layout.claim(block as usize), 0);
}

/// Frees what a slot, owned by the caller, claims and does not link.
pub(super) fn free_unlinked(words: Words<'_>, slot: usize) {
    let linked: HashSet<u32> = super::slot::chains(words, slot).flat_map(|chain| chain.blocks(words)).collect();
    for block in 0..words.layout.blocks {
        let claim = words.layout.claim(block);
        let is_linked = u32::try_from(block).is_ok_and(|block| linked.contains(&block));
        if words.load(claim) == slot as u64 + 1 && !is_linked {
            words.store(claim, 0);
        }
    }
}

/// Frees what of these chains the slot claims.
pub(super) fn free_all(words: Words<'_>, slot: usize, chains: &[Chain]) {
    for block in chains.iter().flat_map(|chain| chain.blocks(words)) {
        words.swap(words.layout.claim(block as usize), slot as u64 + 1, 0);
    }
}

/// Blocks in use.
pub(super) fn used(words: Words<'_>) -> usize {
    (0..words.layout.blocks).filter(|&block| words.get(words.layout.claim(block)) != 0).count()
}

fn run_at(words: Words<'_>, block: u32, run: usize) -> usize {
    words.layout.block(block as usize) + 1 + 2 * run
}

fn halves(word: u64) -> (u32, u32) {
    let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0);
    (half(word >> 32), half(word))
}

//! Where everything lies in the file, in words of eight bytes.
//!
//! | part | holds |
//! | --- | --- |
//! | header | what the file is, the hash key, the clock, counters |
//! | tags | a word a slot: half of its key's hash, 0 where it is free |
//! | claims | a word a block: the slot that has it, plus one |
//! | records | who is inside a step, the slots it owns, and what it is about to write |
//! | slots | a key's state each; the last ones are the overflow |
//! | blocks | the runs of logs |

use std::ops::Range;

/// The words of the header.
pub(super) mod header {
    pub(in super::super) const MAGIC: usize = 0;
    pub(in super::super) const VERSION: usize = 1;
    /// Checks the layout's numbers.
    pub(in super::super) const LAYOUT_SUM: usize = 2;
    /// Five words: the numbers a layout is made of.
    pub(in super::super) const LAYOUT: usize = 3;
    /// Two words.
    pub(in super::super) const HASH_KEY: usize = 8;
    /// Two words.
    pub(in super::super) const BOOT_ID: usize = 10;
    /// Wall time, in microseconds, when the boot-time clock stood at zero.
    pub(in super::super) const ANCHOR: usize = 12;
    /// No decision at the file's own time was made as late as [`super::LATEST_STEP_US`] after this.
    pub(in super::super) const LATEST: usize = 13;
    /// Two words: the namespaces of process ids and of time.
    pub(in super::super) const NAMESPACES: usize = 14;
    /// 1 once anything was ever put in the overflow.
    pub(in super::super) const OVERFLOW_USED: usize = 16;
    // Counters that are written often lie apart from what is read often.
    pub(in super::super) const OVERFLOW_WRITES: usize = 64;
    pub(in super::super) const COARSENED: usize = 65;
    pub(in super::super) const RECOVERED: usize = 66;
    pub(in super::super) const NEXT_BLOCK: usize = 72;
    pub(in super::super) const HAND: usize = 80;
    pub(in super::super) const WORDS: usize = 512;
}

/// How far the file's time goes on before the newest is noted again.
pub(super) const LATEST_STEP_US: u64 = 1_000_000;

/// The words of a slot before those of its rates, and of each rate.
pub(super) const SLOT_HEADER: usize = 8;
pub(super) const RATE_WORDS: usize = 9;

/// A block: the next one of its chain, and runs of two words.
pub(super) const BLOCK_WORDS: usize = 32;
pub(super) const BLOCK_RUNS: usize = 15;

/// Records for steps over few slots, and for steps over many.
const SMALL_RECORDS: usize = 240;
const SMALL_ENTRIES: usize = 4;
const LARGE_RECORDS: usize = 16;
pub(super) const LARGE_ENTRIES: usize = 160;

/// The words of a record before its entries, and of an entry before the copy of its slot.
pub(super) const RECORD_HEADER: usize = 8;
pub(super) const ENTRY_HEADER: usize = 4;

/// Slots a key can lie in.
const GROUP: usize = 128;

/// The most rates a quota can have in any file.
pub(super) const MOST_RATES: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    pub(super) max_rates: usize,
    pub(super) groups: usize,
    pub(super) group_size: usize,
    pub(super) overflow: usize,
    pub(super) blocks: usize,
    tags_at: usize,
    claims_at: usize,
    small_at: usize,
    large_at: usize,
    slots_at: usize,
    blocks_at: usize,
    words: usize,
}

impl Layout {
    /// The layout for so many keys, rates a quota and runs of logs.
    pub(super) fn for_keys(max_keys: usize, max_rates: usize, log_entries: usize) -> Option<Self> {
        let (groups, group_size) = if max_keys <= GROUP {
            (1, max_keys)
        } else {
            // Groups fill unevenly: a quarter more slots than keys, and one key in five thousand finds no room.
            ((max_keys.checked_add(max_keys / 4)?).div_ceil(GROUP), GROUP)
        };
        let overflow = (max_keys / 16).clamp(64, 512);
        Self::new([max_rates, groups, group_size, overflow, log_entries.div_ceil(BLOCK_RUNS)])
    }

    /// The layout of a file with these numbers in its header; `None` where they make no sense.
    pub(super) fn new([max_rates, groups, group_size, overflow, blocks]: [usize; 5]) -> Option<Self> {
        let some = [max_rates, groups, group_size, overflow, blocks].iter().all(|n| *n > 0);
        if !some || max_rates > MOST_RATES || group_size > GROUP || u32::try_from(blocks).is_err() {
            return None;
        }
        let slots = groups.checked_mul(group_size)?.checked_add(overflow)?;
        let slot = slot_words(max_rates);
        let mut end: usize = header::WORDS;
        let mut part = |count: usize, each: usize| {
            let start = end;
            end = start.checked_add(count.checked_mul(each)?)?.checked_next_multiple_of(8)?;
            Some(start)
        };
        let (tags_at, claims_at) = (part(slots, 1)?, part(blocks, 1)?);
        let small_at = part(SMALL_RECORDS, record_words(SMALL_ENTRIES, slot))?;
        let large_at = part(LARGE_RECORDS, record_words(LARGE_ENTRIES, slot))?;
        let (slots_at, blocks_at) = (part(slots, slot)?, part(blocks, BLOCK_WORDS)?);
        // Files of 2⁴⁵ bytes and more are no file that was asked for.
        let words = end.checked_mul(8).filter(|bytes| *bytes as u64 >> 45 == 0).map(|_| end)?;
        Some(Self {
            max_rates,
            groups,
            group_size,
            overflow,
            blocks,
            tags_at,
            claims_at,
            small_at,
            large_at,
            slots_at,
            blocks_at,
            words,
        })
    }

    /// What the header keeps of it.
    pub(super) fn numbers(&self) -> [usize; 5] {
        [self.max_rates, self.groups, self.group_size, self.overflow, self.blocks]
    }

    pub(super) fn bytes(&self) -> usize {
        self.words * 8
    }

    /// The slots of keys, without the overflow.
    #[inline]
    pub(super) fn main_slots(&self) -> usize {
        self.groups * self.group_size
    }

    pub(super) fn slots(&self) -> usize {
        self.main_slots() + self.overflow
    }

    #[inline]
    pub(super) fn group(&self, group: usize) -> Range<usize> {
        group * self.group_size..(group + 1) * self.group_size
    }

    pub(super) fn overflow_slots(&self) -> Range<usize> {
        self.main_slots()..self.slots()
    }

    #[inline]
    pub(super) fn tag(&self, slot: usize) -> usize {
        self.tags_at + slot
    }

    #[inline]
    pub(super) fn slot(&self, slot: usize) -> usize {
        self.slots_at + slot * self.slot_words()
    }

    #[inline]
    pub(super) fn slot_words(&self) -> usize {
        slot_words(self.max_rates)
    }

    pub(super) fn claim(&self, block: usize) -> usize {
        self.claims_at + block
    }

    pub(super) fn block(&self, block: usize) -> usize {
        self.blocks_at + block * BLOCK_WORDS
    }

    pub(super) fn records(&self) -> usize {
        SMALL_RECORDS + LARGE_RECORDS
    }

    /// The records whose steps are over at most this many slots.
    pub(super) fn records_for(entries: usize) -> Range<usize> {
        if entries <= SMALL_ENTRIES { 0..SMALL_RECORDS } else { SMALL_RECORDS..SMALL_RECORDS + LARGE_RECORDS }
    }

    pub(super) fn entries(record: usize) -> usize {
        if record < SMALL_RECORDS { SMALL_ENTRIES } else { LARGE_ENTRIES }
    }

    pub(super) fn record(&self, record: usize) -> usize {
        match record.checked_sub(SMALL_RECORDS) {
            None => self.small_at + record * record_words(SMALL_ENTRIES, self.slot_words()),
            Some(large) => self.large_at + large * record_words(LARGE_ENTRIES, self.slot_words()),
        }
    }

    pub(super) fn entry(&self, record: usize, entry: usize) -> usize {
        self.record(record) + RECORD_HEADER + entry * (ENTRY_HEADER + self.slot_words())
    }
}

/// Whole cache lines.
const fn slot_words(max_rates: usize) -> usize {
    (SLOT_HEADER + RATE_WORDS * max_rates).next_multiple_of(8)
}

const fn record_words(entries: usize, slot: usize) -> usize {
    (RECORD_HEADER + entries * (ENTRY_HEADER + slot)).next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_overlap_and_end_with_the_file() {
        for (keys, rates) in [(1, 1), (100, 4), (5000, 2), (1 << 20, 8)] {
            let layout = Layout::for_keys(keys, rates, keys * 8).unwrap();
            assert!(layout.main_slots() >= keys);
            assert_eq!(Layout::new(layout.numbers()), Some(layout));
            let starts = [
                layout.tag(0),
                layout.claim(0),
                layout.record(0),
                layout.record(SMALL_RECORDS),
                layout.slot(0),
                layout.block(0),
            ];
            assert!(starts.is_sorted() && starts.iter().all(|start| start % 8 == 0));
            assert!(layout.entry(SMALL_RECORDS - 1, SMALL_ENTRIES) <= layout.record(SMALL_RECORDS));
            assert!(layout.entry(layout.records() - 1, LARGE_ENTRIES) <= layout.slot(0));
            assert!(layout.block(layout.blocks) * 8 <= layout.bytes());
        }
        assert_eq!(Layout::for_keys(usize::MAX, 4, 1), None);
        assert_eq!(Layout::new([4, 0, 1, 1, 1]), None);
    }
}

//! How full a file is.

use super::{
    chain,
    core::Core,
    layout::{BLOCK_RUNS, header},
};

/// How full a [`SharedStore`](super::SharedStore)'s file is; see [`SharedStore::usage`](super::SharedStore::usage).
///
/// Counts are since the file was created, by all processes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct SharedUsage {
    /// Keys that have a state of their own.
    pub keys: usize,
    /// The most keys that can have one.
    pub max_keys: usize,
    /// States shared by keys that found no room, and blocks of keys that found none.
    pub overflow_states: usize,
    /// The most of these.
    pub max_overflow_states: usize,
    /// Writes that had to go to a shared state.
    pub overflow_writes: u64,
    /// Room for entries of logs that is taken, in whole blocks.
    pub log_entries: usize,
    /// Room for entries of all logs.
    pub max_log_entries: usize,
    /// How often a log had to be kept coarser for want of room.
    pub coarsened: u64,
    /// Steps of killed processes that others ended.
    pub recovered: u64,
}

impl SharedUsage {
    pub(super) fn of(core: &Core) -> Self {
        let words = core.words();
        let count = |counter: usize| words.get(counter);
        let taken = |slots: std::ops::Range<usize>| slots.filter(|slot| words.tag(*slot) != 0).count();
        Self {
            keys: taken(0..core.layout.main_slots()),
            max_keys: core.layout.main_slots(),
            overflow_states: taken(core.layout.overflow_slots()),
            max_overflow_states: core.layout.overflow,
            overflow_writes: count(header::OVERFLOW_WRITES),
            log_entries: chain::used(words) * BLOCK_RUNS,
            max_log_entries: core.layout.blocks * BLOCK_RUNS,
            coarsened: count(header::COARSENED),
            recovered: count(header::RECOVERED),
        }
    }
}

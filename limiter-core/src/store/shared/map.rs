//! The file as words of memory: the one place here that needs `unsafe`.

#![allow(unsafe_code)]

use memmap2::{MmapOptions, MmapRaw};
use std::{fs::File, io, slice, sync::atomic::AtomicU64};

/// A mapping of a whole file, shared with every process that maps it.
#[derive(Debug)]
pub(super) struct Map(MmapRaw);

impl Map {
    /// Maps the first `bytes` of the file, which must be that long.
    pub(super) fn new(file: &File, bytes: usize) -> io::Result<Self> {
        MmapOptions::new().len(bytes).map_raw(file).map(Self)
    }

    /// The file's words.
    #[inline]
    pub(super) fn words(&self) -> &[AtomicU64] {
        let words = self.0.as_mut_ptr().cast::<AtomicU64>();
        // SAFETY: The mapping starts at a page, so that words are aligned, and holds `len` bytes for as long as `self`
        // lives. Every process reads and writes it through atomics only, for which any bits are valid, so that whoever
        // writes to the file otherwise can change values and nothing more. `file` checks the length before it maps; a
        // file that is cut short afterwards ends the process with SIGBUS, and never reads memory of others.
        unsafe { slice::from_raw_parts(words, self.0.len() / size_of::<AtomicU64>()) }
    }
}

//! A key that a store of this process has looked up once.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Where a store expects a key.
#[derive(Debug)]
pub struct Lookup {
    /// What stands for the key.
    hash: u64,
    /// Where its state was last found. It may have moved since, and another key's may be there.
    index: AtomicUsize,
}

impl Lookup {
    pub(super) fn new(hash: u64) -> Self {
        Self { hash, index: AtomicUsize::new(0) }
    }

    #[inline]
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    #[inline]
    pub(super) fn index(&self) -> usize {
        self.index.load(Ordering::Relaxed)
    }

    pub(super) fn set_index(&self, index: usize) {
        self.index.store(index, Ordering::Relaxed);
    }
}

impl Clone for Lookup {
    fn clone(&self) -> Self {
        Self { hash: self.hash, index: AtomicUsize::new(self.index()) }
    }
}

//! A key's place in a store of this process, looked up once.

use crate::Timestamp;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where a store expects a key.
#[derive(Debug)]
pub struct Place {
    /// What stands for the key.
    hash: u64,
    /// Where its state was last found. It may have moved since, and another key's may be there.
    index: AtomicUsize,
}

impl Place {
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

impl Clone for Place {
    fn clone(&self) -> Self {
        Self { hash: self.hash, index: AtomicUsize::new(self.index()) }
    }
}

/// Units that were taken, without all that a decision tells.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// The instant of the take.
    pub(crate) at: Timestamp,
}

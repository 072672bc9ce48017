//! Settings of a shared file.

use super::{
    SharedStore,
    core::Core,
    error::Fault,
    layout::{Layout, MOST_RATES},
};
use crate::error::StoreError;
use std::{path::Path, sync::Arc, time::Duration};

/// Settings of a [`SharedStore`]; see [`SharedStore::builder`].
///
/// The size of a file is settled when it is created: who opens one that exists takes it as it is.
#[derive(Clone, Debug)]
pub struct SharedStoreBuilder {
    max_keys: usize,
    max_rates: usize,
    log_entries: Option<usize>,
    mode: u32,
    timeout: Duration,
}

impl Default for SharedStoreBuilder {
    fn default() -> Self {
        Self { max_keys: 1 << 16, max_rates: 4, log_entries: None, mode: 0o600, timeout: Duration::from_millis(250) }
    }
}

impl SharedStoreBuilder {
    /// How many keys can have a state of their own, at least 1; 2¹⁶ by default.
    ///
    /// A key takes 250 bytes where quotas have one rate, and 490 with the four that are the default; see
    /// [`max_rates`](Self::max_rates). All of it is taken from the disk, or from memory, when the file is created.
    #[must_use]
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys.max(1);
        self
    }

    /// How many rates a quota can have, from 1 to 8; 4 by default. A quota with more is refused.
    #[must_use]
    pub fn max_rates(mut self, rates: usize) -> Self {
        self.max_rates = rates.clamp(1, MOST_RATES);
        self
    }

    /// How many entries of all keys' logs there is room for: a log has one for each of its takes, and one more fits
    /// beside each key's state. By default eight a key, at least 60,000.
    ///
    /// An entry takes 17 bytes. A log that finds no room is kept coarser: its units return late, never early.
    #[must_use]
    pub fn log_entries(mut self, entries: usize) -> Self {
        self.log_entries = Some(entries.max(1));
        self
    }

    /// The permission bits of a file that is created, before the process's mask; `0o600` by default.
    ///
    /// Whoever may write to the file may change every limit in it.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o777;
        self
    }

    /// How long a call waits for a process that was stopped inside a decision on the same key; 250 ms by default. A machine
    /// with far more to do than it has processors can stop one that long by itself.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// [`SharedStore::open`] lists them.
    pub fn open(self, path: impl AsRef<Path>) -> Result<SharedStore, StoreError> {
        let log_entries = self.log_entries.unwrap_or_else(|| self.max_keys.saturating_mul(8).max(60_000));
        let layout = Layout::for_keys(self.max_keys, self.max_rates, log_entries).ok_or(Fault::Settings)?;
        let core = Core::open(path.as_ref(), &layout, self.mode, self.timeout)?;
        Ok(SharedStore(Arc::new(core)))
    }
}

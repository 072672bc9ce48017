//! Settings.

use super::{SqliteStore, error::Fault};
use crate::{StoreError, store::stored_key::StoredKeys};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Settings of a [`SqliteStore`]; see [`SqliteStore::builder`].
///
/// ```
/// use limiter_core::SqliteStore;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let path = std::env::temp_dir().join("limits.db");
/// let store = SqliteStore::builder(&path)
///     .timeout(Duration::from_secs(1))
///     .sync_every_commit(true) // survives power cuts too
///     .max_bytes(64 << 20)
///     .build()?;
/// # drop(store);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder makes its store in `build`"]
pub struct SqliteStoreBuilder {
    settings: Settings,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Absolute; `None` keeps the database in memory.
    pub(super) path: Option<PathBuf>,
    pub(super) keys: StoredKeys,
    pub(super) budget: Duration,
    pub(super) sync_every_commit: bool,
    pub(super) max_bytes: Option<u64>,
}

/// Longer waits for a lock are the same as this one: a year.
const LONGEST_BUDGET: Duration = Duration::from_secs(365 * 86_400);

impl SqliteStoreBuilder {
    pub(super) fn new(path: &Path) -> Self {
        let path = (path != Path::new(":memory:")).then(|| path.to_owned());
        let budget = Duration::from_secs(5);
        let keys = StoredKeys::default();
        Self { settings: Settings { path, keys, budget, sync_every_commit: false, max_bytes: None } }
    }

    /// How long a call may wait while other processes, or other connections of this one, hold the file locked; 5 seconds by
    /// default. What was not begun by then ends with [`StoreErrorKind::Unavailable`](crate::StoreErrorKind::Unavailable),
    /// and nothing was done.
    ///
    /// Healthy processes hold the lock for less than a millisecond at a time.
    pub fn timeout(mut self, budget: Duration) -> Self {
        self.settings.budget = budget.min(LONGEST_BUDGET);
        self
    }

    /// Whether every commit waits until the disk has it; off by default.
    ///
    /// Without it, what was answered survives the end of any process, `kill -9` included, and a power cut can lose the last
    /// transactions; the file stays sound either way. With it nothing is lost, and a lone caller waits for the disk at each
    /// take.
    pub fn sync_every_commit(mut self, sync: bool) -> Self {
        self.settings.sync_every_commit = sync;
        self
    }

    /// Stores all keys as SHA-256 digests under `secret`, for keys that are personal data. All processes of a file need the
    /// same secret. Without one, keys of up to 64 bytes are stored as they are, longer ones as their SHA-256.
    pub fn hash_keys(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.settings.keys = StoredKeys::secret(secret.as_ref());
        self
    }

    /// The size that this store lets the file grow to, in bytes; without a bound by default. New keys are then refused with
    /// [`StoreErrorKind::Full`](crate::StoreErrorKind::Full) until idle ones have made room. The write-ahead log beside the
    /// file, some megabytes, is not counted.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.settings.max_bytes = Some(bytes);
        self
    }

    /// The store. The file is opened, or made, at its first use.
    ///
    /// # Errors
    /// [`StoreErrorKind::Config`](crate::StoreErrorKind::Config) where the path is empty or holds a zero byte.
    pub fn build(self) -> Result<SqliteStore, StoreError> {
        let mut settings = self.settings;
        if let Some(path) = settings.path.take() {
            let is_usable = !path.as_os_str().is_empty() && !path.as_os_str().as_encoded_bytes().contains(&0);
            // Absolute, so that it stays the same file when the process goes to another folder.
            let absolute = std::path::absolute(&path).ok().filter(|_| is_usable);
            settings.path = Some(absolute.ok_or(Fault::Path(path))?);
        }
        Ok(SqliteStore::of(settings))
    }
}

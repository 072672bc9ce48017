//! State in a file of this host, mapped by the processes that share it.

mod builder;
mod chain;
mod clock;
mod core;
mod decide;
mod error;
mod fast;
mod file;
mod fuse;
mod head;
mod layout;
mod map;
mod owner;
mod packed;
mod record;
mod restore;
mod slot;
mod step;
mod table;
#[cfg(test)]
mod tests;
mod usage;
mod wait;
mod words;

pub use builder::SharedStoreBuilder;
pub use usage::SharedUsage;

use self::{core::Core, decide::Ask, error::Fault, wait::Patience};
use super::{Adjust, Demand, LocalStore, Scope};
use crate::{Clock, Decision, KeyState, Timestamp, algorithm::Mode, error::StoreError};
use std::{fmt, path::Path, sync::Arc};

/// A store for the processes of one Linux host, without a server: a file that each of them maps.
///
/// ```
/// use limiter_core::{Limiter, SharedStore};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("limiter-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("limits");
/// // In every process, the same path: best on /dev/shm, which is memory.
/// let store = SharedStore::open(&path)?;
/// let limiter = Limiter::builder("100/min".parse()?).name("api").store(store).build();
/// assert_eq!(limiter.check("ada")?.remaining(), 99); // one less for all of them
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok(())
/// # }
/// ```
///
/// * A decision on one rate of a bucket or a fixed window is one compare-and-swap, without a lock, a system call or an
///   allocation. Others own their slots for a moment.
/// * A process can be killed at any instruction: what it had decided stays counted, what it had only begun is undone by
///   whoever comes next. One that is stopped inside a decision delays its key alone, up to
///   [`timeout`](SharedStoreBuilder::timeout); then a call on that key is an error of kind
///   [`Unavailable`](crate::StoreErrorKind::Unavailable).
/// * All processes read one clock: the wall time when the file was created, carried on by the machine's boot-time clock,
///   also through sleep. After a reboot it starts from the wall time again, never before the newest decision.
/// * Keys are not in the file: a key is its 128-bit SipHash under a random key that the file holds.
/// * At most [`max_keys`](SharedStoreBuilder::max_keys) keys have a state of their own. Idle ones make room as new ones
///   come; a live one is never evicted: what does not fit shares states, as in a [`MemoryStore`](crate::MemoryStore), and
///   is an error of kind [`Full`](crate::StoreErrorKind::Full) where there is no room for these either.
/// * An exact `sliding_log` above 10,000 units is refused: give its rate a
///   [`resolution`](crate::Rate::resolution). A log's decision takes a step for each of its entries.
///
/// Who shares a file must be of one kernel, one namespace of process ids and one of time: containers that share it share
/// these too (`--pid=container:…`), else opening it is an error. The file must not be cut short while it is open: the
/// kernel ends who then touches what is gone (SIGBUS). It can be removed; who opens the path then starts a new one. Put it in
/// a folder that only those may write to who share it.
#[derive(Clone)]
pub struct SharedStore(Arc<Core>);

impl SharedStore {
    /// Opens the file at `path`, or creates one for 65,536 keys: some 40 MB.
    ///
    /// # Errors
    /// By kind: `Config` (no such folder; a setting too large; in use where processes cannot see each other), `Format`
    /// (not such a file, one of another version, one cut short), `ReadOnly`, `Permission`, `Full` (no room on the disk),
    /// `Unavailable` (a stopped process is creating it). The error's source says more.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::builder().open(path)
    }

    /// A store with other settings.
    ///
    /// ```
    /// use limiter_core::SharedStore;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("limiter-doc-builder-{}", std::process::id()));
    /// let store = SharedStore::builder().max_keys(10_000).max_rates(1).open(&path)?;
    /// assert!(store.usage().max_keys >= 10_000);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn builder() -> SharedStoreBuilder {
        SharedStoreBuilder::default()
    }

    /// The path the file was opened at.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// How full the file is. Looks at each slot.
    #[must_use]
    pub fn usage(&self) -> SharedUsage {
        SharedUsage::of(&self.0)
    }
}

impl LocalStore for SharedStore {
    #[inline]
    fn take(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        if let [demand] = demands
            && let Some(decision) = self.0.decide_packed(demand, clock, Mode::Take)
        {
            return Ok(decision);
        }
        Ok(self.0.call(demands, clock, Ask::Take)?)
    }

    fn peek(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        if let [demand] = demands
            && let Some(decision) = self.0.decide_packed(demand, clock, Mode::Peek)
        {
            return Ok(decision);
        }
        Ok(self.0.call(demands, clock, Ask::Peek)?)
    }

    fn adjust(&self, demand: Demand<'_>, adjust: Adjust, clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        Ok(self.0.call(&[demand], clock, Ask::Adjust(adjust))?)
    }

    fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError> {
        let name = self.0.name(scope, key);
        let mut patience = Patience::default();
        while let Some(found) = self.0.find(name, &mut patience)? {
            if self.0.free(&found, &mut patience)? {
                break;
            }
            patience.attempt(self.0.budget).map_err(|waited| Fault::Contended { waited })?;
        }
        Ok(())
    }

    fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError> {
        self.0.end_dead_steps()?;
        let slots = self.0.layout.slots();
        let now = self.0.time(clock);
        self.0.reclaim(self.0.layout.overflow_slots(), now)?;
        Ok(self.0.reclaim(0..slots - self.0.layout.overflow, now)?)
    }

    fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
        Ok(self.0.time(clock))
    }

    fn is_same(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }

    fn snapshot(&self, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
        self.0.snapshot(demand, clock).ok()
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStore").field("path", &self.0.path).finish_non_exhaustive()
    }
}

//! The store.

use super::{
    builder::{Settings, SqliteStoreBuilder},
    error::{Fault, shared},
    queue::{Asked, Queue, Reply, Work},
};
use crate::{
    Clock, Decision, KeyState, StoreError, StoreErrorKind, Timestamp,
    algorithm::Mode,
    store::{Adjust, Demand, Scope, Store},
};
use std::{fmt, path::Path, sync::Arc};

#[doc = include_str!("guide.md")]
#[derive(Clone)]
pub struct SqliteStore(Arc<Handle>);

/// What clones share; the last one's drop lets the thread end.
struct Handle {
    settings: Arc<Settings>,
    queue: Arc<Queue>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The most demands of one decision: as many as [`Decision::denied`] can tell apart.
const MOST_DEMANDS: usize = 64;

impl SqliteStore {
    /// A store in the file at `path`, which is made if it is not there; `":memory:"` is a database in memory, for tests.
    ///
    /// The file is opened at the first call. [`ready`](Self::ready) does that, and says what is wrong with it.
    ///
    /// # Errors
    /// [`StoreErrorKind::Config`] where the path is empty or holds a zero byte.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::builder(path).build()
    }

    /// A store with other settings.
    pub fn builder(path: impl AsRef<Path>) -> SqliteStoreBuilder {
        SqliteStoreBuilder::new(path.as_ref())
    }

    pub(super) fn of(settings: Settings) -> Self {
        Self(Arc::new(Handle { settings: Arc::new(settings), queue: Arc::new(Queue::new()) }))
    }

    /// Opens the file, or makes it, and writes to it, so that what is wrong is known before the first request.
    ///
    /// ```
    /// use limiter_core::{SqliteStore, StoreErrorKind};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = SqliteStore::new("/no/such/folder/limits.db")?;
    /// let error = store.ready().await.unwrap_err();
    /// assert_eq!(error.kind(), StoreErrorKind::Config);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// * [`StoreErrorKind::Config`]: the folder is not there, the path is a folder, or its file system cannot keep a
    ///   write-ahead log.
    /// * [`StoreErrorKind::Permission`], [`StoreErrorKind::ReadOnly`]: the file or its folder may not be written.
    /// * [`StoreErrorKind::Format`]: not a database, another application's, or a later release's.
    /// * [`StoreErrorKind::Full`]: the disk is full, or the file as large as it may be.
    /// * [`StoreErrorKind::Unavailable`]: the file stayed locked.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.ask(Work::Check, None).await.map(|_| ())
    }

    async fn ask(&self, work: Work, clock: Option<&dyn Clock>) -> Result<Reply, StoreError> {
        let promised = self.0.queue.push(&self.0.settings, work, clock)?;
        promised.await.ok_or(Fault::Lost)?.map_err(|fault| shared(&fault))
    }

    async fn decide(
        &self,
        demands: &[Demand<'_>],
        clock: Option<&dyn Clock>,
        mode: Mode,
    ) -> Result<Decision, StoreError> {
        if demands.len() > MOST_DEMANDS {
            return Err(StoreError::new(StoreErrorKind::TooManyDemands));
        }
        let names_twice = |(i, demand): (usize, &Demand<'_>)| {
            demands.iter().take(i).any(|earlier| earlier.key == demand.key && earlier.scope == demand.scope)
        };
        if demands.iter().enumerate().any(names_twice) {
            return Err(StoreError::new(StoreErrorKind::DuplicateKey));
        }
        let asked = demands.iter().map(|demand| self.asked(demand)).collect();
        self.ask(Work::Decide { mode, asked }, clock).await?.decision()
    }

    fn asked(&self, demand: &Demand<'_>) -> Asked {
        let (key, quota) = (self.stored(demand.key), demand.quota.clone());
        Asked { scope: demand.scope.clone(), key, quota, cost: demand.cost, basis: demand.basis() }
    }

    fn stored(&self, key: &[u8]) -> Vec<u8> {
        self.0.settings.keys.store(key).into_vec()
    }
}

impl Store for SqliteStore {
    async fn take(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.decide(demands, clock, Mode::Take).await
    }

    async fn peek(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.decide(demands, clock, Mode::Peek).await
    }

    async fn adjust(
        &self,
        demand: Demand<'_>,
        adjust: Adjust,
        clock: Option<&dyn Clock>,
    ) -> Result<Decision, StoreError> {
        self.ask(Work::Adjust { asked: self.asked(&demand), adjust }, clock).await?.decision()
    }

    async fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError> {
        let work = Work::Reset { scope: scope.clone(), key: self.stored(key) };
        self.ask(work, None).await.map(|_| ())
    }

    async fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError> {
        match self.ask(Work::Sweep, clock).await? {
            Reply::Count(dropped) => Ok(dropped),
            _ => Err(Fault::Lost.into()),
        }
    }

    async fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
        if let Some(clock) = clock {
            return Ok(clock.now());
        }
        match self.ask(Work::Now, None).await? {
            Reply::Time(now) => Ok(now),
            _ => Err(Fault::Lost.into()),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    async fn snapshot(&self, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
        match self.ask(Work::Snapshot { asked: self.asked(&demand) }, clock).await {
            Ok(Reply::State(state, now)) => Some((*state, now)),
            _ => None,
        }
    }
}

impl Reply {
    fn decision(self) -> Result<Decision, StoreError> {
        match self {
            Self::Decision(decision) => Ok(decision),
            _ => Err(Fault::Lost.into()),
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqliteStore").field(&self.0.settings).finish()
    }
}

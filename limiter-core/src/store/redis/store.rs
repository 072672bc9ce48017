//! The store.

use super::{
    builder::RedisStoreBuilder,
    error::Failure,
    ready::RedisWarning,
    work::{Adjusted, Asked, Work},
};
use crate::{
    Clock, Decision, KeyState, StoreError, StoreErrorKind, Timestamp,
    algorithm::{Mode, judge},
    store::{Adjust, Demand, Scope, Store, background},
};
use std::{fmt, future::Future, sync::Arc};

/// State on a Redis or Valkey server.
#[derive(Clone)]
pub struct RedisStore(pub(super) Arc<Work>);

/// The most demands of one decision: as many as [`Decision::denied`] can tell apart.
const MOST_DEMANDS: usize = 64;

impl RedisStore {
    /// A store at `url`, with the defaults of [`builder`](Self::builder). It connects at the first call.
    ///
    /// # Errors
    /// An address that cannot be read, of kind [`StoreErrorKind::Config`].
    pub fn new(url: &str) -> Result<Self, StoreError> {
        Self::builder(url).build()
    }

    /// A store with other settings.
    #[must_use]
    pub fn builder(url: &str) -> RedisStoreBuilder {
        RedisStoreBuilder::new(url)
    }

    /// Connects, and checks all that can be wrong with the server.
    ///
    /// # Errors
    /// What would make every call fail.
    pub async fn ready(&self) -> Result<Vec<RedisWarning>, StoreError> {
        self.run(|work| async move { work.ready().await }).await
    }

    /// Runs `call` to its end on the background thread.
    async fn run<T, F>(&self, call: impl FnOnce(Arc<Work>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let work = call(Arc::clone(&self.0));
        background::run(async move { work.await.map_err(StoreError::from) }).await
    }

    fn asked(&self, demand: &Demand<'_>) -> Result<Asked, StoreError> {
        Asked::new(&self.0.names, demand).map_err(StoreError::from)
    }

    async fn decide(
        &self,
        demands: &[Demand<'_>],
        clock: Option<&dyn Clock>,
        mode: Mode,
    ) -> Result<Decision, StoreError> {
        let now = clock.map(Clock::now);
        if demands.len() > MOST_DEMANDS {
            return Err(StoreError::new(StoreErrorKind::TooManyDemands));
        }
        let asked = demands.iter().map(|demand| self.asked(demand)).collect::<Result<Vec<_>, _>>()?;
        let is_named_before = |(i, one): (usize, &Asked)| asked[..i].iter().any(|other| other.name == one.name);
        if asked.iter().enumerate().any(is_named_before) {
            return Err(StoreError::new(StoreErrorKind::DuplicateKey));
        }
        self.run(move |work| async move { work.decide_all(asked, now, mode).await }).await
    }
}

impl Store for RedisStore {
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
        let (asked, now) = (self.asked(&demand)?, clock.map(Clock::now));
        let adjust = move |work: Arc<Work>| async move {
            let deadline = work.deadline();
            Ok(match work.adjust(&asked, now, adjust, deadline).await? {
                Adjusted::Decision(decision) => decision,
                Adjusted::Answer(answer) => {
                    let demands: Vec<_> = answer.reports.into_iter().map(|report| (&asked.quota, 0, report)).collect();
                    judge(answer.now, &demands)
                }
            })
        };
        self.run(adjust).await
    }

    async fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError> {
        let name = self.0.names.name(scope, key);
        self.run(move |work| async move { work.reset(&name, work.deadline()).await }).await
    }

    async fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError> {
        let now = clock.map(Clock::now);
        self.run(move |work| async move { work.sweep(now).await }).await
    }

    async fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
        match clock {
            Some(clock) => Ok(clock.now()),
            None => self.run(|work| async move { work.time(work.deadline()).await }).await,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    async fn snapshot(&self, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
        let (asked, now) = (self.asked(&demand).ok()?, clock.map(Clock::now));
        self.run(move |work| async move { work.snapshot(&asked, now, work.deadline()).await }).await.ok()?
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("address", self.0.servers.address())
            .field("names", &self.0.names)
            .field("budget", &self.0.budget)
            .finish_non_exhaustive()
    }
}

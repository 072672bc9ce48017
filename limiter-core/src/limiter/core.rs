//! What the clones of a limiter share: the quota of each key, the store, the lines.

use super::heard::{Asking, Heard, Known};
use crate::{
    Clock, Decision, Error, KeyState, Quota, Timestamp,
    error::StoreError,
    store::{Adjust, Demand, LocalStore, Scope, Store},
    sync::{
        RwLock,
        atomic::{AtomicBool, Ordering},
    },
    wait::{Queues, Sleep, Task},
};
use std::{
    borrow::Cow,
    fmt,
    future::poll_fn,
    hash::{BuildHasher, RandomState},
    ops::Deref,
    sync::{Arc, PoisonError},
    time::Duration,
};

pub(crate) struct Core<S: Store> {
    pub(crate) store: S,
    pub(super) clock: Option<Arc<dyn Clock>>,
    pub(crate) sleep: Arc<dyn Sleep>,
    pub(crate) buffer: Duration,
    pub(super) jitter: Duration,
    pub(crate) max_wait: Option<Duration>,
    pub(crate) priority_step: Option<Duration>,
    pub(crate) queues: Arc<Queues>,
    pub(super) plan: Plans,
    pub(super) heard: Heard,
}

/// Which quota each key is under, and the name their states are kept by.
pub(crate) struct Plan {
    pub(super) scope: Scope,
    pub(super) rule: Rule,
}

pub(super) type ByKey = dyn Fn(&[u8]) -> Quota + Send + Sync;

/// What gives a key its quota.
#[derive(Clone)]
pub(super) enum Rule {
    One(Quota),
    ByKey(Arc<ByKey>),
}

/// The plan, which can be changed while it is used. Until it first is, reading it costs one atomic load.
pub(super) struct Plans {
    first: Arc<Plan>,
    is_changed: AtomicBool,
    changed: RwLock<Arc<Plan>>,
}

/// The plan that holds now: the first one needs no handle.
enum Held<'a> {
    First(&'a Plan),
    Newest(Arc<Plan>),
}

/// A plan with the quota it gives a key.
pub(crate) struct Planned<'a> {
    plan: Held<'a>,
    pub(crate) quota: Cow<'a, Quota>,
}

impl<S: Store> Core<S> {
    /// The decision where the store is in this process, unless somebody waits for the key; `None` sends the caller on.
    #[inline]
    pub(super) fn check_now(&self, key: &[u8], cost: u64) -> Option<Result<Decision, Error>> {
        if !self.store.is_local() || (cost > 0 && self.queues.has_refused(key)) {
            return None;
        }
        self.with_demand(key, cost, |demand| match fits(demand.quota, cost) {
            Ok(()) => Some(self.take_now(demand)?.map_err(Error::from)),
            Err(error) => Some(Err(error)),
        })
    }

    /// Runs `ask` with the demand of `cost` units for `key`.
    #[inline]
    pub(crate) fn with_demand<R>(&self, key: &[u8], cost: u64, ask: impl FnOnce(&Demand<'_>) -> R) -> R {
        self.plan.with(|plan| {
            let made;
            let quota = match &plan.rule {
                Rule::One(quota) => quota,
                Rule::ByKey(rule) => {
                    made = rule(key);
                    &made
                }
            };
            ask(&Demand::new(&plan.scope, key, quota, cost))
        })
    }

    /// The plan and the quota of `key` now, to keep while the store is asked.
    pub(crate) fn planned(&self, key: &[u8]) -> Planned<'_> {
        let plan = self.plan.held();
        let quota = match &plan {
            Held::First(Plan { rule: Rule::One(quota), .. }) => Cow::Borrowed(quota),
            Held::First(plan) => Cow::Owned(plan.rule.quota(key)),
            Held::Newest(plan) => Cow::Owned(plan.rule.quota(key)),
        };
        Planned { plan, quota }
    }

    pub(crate) fn quota(&self, key: &[u8]) -> Quota {
        self.planned(key).quota.into_owned()
    }

    /// A random part of the jitter that the limiter was given.
    pub(crate) fn some_jitter(&self) -> Duration {
        if self.jitter.is_zero() {
            return Duration::ZERO;
        }
        // Hashes of nothing under fresh random keys are random numbers.
        let random = RandomState::new().hash_one(()) >> 32;
        self.jitter.mul_f64(random as f64 / (f64::from(u32::MAX) + 1.0)) // below the whole, which may be all there is
    }

    pub(super) fn first_scope(&self) -> &Scope {
        &self.plan.first.scope
    }

    /// The quota of every key, where it is one and never was another.
    #[inline]
    pub(super) fn first_quota(&self) -> Option<&Quota> {
        match (&self.plan.first.rule, self.plan.is_changed.load(Ordering::Acquire)) {
            (Rule::One(quota), false) => Some(quota),
            _ => None,
        }
    }

    pub(crate) fn clock(&self) -> Option<&dyn Clock> {
        self.clock.as_deref()
    }

    #[inline]
    pub(crate) fn take_now(&self, demand: &Demand<'_>) -> Option<Result<Decision, StoreError>> {
        self.store.take_now(std::slice::from_ref(demand), self.clock())
    }

    /// The decision, and how often the limiter had been restarted when it was asked for.
    pub(crate) async fn take(&self, key: &[u8], cost: u64) -> Result<(Decision, u64), StoreError> {
        let planned = self.planned(key);
        Ok((self.take_as(&planned, key, cost).await?, planned.start()))
    }

    /// [`take`](Self::take) where the key's quota is known.
    pub(super) async fn take_as(&self, planned: &Planned<'_>, key: &[u8], cost: u64) -> Result<Decision, StoreError> {
        let decision = Store::take(&self.store, &[planned.demand(key, cost)], self.clock()).await?;
        self.hear(decision.at());
        Ok(decision)
    }

    /// Notes what time it is where the store is.
    fn hear(&self, now: Timestamp) {
        if !self.store.is_local() && self.clock.is_none() {
            self.heard.note(now);
        }
    }

    pub(crate) async fn now(&self) -> Result<Timestamp, StoreError> {
        Store::now(&self.store, self.clock()).await
    }

    /// Whether [`now`](Self::now) needs no call.
    pub(crate) fn knows_time(&self) -> bool {
        self.store.is_local() || self.clock.is_some()
    }

    /// [`now`](Self::now), without a call to a store that has answered lately, and with one for all who ask at once: for
    /// deadlines, late by a round trip.
    pub(crate) async fn roughly_now(self: &Arc<Self>) -> Result<Timestamp, StoreError> {
        if self.knows_time() {
            return self.now().await;
        }
        let question = match self.heard.known() {
            Known::Now(now) => return Ok(now),
            Known::Asked(question) => question,
            Known::Unknown(question) => {
                // In a task of its own: others wait for the answer too, whether or not this caller is polled again.
                let (core, asked) = (Arc::clone(self), Arc::clone(&question));
                Task::start(async move {
                    let mut asking = Asking { heard: &core.heard, question: asked, answer: None };
                    asking.answer = Some(core.now().await);
                });
                question
            }
        };
        poll_fn(|cx| question.poll(cx)).await
    }

    pub(crate) async fn snapshot(&self, key: &[u8]) -> Option<(KeyState, Timestamp)> {
        self.snapshot_by(key, self.clock()).await
    }

    /// [`snapshot`](Self::snapshot) by the clock of another limiter.
    pub(crate) async fn snapshot_by(&self, key: &[u8], clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
        Store::snapshot(&self.store, self.planned(key).demand(key, 0), clock).await
    }

    pub(crate) async fn adjust(&self, key: &[u8], cost: u64, adjust: Adjust) -> Result<Decision, Error> {
        self.adjust_as(&self.planned(key), key, cost, adjust).await
    }

    async fn adjust_as(&self, planned: &Planned<'_>, key: &[u8], cost: u64, adjust: Adjust) -> Result<Decision, Error> {
        let decision = Store::adjust(&self.store, planned.demand(key, cost), adjust, self.clock()).await?;
        self.queues.nudge(key);
        Ok(decision)
    }

    pub(crate) async fn reset(&self, key: &[u8]) -> Result<(), Error> {
        Store::reset(&self.store, &self.plan.get().scope, key).await?;
        self.queues.nudge(key);
        Ok(())
    }

    /// How often the limiter was restarted: what was granted before knows nothing of what is in use now.
    pub(crate) fn start(&self) -> u64 {
        self.plan.with(|plan| plan.scope.start())
    }

    /// [`adjust`](Self::adjust) for units granted when the limiter had been restarted `start` times.
    pub(crate) async fn adjust_granted(
        &self,
        start: u64,
        key: &[u8],
        cost: u64,
        adjust: Adjust,
    ) -> Result<Decision, Error> {
        let planned = self.planned(key);
        if planned.start() == start {
            return self.adjust_as(&planned, key, cost, adjust).await;
        }
        Ok(Store::peek(&self.store, &[planned.demand(key, 0)], self.clock()).await?)
    }

    /// The denial of a request that would overtake those who wait.
    #[cold]
    pub(super) async fn behind_waiters(&self, planned: Planned<'_>, key: &[u8], cost: u64) -> Result<Decision, Error> {
        let decision = Store::peek(&self.store, &[planned.demand(key, cost)], self.clock()).await?;
        Ok(self.refuse_for_waiters(key, &planned.quota, (0, cost), decision, self.snapshot(key).await))
    }

    /// Turns what a peek found into the denial of demand `place`, of `cost` units, for the sake of those who wait.
    pub(super) fn refuse_for_waiters(
        &self,
        key: &[u8],
        quota: &Quota,
        (place, cost): (usize, u64),
        decision: Decision,
        state: Option<(KeyState, Timestamp)>,
    ) -> Decision {
        let expected = self.queues.expected(key, quota, cost, state);
        let wait = expected.map(|at| at.saturating_since(decision.at()));
        let least = decision.retry_after().unwrap_or_default();
        decision.refused_for_waiters(place, wait.unwrap_or_default().max(least))
    }
}

impl<S: LocalStore> Core<S> {
    /// The decision of a store in this process, whether or not anybody waits for the key.
    ///
    /// The answer is written once, where the caller wants it: what is called on the way is inlined.
    #[inline]
    pub(super) fn check_here(&self, key: &[u8], cost: u64) -> Result<Decision, Error> {
        self.with_demand(key, cost, |demand| {
            fits(demand.quota, cost)?;
            Ok(self.store.take(std::slice::from_ref(demand), self.clock())?)
        })
    }
}

impl Rule {
    fn quota(&self, key: &[u8]) -> Quota {
        match self {
            Self::One(quota) => quota.clone(),
            Self::ByKey(rule) => rule(key),
        }
    }
}

impl Plans {
    pub(super) fn new(plan: Plan) -> Self {
        let first = Arc::new(plan);
        Self { changed: RwLock::new(Arc::clone(&first)), first, is_changed: AtomicBool::new(false) }
    }

    pub(super) fn get(&self) -> Arc<Plan> {
        if self.is_changed.load(Ordering::Acquire) { self.newest() } else { Arc::clone(&self.first) }
    }

    /// Puts another plan in place of the one there is, as a whole: of two changes at once neither undoes the other.
    pub(super) fn change(&self, make: impl FnOnce(&Plan) -> Plan) {
        let mut plan = self.changed.write().unwrap_or_else(PoisonError::into_inner);
        *plan = Arc::new(make(&plan));
        self.is_changed.store(true, Ordering::Release);
    }

    pub(super) fn name(&self) -> &str {
        // A change keeps the name: only what stands behind it, after a fresh start, differs.
        self.first.scope.name()
    }

    #[inline]
    fn with<R>(&self, use_plan: impl FnOnce(&Plan) -> R) -> R {
        use_plan(&self.held())
    }

    #[inline]
    fn held(&self) -> Held<'_> {
        if self.is_changed.load(Ordering::Acquire) { Held::Newest(self.newest()) } else { Held::First(&self.first) }
    }

    #[cold]
    fn newest(&self) -> Arc<Plan> {
        Arc::clone(&self.changed.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Deref for Held<'_> {
    type Target = Plan;

    #[inline]
    fn deref(&self) -> &Plan {
        match self {
            Self::First(plan) => plan,
            Self::Newest(plan) => plan,
        }
    }
}

impl Planned<'_> {
    /// How often the limiter had been restarted when this was its plan.
    pub(crate) fn start(&self) -> u64 {
        self.plan.scope.start()
    }

    pub(crate) fn demand<'a>(&'a self, key: &'a [u8], cost: u64) -> Demand<'a> {
        Demand::new(&self.plan.scope, key, &self.quota, cost)
    }
}

/// The error of a cost that `quota` can never hold.
pub(crate) fn never_fits(quota: &Quota, cost: u64) -> Error {
    Error::NeverFits { cost, capacity: quota.capacity(), part: None }
}

/// Refuses a cost that `quota` can never hold.
#[inline]
pub(crate) fn fits(quota: &Quota, cost: u64) -> Result<(), Error> {
    if cost > quota.capacity() { Err(never_fits(quota, cost)) } else { Ok(()) }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(quota) => quota.fmt(f),
            Self::ByKey(_) => f.write_str("by key"),
        }
    }
}

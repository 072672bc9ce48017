//! What the clones of a limiter share: the quota of each key, the store, the lines.

use super::heard::{Asking, Heard, Known};
use crate::{
    Clock, Decision, Error, KeyState, Quota, Timestamp,
    error::{StoreError, StoreErrorKind},
    store::{Adjust, Demand, Granted, LocalStore, Lookup, Resets, Scope, Store, Term},
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
    pub(super) resets: Arc<Resets>,
    pub(super) heard: Heard,
}

/// Which quota each key is under, and the name their states are kept by.
pub(crate) struct Plan {
    scope: Scope,
    pub(super) rule: Rule,
    /// It ends when another plan is in force.
    term: Term,
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
            Ok(()) => Some(self.take_now(demand)?.or_else(|error| self.take_again(demand, error))),
            Err(error) => Some(Err(error)),
        })
    }

    /// What is to be said of `demand`, for which a store in this process had but an error: where the quota was changed
    /// meanwhile, the decision under the new one.
    #[cold]
    pub(crate) fn take_again(&self, demand: &Demand<'_>, error: StoreError) -> Result<Decision, Error> {
        let (key, cost) = (demand.key, demand.cost);
        let mut answer = Err(error);
        let mut is_over = is_outdated(&answer, &[*demand]);
        while is_over {
            let planned = self.planned(key);
            fits(&planned.quota, cost)?;
            let demand = planned.demand(key, cost);
            let Some(next) = self.take_now(&demand) else { break };
            is_over = is_outdated(&next, &[demand]);
            answer = next;
        }
        Ok(answer?)
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
            ask(&plan.demand(key, quota, cost))
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

    /// Where the store expects a key under the first plan, if it can say.
    pub(super) fn look_up(&self, key: &[u8]) -> Option<Lookup> {
        self.store.look_up(&self.plan.first.scope, key)
    }

    /// The demand on a key under the first plan, where that has one quota for all keys and is still in force.
    #[inline]
    pub(super) fn first_demand<'a>(&'a self, key: &'a [u8], cost: u64) -> Option<Demand<'a>> {
        match (&self.plan.first.rule, self.plan.is_changed.load(Ordering::Acquire)) {
            (Rule::One(quota), false) => Some(self.plan.first.demand(key, quota, cost)),
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

    pub(crate) async fn take(&self, key: &[u8], cost: u64) -> Result<Decision, StoreError> {
        loop {
            if let Some(answer) = self.take_as(&self.planned(key), key, cost).await {
                return answer;
            }
        }
    }

    /// [`take`](Self::take) where the key's quota is known; `None` where it was changed meanwhile.
    pub(super) async fn take_as(
        &self,
        planned: &Planned<'_>,
        key: &[u8],
        cost: u64,
    ) -> Option<Result<Decision, StoreError>> {
        let demand = planned.demand(key, cost);
        let answer = Store::take(&self.store, &[demand], self.clock()).await;
        if is_outdated(&answer, &[demand]) {
            return None;
        }
        Some(answer.inspect(|decision| self.hear(decision.at())))
    }

    /// The same without taking anything.
    pub(super) async fn peek_as(
        &self,
        planned: &Planned<'_>,
        key: &[u8],
        cost: u64,
    ) -> Option<Result<Decision, StoreError>> {
        let demand = planned.demand(key, cost);
        let answer = Store::peek(&self.store, &[demand], self.clock()).await;
        (!is_outdated(&answer, &[demand])).then_some(answer)
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
        loop {
            let planned = self.planned(key);
            let demand = planned.demand(key, 0);
            let state = Store::snapshot(&self.store, demand, clock).await;
            if state.is_some() || demand.holds() {
                return state;
            }
        }
    }

    pub(crate) async fn adjust(&self, key: &[u8], cost: u64, adjust: Adjust) -> Result<Decision, Error> {
        loop {
            let planned = self.planned(key);
            let demand = planned.demand(key, cost);
            let answer = Store::adjust(&self.store, demand, adjust, self.clock()).await;
            if !is_outdated(&answer, &[demand]) {
                let decision = answer?;
                self.queues.nudge(key);
                return Ok(decision);
            }
        }
    }

    pub(crate) async fn reset(&self, key: &[u8]) -> Result<(), Error> {
        let resetting = self.resets.begin(key);
        Store::reset(&self.store, &self.plan.get().scope, key).await?;
        drop(resetting);
        self.queues.nudge(key);
        Ok(())
    }

    /// The count of resets and restarts: to be noted before units are asked for that may be given back.
    #[inline]
    pub(crate) fn resets(&self) -> u64 {
        self.resets.count()
    }

    /// [`adjust`](Self::adjust) for units asked for when [`resets`](Self::resets) was `since`: of what has been forgotten
    /// since nothing is given back.
    pub(crate) async fn adjust_granted(
        &self,
        since: u64,
        key: &[u8],
        cost: u64,
        adjust: Adjust,
    ) -> Result<Decision, Error> {
        let granted = Granted { resets: &self.resets, since };
        loop {
            let planned = self.planned(key);
            match adjust {
                Adjust::Restamp { .. } if granted.is_forgotten(key) => {
                    return self.adjust(key, cost, Adjust::Charge).await;
                }
                _ if granted.is_forgotten(key) => match self.peek_as(&planned, key, 0).await {
                    Some(answer) => return Ok(answer?),
                    None => continue,
                },
                _ => {}
            }
            let demand = planned.demand(key, cost).granted(&granted);
            let answer = Store::adjust(&self.store, demand, adjust, self.clock()).await;
            if !is_outdated(&answer, &[demand]) {
                let decision = answer?;
                self.queues.nudge(key);
                return Ok(decision);
            }
        }
    }

    /// The denial of a request that would overtake those who wait; `None` where the quota was changed meanwhile.
    #[cold]
    pub(super) async fn behind_waiters(
        &self,
        planned: Planned<'_>,
        key: &[u8],
        cost: u64,
    ) -> Option<Result<Decision, StoreError>> {
        let decision = match self.peek_as(&planned, key, cost).await? {
            Ok(decision) => decision,
            error => return Some(error),
        };
        Some(Ok(self.refuse_for_waiters(key, &planned.quota, (0, cost), decision, self.snapshot(key).await)))
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
            let answer = self.store.take(std::slice::from_ref(demand), self.clock());
            answer.or_else(|error| self.take_again(demand, error))
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

impl Plan {
    fn new(scope: Scope, rule: Rule) -> Arc<Self> {
        Arc::new(Self { scope, rule, term: Term::new() })
    }

    #[inline]
    fn demand<'a>(&'a self, key: &'a [u8], quota: &'a Quota, cost: u64) -> Demand<'a> {
        Demand::new(&self.scope, key, quota, cost).during(&self.term)
    }
}

impl Plans {
    pub(super) fn new(name: impl Into<Box<str>>, rule: Rule) -> Self {
        let first = Plan::new(Scope::new(name), rule);
        Self { changed: RwLock::new(Arc::clone(&first)), first, is_changed: AtomicBool::new(false) }
    }

    pub(super) fn get(&self) -> Arc<Plan> {
        if self.is_changed.load(Ordering::Acquire) { self.newest() } else { Arc::clone(&self.first) }
    }

    /// Puts another rule in place of the one there is.
    pub(super) fn change(&self, rule: Rule) {
        self.replace(|plan| Plan::new(plan.scope.clone(), rule));
    }

    /// The same with states of its own. What was granted before is forgotten.
    pub(super) fn restart(&self, rule: Rule, resets: &Resets) {
        self.replace(|plan| {
            resets.forget_all();
            Plan::new(plan.scope.next(), rule)
        });
    }

    /// Puts another plan in place of the one there is, as a whole: of two changes at once neither undoes the other.
    fn replace(&self, make: impl FnOnce(&Plan) -> Arc<Plan>) {
        let mut plan = self.changed.write().unwrap_or_else(PoisonError::into_inner);
        // Who finds this set waits for the lock; before anybody sees the new plan, the old one has ended for all.
        self.is_changed.store(true, Ordering::Release);
        plan.term.end();
        *plan = make(&plan);
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
    pub(crate) fn demand<'a>(&'a self, key: &'a [u8], cost: u64) -> Demand<'a> {
        self.plan.demand(key, &self.quota, cost)
    }
}

/// Whether a store answered that what `demands` rest on has changed: they are to be made anew.
#[inline]
pub(super) fn is_outdated(answer: &Result<Decision, StoreError>, demands: &[Demand<'_>]) -> bool {
    matches!(answer, Err(error) if error.kind() == StoreErrorKind::Outdated) && !demands.iter().all(Demand::holds)
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

//! What the thread owns, and what one message does with it.

use limiter_core::{
    Clock, Decision, KeyState, MonotonicClock, Quota, StoreError, StoreErrorKind, Timestamp,
    algorithm::{Mode, View, decide},
    store::{Adjust, Basis, Demand, Scope},
};
use std::collections::{BTreeMap, BTreeSet};

/// The states of all keys, in order.
pub(crate) struct States {
    keys: BTreeMap<Name, (Quota, KeyState)>,
    clock: MonotonicClock,
}

/// The limiter and the key, whole. The hash tells a limiter that was restarted from what it was before.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    limiter: String,
    start: u64,
    key: Vec<u8>,
}

impl Name {
    pub(crate) fn new(scope: &Scope, key: &[u8]) -> Self {
        Self { limiter: scope.name().into(), start: scope.hash(), key: key.into() }
    }
}

/// A demand that can be sent: a [`Demand`] borrows from its caller, who may be gone before the message is read.
pub(crate) struct Part {
    name: Name,
    quota: Quota,
    cost: u64,
    basis: Basis,
}

impl From<&Demand<'_>> for Part {
    fn from(demand: &Demand<'_>) -> Self {
        let (name, quota) = (Name::new(demand.scope, demand.key), demand.quota.clone());
        Self { name, quota, cost: demand.cost, basis: demand.basis() }
    }
}

impl Part {
    /// Refuses what came late: the quota was changed, or the key reset, while the message was under way. The limiter sends
    /// another one.
    fn holds(&self) -> Result<(), StoreError> {
        if self.basis.holds() { Ok(()) } else { Err(StoreError::new(StoreErrorKind::Outdated)) }
    }
}

impl States {
    pub(crate) fn new() -> Self {
        Self { keys: BTreeMap::new(), clock: MonotonicClock::new() }
    }

    /// The time: the store's own is read here, where nothing can come between it and the decision.
    pub(crate) fn time(&self, injected: Option<Timestamp>) -> Timestamp {
        injected.unwrap_or_else(|| self.clock.now())
    }

    /// The state under the part's quota. Units in use stay so when the quota has changed.
    pub(crate) fn load(&self, part: &Part, now: Timestamp) -> KeyState {
        match self.keys.get(&part.name) {
            Some((quota, state)) if *quota == part.quota => state.clone(),
            Some((old, state)) => state.carried_over(old, &part.quota, now),
            None => KeyState::default(), // as good as a key that was never seen
        }
    }

    pub(crate) fn decide(&mut self, parts: Vec<Part>, now: Timestamp, mode: Mode) -> Result<Decision, StoreError> {
        parts.iter().try_for_each(Part::holds)?;
        let mut states: Vec<KeyState> = parts.iter().map(|part| self.load(part, now)).collect();
        let mut views: Vec<View<'_>> = parts
            .iter()
            .zip(&mut states)
            .map(|(part, state)| View { quota: &part.quota, state, cost: part.cost })
            .collect();
        let decision = decide(&mut views, now, mode);
        let could_fit = mode == Mode::Take && decision.retry_after().is_some();
        for (part, state) in parts.into_iter().zip(states) {
            // What is kept under this quota is kept as `decide` left it: a denied take may pull it back to the time. A
            // change of the quota is written by who asks for units, granted or not, so that the wait told holds; not by
            // who looks.
            let is_kept = self.keys.get(&part.name).is_some_and(|(quota, _)| *quota == part.quota);
            if is_kept || (could_fit && part.cost > 0 && !state.is_untouched()) {
                self.keys.insert(part.name, (part.quota, state));
            }
        }
        Ok(decision)
    }

    pub(crate) fn adjust(&mut self, part: Part, adjust: Adjust, now: Timestamp) -> Result<Decision, StoreError> {
        part.holds()?;
        let mut state = self.load(&part, now);
        let decision = state.adjust(&part.quota, now, part.cost, adjust);
        self.keys.insert(part.name, (part.quota, state));
        Ok(decision)
    }

    pub(crate) fn reset(&mut self, name: &Name) {
        self.keys.remove(name);
    }

    /// An idle key says no more than a key that was never seen.
    pub(crate) fn sweep(&mut self, now: Timestamp) -> usize {
        let before = self.keys.len();
        self.keys.retain(|_, (quota, state)| !state.is_idle(quota, now));
        before - self.keys.len()
    }
}

/// The parts of one decision. No key may be among them twice: each of the two would be decided without the other.
pub(crate) fn parts(demands: &[Demand<'_>]) -> Result<Vec<Part>, StoreError> {
    if demands.len() > 64 {
        return Err(StoreError::new(StoreErrorKind::TooManyDemands));
    }
    let parts: Vec<Part> = demands.iter().map(Part::from).collect();
    let names: BTreeSet<&Name> = parts.iter().map(|part| &part.name).collect();
    if names.len() < parts.len() {
        return Err(StoreError::new(StoreErrorKind::DuplicateKey));
    }
    Ok(parts)
}

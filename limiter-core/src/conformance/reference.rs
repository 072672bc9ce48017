//! What a store must answer: states in a map, and the crate's own arithmetic.

use crate::{
    Decision, KeyState, Quota, Timestamp,
    algorithm::{Mode, View, decide},
    store::{Adjust, Demand, Scope},
};
use std::collections::HashMap;

/// The reference: a state a key, and the quota each was made under.
#[derive(Clone, Default)]
pub(super) struct Reference(HashMap<Name, (Quota, KeyState)>);

/// A limiter's name and a key, whole, and between them the hash, which changes when the limiter is restarted.
type Name = (Box<str>, u64, Box<[u8]>);

fn name(scope: &Scope, key: &[u8]) -> Name {
    (scope.name().into(), scope.hash(), key.into())
}

impl Reference {
    /// The state under the demand's quota, and whether it was made under another one.
    pub(super) fn state(&self, demand: &Demand<'_>, now: Timestamp) -> (KeyState, bool) {
        match self.0.get(&name(demand.scope, demand.key)) {
            None => (KeyState::default(), false),
            Some((quota, state)) if quota == demand.quota => (state.clone(), false),
            Some((quota, state)) => (state.carried_over(quota, demand.quota, now), true),
        }
    }

    fn keep(&mut self, demand: &Demand<'_>, state: KeyState) {
        self.0.insert(name(demand.scope, demand.key), (demand.quota.clone(), state));
    }

    pub(super) fn decide(&mut self, demands: &[Demand<'_>], now: Timestamp, mode: Mode) -> Decision {
        let mut states: Vec<(KeyState, bool)> = demands.iter().map(|demand| self.state(demand, now)).collect();
        let mut views: Vec<View<'_>> = demands
            .iter()
            .zip(&mut states)
            .map(|(demand, (state, _))| View { quota: demand.quota, state, cost: demand.cost })
            .collect();
        let decision = decide(&mut views, now, mode);
        if mode == Mode::Take {
            for (demand, (state, is_carried)) in demands.iter().zip(states) {
                // A change of quota is written by who asks to take, also when denied, so that the wait that is told holds.
                let asks = decision.retry_after().is_some() && demand.cost > 0;
                if (asks && !state.is_untouched()) || !(is_carried || state.is_untouched()) {
                    self.keep(demand, state);
                }
            }
        }
        decision
    }

    pub(super) fn adjust(&mut self, demand: Demand<'_>, adjust: Adjust, now: Timestamp) -> Decision {
        let (mut state, _) = self.state(&demand, now);
        let decision = state.adjust(demand.quota, now, demand.cost, adjust);
        self.keep(&demand, state);
        decision
    }

    pub(super) fn reset(&mut self, scope: &Scope, key: &[u8]) {
        self.0.remove(&name(scope, key));
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.0.retain(|_, (quota, state)| !state.is_idle(quota, now));
    }
}

/// Where two states of a key answer or change differently, now or later; equal cells kept in another form do not.
pub(super) fn difference(quota: &Quota, now: Timestamp, want: &KeyState, got: &KeyState) -> Option<String> {
    let look = |state: &KeyState, at: Timestamp, cost: u64| {
        decide(&mut [View { quota, state: &mut state.clone(), cost }], at, Mode::Peek)
    };
    let reset = look(want, now, 0).reset_after();
    for after in
        [0, 1, 2, 4].map(|part| if part == 0 { reset } else { reset / part }).into_iter().chain([Default::default()])
    {
        let at = now.saturating_add(after);
        for cost in [0, 1, quota.capacity().div_ceil(2), quota.capacity()] {
            let (want, got) = (look(want, at, cost), look(got, at, cost));
            if want != got {
                return Some(format!("of it a peek of {cost} at {at:?}: expected {want:?}, got {got:?}"));
            }
        }
    }
    for cost in [1, quota.capacity()] {
        let refund = |state: &KeyState| state.clone().adjust(quota, now, cost, Adjust::Refund { taken: now });
        let (want, got) = (refund(want), refund(got));
        if want != got {
            return Some(format!("of it a refund of {cost}: expected {want:?}, got {got:?}"));
        }
    }
    None
}

//! The decision over one or several keys, all or nothing.

use super::{Bank, KeyState, Level, Meter, state::with_cells};
use crate::{Decision, Quota, Rate, RateState, clock::Timestamp};
use smallvec::SmallVec;

/// What a decision does with the units it finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Takes them where every demand admits.
    Take,
    /// Looks only.
    Peek,
}

/// A demand beside the state it is decided on.
#[derive(Debug)]
pub struct View<'a> {
    /// The quota.
    pub quota: &'a Quota,
    /// The key's state, made under this quota or fresh.
    pub state: &'a mut KeyState,
    /// The units asked for.
    pub cost: u64,
}

/// Decides over `views` at `now`: admitted only if every rate of every view admits; a denial takes nothing anywhere.
///
/// This is the one place decisions are made; a store calls it inside its atomic step and keeps what it changed. Only
/// an admitted take of a cost above 0 writes, save that a take which finds a state too far ahead of `now` (a clock
/// that stepped back) pulls it back, also when it is denied. A cost of 0 is always admitted; one above a quota's
/// capacity never, and [`Decision::retry_after`] is then `None`.
///
/// Cost: a few integer operations a rate; it allocates only as a log grows, and for more than two rates.
pub fn decide(views: &mut [View<'_>], now: Timestamp, mode: Mode) -> Decision {
    let at = now.as_micros();
    let mut decision = Decision::with_rates(now, views.iter().map(|view| view.quota.rates().len()).sum());
    for (index, view) in views.iter().enumerate() {
        decision.add_wait(index, wait(view, at));
    }
    if mode == Mode::Take && decision.could_fit() {
        let admitted = decision.allowed();
        for view in views.iter_mut().filter(|view| view.cost > 0) {
            settle(view, at, admitted);
        }
    }
    for (index, view) in views.iter().enumerate() {
        add_levels(&mut decision, index, view, at);
    }
    decision
}

/// [`decide`] on one key under one rate, with no block: the same answer in fewer steps.
#[inline]
pub(crate) fn decide_one<M: Meter>(
    meter: &M,
    rate: &Rate,
    state: &mut M::State,
    now: Timestamp,
    cost: u64,
    mode: Mode,
) -> Decision {
    let at = now.as_micros();
    let wait = match cost {
        0 => Some(0),
        cost if cost > meter.capacity() => None,
        cost => Some(meter.wait(state, at, cost)),
    };
    if mode == Mode::Take && cost > 0 {
        match wait {
            Some(0) => meter.take(state, at, cost),
            Some(_) if meter.is_ahead(state, at) => meter.take(state, at, 0),
            _ => {}
        }
    }
    let level = meter.level(state, at);
    let next_unit = if level.remaining > 0 { 0 } else { meter.wait(state, at, 1) };
    Decision::of_one(now, wait, RateState::new(0, rate, level, wait.unwrap_or(0), next_unit))
}

/// All that a key has, one rate's state without a block, beside a demand on it.
pub(crate) struct Single<'a, M: Meter> {
    pub(crate) meter: &'a M,
    pub(crate) rate: &'a Rate,
    pub(crate) state: M::State,
    pub(crate) cost: u64,
}

/// [`decide`] on several such keys: the same answer in fewer steps.
pub(crate) fn decide_singles<M: Meter>(singles: &mut [Single<'_, M>], now: Timestamp, mode: Mode) -> Decision {
    let at = now.as_micros();
    let mut decision = Decision::with_rates(now, singles.len());
    let mut waits: SmallVec<[u64; 8]> = SmallVec::new();
    for (index, single) in singles.iter().enumerate() {
        let wait = single.wait(at);
        decision.add_wait(index, wait);
        waits.push(wait.unwrap_or(0));
    }
    if mode == Mode::Take && decision.could_fit() {
        let admitted = decision.allowed();
        for single in singles.iter_mut().filter(|single| single.cost > 0) {
            if admitted {
                single.meter.take(&mut single.state, at, single.cost);
            } else if single.meter.is_ahead(&single.state, at) {
                single.meter.take(&mut single.state, at, 0);
            }
        }
    }
    for (index, (single, wait)) in singles.iter().zip(waits).enumerate() {
        let level = single.meter.level(&single.state, at);
        let next_unit = if level.remaining > 0 { 0 } else { single.meter.wait(&single.state, at, 1) };
        decision.add_rate(RateState::new(index, single.rate, level, wait, next_unit));
    }
    decision
}

impl<M: Meter> Single<'_, M> {
    fn wait(&self, at: u64) -> Option<u64> {
        match self.cost {
            0 => Some(0),
            cost if cost > self.meter.capacity() => None,
            cost => Some(self.meter.wait(&self.state, at, cost)),
        }
    }
}

/// The time until the view's cost fits; `None` if it never can.
pub(super) fn wait(view: &View<'_>, now: u64) -> Option<u64> {
    if view.cost > view.quota.capacity() {
        return None;
    }
    if view.cost == 0 {
        return Some(0);
    }
    let blocked = view.state.blocked_until.saturating_sub(now);
    let longest = with_cells!(
        view.quota,
        &view.state.cells,
        |bank, state| (0..bank.len()).map(|i| bank.wait(i, state, now, view.cost)).max(),
        None
    );
    Some(blocked.max(longest.unwrap_or(0)))
}

/// Writes what a take writes: the units where it is admitted, else only the pull back of what lies too far ahead.
pub(super) fn settle(view: &mut View<'_>, now: u64, admitted: bool) {
    if admitted {
        view.state.prepare(view.quota);
    }
    with_cells!(
        view.quota,
        &mut view.state.cells,
        |bank, state| if admitted { bank.take(state, now, view.cost) } else { bank.pull_back(state, now) },
        ()
    );
}

fn add_levels(decision: &mut Decision, demand: usize, view: &View<'_>, now: u64) {
    let blocked = view.state.blocked_until.saturating_sub(now);
    decision.add_block(blocked);
    let asks = if decision.allowed() || view.cost > view.quota.capacity() { 0 } else { view.cost };
    let rates = view.quota.rates().iter();
    with_cells!(
        view.quota,
        &view.state.cells,
        |bank, state| for (i, rate) in rates.enumerate() {
            let level = bank.level(i, state, now);
            let wait = if asks > 0 { bank.wait(i, state, now, asks) } else { 0 };
            let next_unit = if level.remaining > 0 { 0 } else { bank.wait(i, state, now, 1) };
            decision.add_rate(RateState::new(demand, rate, level, wait, next_unit));
        },
        for rate in rates {
            let full = Level { remaining: rate.capacity(), reset_after_us: 0 };
            decision.add_rate(RateState::new(demand, rate, full, 0, 0));
        }
    );
}

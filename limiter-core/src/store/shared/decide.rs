//! Decisions and adjustments: first from what can be read, and where they write, again as a step.

use super::{
    core::Core,
    error::{Fault, LONGEST_LOG},
    layout::{LARGE_ENTRIES, header},
    record::Outcome,
    slot::{self, Found},
    step::Step,
    table::Claim,
    wait::Patience,
    words::Name,
};
use crate::{
    Algorithm, Clock, Decision, KeyState, Quota, Timestamp,
    algorithm::{Cells, Log, Logs, Mode, View, decide},
    store::{Adjust, Demand, MOST_DEMANDS},
};
use smallvec::SmallVec;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Peek,
    Take,
    Adjust(Adjust),
}

/// A demand, and what the file calls its key.
struct Asked<'a> {
    demand: Demand<'a>,
    name: Name,
    way: Name,
}

/// What was found of it.
struct Seen {
    found: Option<Found>,
    /// Where it has no slot: the shared states it may have written to.
    ways: Vec<Found>,
}

/// Where a state is to be written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A slot that is owned.
    Slot(usize),
    /// No slot could be had: the overflow.
    Overflow,
    /// Nowhere: it cannot change.
    None,
}

impl Core {
    pub(super) fn call(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>, ask: Ask) -> Result<Decision, Fault> {
        let asked = self.asked(demands)?;
        let mut patience = Patience::default();
        loop {
            if let Some(decision) = self.attempt(&asked, clock, ask, &mut patience)? {
                return Ok(decision);
            }
            patience.attempt(self.budget).map_err(|waited| Fault::Contended { waited })?;
        }
    }

    /// The state of a key under the demand's quota, and the time it was read at.
    pub(super) fn snapshot(
        &self,
        demand: Demand<'_>,
        clock: Option<&dyn Clock>,
    ) -> Result<(KeyState, Timestamp), Fault> {
        let asked = self.asked(&[demand])?;
        let mut patience = Patience::default();
        loop {
            let seen = self.see(&asked, &mut patience)?;
            let now = self.time(clock);
            if let (true, [asked], [seen]) = (self.is_still(&seen), &asked[..], &seen[..]) {
                return Ok((self.state(asked, seen, now)?, now));
            }
            patience.attempt(self.budget).map_err(|waited| Fault::Contended { waited })?;
        }
    }

    fn asked<'a>(&self, demands: &[Demand<'a>]) -> Result<SmallVec<[Asked<'a>; 1]>, Fault> {
        if demands.len() > MOST_DEMANDS {
            return Err(Fault::TooManyDemands);
        }
        let mut asked: SmallVec<[Asked<'a>; 1]> = SmallVec::with_capacity(demands.len());
        for &demand in demands {
            self.can_hold(demand.quota)?;
            let name = self.name(demand.scope, demand.key);
            if asked.iter().any(|earlier| earlier.name == name) {
                return Err(Fault::Duplicate);
            }
            asked.push(Asked { demand, name, way: self.way(demand.scope, name, demand.quota) });
        }
        Ok(asked)
    }

    fn can_hold(&self, quota: &Quota) -> Result<(), Fault> {
        let (rates, most) = (quota.rates().len(), self.layout.max_rates);
        if rates > most {
            return Err(Fault::TooManyRates { rates, most });
        }
        let entries = quota.rates().iter().map(|rate| rate.limit().min(rate.cells().map_or(u64::MAX, u64::from)));
        match entries.max() {
            Some(limit) if quota.algorithm() == Algorithm::SlidingLog && limit > LONGEST_LOG => {
                Err(Fault::LogTooLong { limit })
            }
            _ => Ok(()),
        }
    }

    /// One attempt; `None` where another step came between.
    fn attempt(
        &self,
        asked: &[Asked<'_>],
        clock: Option<&dyn Clock>,
        ask: Ask,
        patience: &mut Patience,
    ) -> Result<Option<Decision>, Fault> {
        let mut seen = self.see(asked, patience)?;
        if !matches!(ask, Ask::Adjust(_)) {
            let now = self.time(clock);
            let decision = self.peek(asked, &mut seen, now)?;
            if ask == Ask::Peek || !self.would_write(asked, &seen, &decision, now)? {
                return Ok(self.is_still(&seen).then_some(decision));
            }
        }
        self.step(asked, &seen, clock, ask, patience)
    }

    fn see(&self, asked: &[Asked<'_>], patience: &mut Patience) -> Result<SmallVec<[Seen; 1]>, Fault> {
        let see = |asked: &Asked<'_>| {
            let found = self.find(asked.name, patience)?;
            let ways = if found.is_some() { Vec::new() } else { self.ways(asked.way, patience)? };
            Ok(Seen { found, ways })
        };
        asked.iter().map(see).collect()
    }

    /// Whether nothing that was seen has changed since, so that there was an instant at which it was all so.
    fn is_still(&self, seen: &[Seen]) -> bool {
        let words = self.words();
        seen.iter().flat_map(Seen::all).all(|found| words.head(found.slot) == found.head)
    }

    fn states(&self, asked: &[Asked<'_>], seen: &[Seen], now: Timestamp) -> Result<SmallVec<[KeyState; 1]>, Fault> {
        asked.iter().zip(seen).map(|(asked, seen)| self.state(asked, seen, now)).collect()
    }

    /// The state of a key under the demand's quota: its own, or the strictest of those it may have written to, or fresh.
    fn state(&self, asked: &Asked<'_>, seen: &Seen, now: Timestamp) -> Result<KeyState, Fault> {
        let quota = asked.demand.quota;
        let under = |found: &Found| {
            if found.is_under(quota)? {
                return Ok(found.state.clone());
            }
            if !asked.demand.holds() {
                return Err(Fault::Outdated);
            }
            let old = found.quota(self).ok_or(Fault::Corrupt)?;
            Ok(found.state.carried_over(&old, quota, now))
        };
        if let Some(found) = &seen.found {
            return under(found);
        }
        let owed = seen.ways.iter().filter(|way| !way.is_idle(self, now)).map(under).collect::<Result<Vec<_>, _>>()?;
        Ok(owed.into_iter().min_by_key(|state| state.remaining(quota, now)).unwrap_or_default())
    }

    /// The decision on what was seen, which stays as it is.
    fn peek(&self, asked: &[Asked<'_>], seen: &mut [Seen], now: Timestamp) -> Result<Decision, Fault> {
        let other = |(asked, seen): (&Asked<'_>, &Seen)| match &seen.found {
            Some(found) if found.is_under(asked.demand.quota)? => Ok(None),
            _ => self.state(asked, seen, now).map(Some),
        };
        let mut others = asked.iter().zip(&*seen).map(other).collect::<Result<SmallVec<[Option<KeyState>; 1]>, _>>()?;
        let view = |((asked, seen), other)| {
            let (asked, seen, other): (&Asked<'_>, &mut Seen, &mut Option<KeyState>) = (asked, seen, other);
            let state = match &mut seen.found {
                Some(found) if other.is_none() => &mut found.state,
                _ => other.get_or_insert_default(),
            };
            View { quota: asked.demand.quota, state, cost: asked.demand.cost }
        };
        let mut views: SmallVec<[View<'_>; 4]> = asked.iter().zip(seen).zip(&mut others).map(view).collect();
        Ok(decide(&mut views, now, Mode::Peek))
    }

    /// Whether a take that a peek answered like this writes anything: units, or the pull back of what lies too far ahead.
    fn would_write(
        &self,
        asked: &[Asked<'_>],
        seen: &[Seen],
        peeked: &Decision,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        if peeked.retry_after().is_none() {
            return Ok(false);
        }
        if peeked.allowed() {
            return Ok(asked.iter().any(|asked| asked.demand.cost > 0));
        }
        let mut states = self.states(asked, seen, now)?;
        decide(&mut views(asked, &mut states), now, Mode::Take);
        let mut all = asked.iter().zip(seen).zip(&states);
        Ok(all.any(|((asked, seen), after)| self.is_kept(asked, seen, after, false, now)))
    }

    /// Whether what a state has become is to be kept, after a take that could fit or an adjustment. Who asks for nothing
    /// leaves a change of the quota to others.
    fn is_kept(&self, asked: &Asked<'_>, seen: &Seen, after: &KeyState, is_written: bool, now: Timestamp) -> bool {
        match &seen.found {
            Some(found) => {
                let is_carried = found.fingerprint() != asked.demand.quota.fingerprint();
                is_written || if is_carried { asked.demand.cost > 0 } else { found.state != *after }
            }
            None => self.state(asked, seen, now).is_ok_and(|before| before != *after),
        }
    }

    fn step(
        &self,
        asked: &[Asked<'_>],
        seen: &[Seen],
        clock: Option<&dyn Clock>,
        ask: Ask,
        patience: &mut Patience,
    ) -> Result<Option<Decision>, Fault> {
        let absent = seen.iter().filter(|seen| seen.found.is_none()).count();
        let mut found: SmallVec<[&Found; 4]> = seen.iter().flat_map(Seen::all).collect();
        let entries = found.len() + 2 * absent;
        if entries > LARGE_ENTRIES {
            return Err(Fault::Full { keys: self.layout.main_slots() });
        }
        for asked in asked.iter().zip(seen).filter(|(_, seen)| seen.found.is_none()).map(|(asked, _)| asked) {
            // An injected clock may step back, to before an idle key was: such keys stay while there is room.
            if clock.is_none() {
                self.reclaim_some(asked.name, self.time(None))?;
            }
        }
        let mut step = Step::begin(self, entries, patience)?;
        found.sort_unstable_by_key(|found| found.slot);
        if !found.iter().all(|found| step.own(found.slot, found.head)) {
            return Ok(None);
        }
        let mut places: SmallVec<[Place; 1]> = SmallVec::new();
        for (asked, seen) in asked.iter().zip(seen) {
            let Some(place) = self.place(&mut step, asked, seen, clock, ask)? else { return Ok(None) };
            places.push(place);
        }

        let now = self.time(clock); // everything that counts is owned
        if matches!(ask, Ask::Adjust(_)) && !asked.iter().all(|asked| asked.demand.holds()) {
            return Err(Fault::Outdated);
        }
        let mut states = self.states(asked, seen, now)?;
        if let Some(shared) = share_a_way(asked, &places) {
            // Two keys that would share one state: together they could take more than it holds. Denied early.
            let seen = decide(&mut views(asked, &mut states), now, Mode::Peek);
            let wait = seen.reset_after();
            return Ok(Some(seen.denied_too(shared, wait)));
        }
        let decision = match (ask, asked, &mut states[..]) {
            (Ask::Adjust(adjust), [asked], [state]) => state.adjust(asked.demand.quota, now, asked.demand.cost, adjust),
            _ => decide(&mut views(asked, &mut states), now, Mode::Take),
        };
        let is_adjust = matches!(ask, Ask::Adjust(_));
        for (i, (asked, seen)) in asked.iter().zip(seen).enumerate() {
            let is_written = is_adjust || (decision.allowed() && asked.demand.cost > 0);
            let could_fit = is_adjust || decision.retry_after().is_some();
            let state = &mut states[i];
            if !could_fit || !self.is_kept(asked, seen, state, is_written, now) {
                continue;
            }
            match places[i] {
                Place::None => {}
                Place::Slot(slot) => {
                    self.write(&mut step, slot, asked.name, asked, seen.found.as_ref(), state, now)?;
                }
                Place::Overflow => {
                    if !self.write_to_overflow(&mut step, asked, seen, state, now)? {
                        return Ok(None);
                    }
                }
            }
        }
        let mut absent = asked.iter().zip(seen).filter(|(_, seen)| seen.found.is_none());
        if !absent.all(|(asked, _)| self.is_alone_with(&step, asked.name, asked.way)) {
            return Ok(None);
        }
        step.commit();
        Ok(Some(decision))
    }

    /// Where the state of a demand can be written; `None` where another makes its slot.
    fn place(
        &self,
        step: &mut Step<'_>,
        asked: &Asked<'_>,
        seen: &Seen,
        clock: Option<&dyn Clock>,
        ask: Ask,
    ) -> Result<Option<Place>, Fault> {
        if let Some(found) = &seen.found {
            return Ok(Some(Place::Slot(found.slot)));
        }
        if asked.demand.cost == 0 && ask == Ask::Take {
            return Ok(Some(Place::None));
        }
        for has_made_room in [false, true] {
            match self.claim_own(step, asked.name, false) {
                Claim::Slot(slot) => return Ok(Some(Place::Slot(slot))),
                Claim::Again => return Ok(None),
                Claim::NoRoom if !has_made_room => {
                    self.make_room(asked.name, false, self.time(clock))?;
                }
                Claim::NoRoom => {}
            }
        }
        // Said before anything is put there, so that whoever makes a slot from here on looks there too.
        self.words().store(header::OVERFLOW_USED, 1);
        Ok(Some(Place::Overflow))
    }

    /// Writes the state of a key that found no slot: to the one it shares, or, blocked, to one of its own. `false` where
    /// another came between.
    fn write_to_overflow(
        &self,
        step: &mut Step<'_>,
        asked: &Asked<'_>,
        seen: &Seen,
        state: &mut KeyState,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let is_blocked = state.blocked_until > now.as_micros();
        let name = if is_blocked { asked.name } else { asked.way };
        if !is_blocked {
            state.blocked_until = 0; // a block that is over is nobody else's
            self.words().add(header::OVERFLOW_WRITES, 1);
        }
        let shared = seen.ways.iter().find(|way| !is_blocked && way.name() == asked.way);
        if let Some(shared) = shared {
            self.write(step, shared.slot, name, asked, Some(shared), state, now)?;
            return Ok(true);
        }
        for has_made_room in [false, true] {
            let claim = if is_blocked { self.claim_own(step, name, true) } else { self.claim_way(step, name) };
            match claim {
                Claim::Slot(slot) => {
                    self.write(step, slot, name, asked, None, state, now)?;
                    return Ok(true);
                }
                Claim::Again => return Ok(false),
                Claim::NoRoom if !has_made_room => {
                    self.make_room(name, true, now)?;
                }
                Claim::NoRoom => {}
            }
        }
        Err(Fault::Full { keys: self.layout.main_slots() })
    }

    /// Plans what an owned slot is to hold; a log that finds no blocks is kept coarser.
    #[allow(clippy::too_many_arguments)]
    fn write(
        &self,
        step: &mut Step<'_>,
        slot: usize,
        name: Name,
        asked: &Asked<'_>,
        found: Option<&Found>,
        state: &mut KeyState,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let (words, quota) = (self.words(), asked.demand.quota);
        if matches!(state.cells, Cells::SlidingLog(_)) || found.is_some_and(Found::has_log) {
            step.touch_blocks();
        }
        let (claimed, unused) = (step.blocks.claimed.len(), step.blocks.unused.len());
        for attempt in 0.. {
            if let Some((copy, payload)) = slot::encode(words, slot, name, quota, state, found, &mut step.blocks) {
                step.plan(slot, Outcome::Written { payload, words: &copy });
                break;
            }
            step.give_back(claimed, unused);
            match (attempt, &mut state.cells) {
                (0, _) => drop(self.make_room(name, false, now)?),
                (_, Cells::SlidingLog(logs)) => {
                    if attempt == 1 {
                        words.add(header::COARSENED, 1);
                    }
                    // A single run needs no block, so this ends.
                    logs.coarsen(if attempt > 2 { 1 } else { longest(logs) / 4 });
                }
                _ => return Err(Fault::Corrupt),
            }
        }
        Ok(())
    }
}

impl Seen {
    fn all(&self) -> impl Iterator<Item = &Found> {
        self.found.as_ref().into_iter().chain(&self.ways)
    }
}

fn views<'a>(asked: &'a [Asked<'_>], states: &'a mut [KeyState]) -> SmallVec<[View<'a>; 4]> {
    let view = |(asked, state): (&'a Asked<'_>, &'a mut KeyState)| View {
        quota: asked.demand.quota,
        state,
        cost: asked.demand.cost,
    };
    asked.iter().zip(states).map(view).collect()
}

/// The second of two keys that are to write to the same shared state.
fn share_a_way(asked: &[Asked<'_>], places: &[Place]) -> Option<usize> {
    let shares = |i: usize| places[i] == Place::Overflow;
    (0..asked.len()).find(|&i| shares(i) && (0..i).any(|j| shares(j) && asked[i].way == asked[j].way))
}

fn longest(logs: &Logs) -> usize {
    let runs = |log: &Log| log.runs.len();
    match logs {
        Logs::Shared { log, .. } => runs(log),
        Logs::Apart(logs) => logs.iter().map(runs).max().unwrap_or(0),
    }
}

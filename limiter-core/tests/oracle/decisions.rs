//! Every field of every decision of random runs is the oracle's: takes, peeks, charges, refunds, settlements, blocks and
//! resets on a few keys, and several keys of several limiters in one decision, under clocks that run and that jump.

use super::{
    model::{Answer, Key, Spec, World},
    random::{self, Label, Rng, Time, each_seed},
};
use limiter_core::{
    Algorithm, Decision, Error, Limiter, LocalStore, ManualClock, MemoryStore, Permit, Timestamp,
    store::{Demand, Scope},
};
use std::time::Duration;

const KEYS: [&str; 3] = ["ada", "bob", "eve"];

/// Events a run, and runs a seed: with two seeds and six tests, over a million events.
const EVENTS: u32 = 200;
const RUNS: u64 = 450;

#[test]
fn buckets_decide_as_the_oracle() {
    each_seed(RUNS, |rng, label| one_limiter(rng, label, Algorithm::Gcra, false));
}

#[test]
fn fixed_windows_decide_as_the_oracle() {
    each_seed(RUNS, |rng, label| one_limiter(rng, label, Algorithm::FixedWindow, false));
}

#[test]
fn sliding_windows_decide_as_the_oracle() {
    each_seed(RUNS, |rng, label| one_limiter(rng, label, Algorithm::SlidingWindow, false));
}

#[test]
fn exact_logs_decide_as_the_oracle() {
    each_seed(RUNS, |rng, label| one_limiter(rng, label, Algorithm::SlidingLog, false));
}

#[test]
fn logs_of_a_resolution_decide_as_the_oracle() {
    each_seed(RUNS, |rng, label| one_limiter(rng, label, Algorithm::SlidingLog, true));
}

#[test]
fn several_keys_of_several_limiters_decide_as_the_oracle() {
    each_seed(RUNS, several_limiters);
}

/// The next units of one rate, also after a denial of a larger cost.
#[test]
fn the_next_unit_is_that_of_one_unit_whatever_was_denied() {
    each_seed(40, |rng, label| {
        let spec = random::any_spec(rng);
        let (limiter, clock) = random::limiter(&spec);
        let mut time = Time { now: random::START, is_wild: false };
        for _ in 0..100 {
            let cost = rng.between(1, spec.capacity());
            let decision = limiter.check_n("k", cost).unwrap();
            for (rate, alone) in decision.rates().iter().zip(limiter.peek("k").unwrap().rates()) {
                let expected = if alone.remaining() > 0 { Duration::ZERO } else { alone.retry_after() };
                assert_eq!(rate.next_unit_after(), expected, "{label}: {spec:?}: cost {cost}: {decision:?}");
            }
            let wait = decision.retry_after().map_or(0, random::micros);
            clock.set(Timestamp::from_micros(time.step(rng, &spec, [wait, 1])));
        }
    });
}

/// A limiter beside the oracle's world of its keys.
struct Run<'a> {
    rng: &'a mut Rng,
    label: Label,
    spec: Spec,
    limiter: Limiter,
    clock: ManualClock,
    world: World,
    time: Time,
    waits: [u64; 2],
    /// By key, and whether that was reset since.
    permits: Vec<(usize, Permit<MemoryStore>, bool)>,
    /// Key, cost and instant of admitted takes, the latest last.
    takes: Vec<(usize, u64, u64)>,
}

fn one_limiter(rng: &mut Rng, label: Label, algorithm: Algorithm, with_cells: bool) {
    let spec = random::spec(rng, algorithm, with_cells);
    let (limiter, clock) = random::limiter(&spec);
    let time = Time { now: random::START, is_wild: rng.one_in(2) };
    let world = World::of(&spec, KEYS.len());
    let (permits, takes) = (Vec::new(), Vec::new());
    let mut run = Run { rng, label, spec, limiter, clock, world, time, waits: [1; 2], permits, takes };
    for _ in 0..EVENTS {
        run.event();
    }
}

impl Run<'_> {
    fn event(&mut self) {
        let now = self.time.step(self.rng, &self.spec, self.waits);
        self.clock.set(Timestamp::from_micros(now));
        let key = self.rng.index(KEYS.len()).min(self.rng.index(KEYS.len())); // the first one mostly
        let cost = self.rng.cost(self.spec.capacity());
        match self.rng.below(100) {
            0..55 => self.take(key, cost),
            // At the end of time nothing can be waited for; `clocks` looks at that.
            55..65 if now < random::MAX - 10 * random::DAY => self.acquire(key, cost),
            55..72 => {
                let want = self.world.decide(&[(key, cost)], now, false);
                match self.limiter.peek_n(KEYS[key], cost) {
                    Ok(decision) => self.compare("peek", key, cost, &want, &decision),
                    Err(error) => self.never_fits(cost, &want, &error),
                }
            }
            72..78 => {
                let units = if self.rng.one_in(3) { cost } else { cost.min(self.spec.capacity()) };
                self.world.0[key].charge(now, units);
                let decision = self.limiter.charge(KEYS[key], units).unwrap();
                self.adjusted("charge", key, units, &decision);
            }
            78..86 => self.refund(key, cost),
            86..94 => self.finish_permit(cost),
            94..97 => {
                let until = match self.rng.below(3) {
                    0 => self.rng.below(now + 1),
                    1 => now + self.rng.below(2 * self.spec.rates[0].period),
                    _ => now,
                };
                let until = Timestamp::from_micros(until);
                self.world.0[key].block(until.as_micros());
                let decision = self.limiter.block_until(KEYS[key], until).unwrap();
                self.adjusted("block", key, 0, &decision);
            }
            97 => {
                self.world.0[key] = Key::new(&self.spec);
                self.limiter.reset(KEYS[key]).unwrap();
                self.permits.iter_mut().filter(|held| held.0 == key).for_each(|held| held.2 = true);
            }
            // Idle keys may go, unless the clock may step back to where they are not idle.
            98 if !self.time.is_wild => drop(self.limiter.sweep().unwrap()),
            _ => self.take_all_there_is(key),
        }
    }

    fn take(&mut self, key: usize, cost: u64) {
        let want = self.world.decide(&[(key, cost)], self.time.now, true);
        match self.limiter.check_n(KEYS[key], cost) {
            Ok(decision) => {
                self.compare("take", key, cost, &want, &decision);
                if decision.allowed() {
                    self.takes.push((key, cost, decision.at().as_micros()));
                }
            }
            Err(error) => {
                self.never_fits(cost, &want, &error);
                let (scope, quota) = (Scope::new(self.limiter.name()), self.spec.quota());
                let demand = Demand::new(&scope, KEYS[key].as_bytes(), &quota, cost);
                let decision = LocalStore::take(self.limiter.store(), &[demand], Some(&self.clock)).unwrap();
                self.compare("take from the store", key, cost, &want, &decision);
            }
        }
    }

    /// A wait of no time is a take.
    fn acquire(&mut self, key: usize, cost: u64) {
        let want = self.world.decide(&[(key, cost)], self.time.now, true);
        match self.limiter.acquire(KEYS[key]).cost(cost).timeout(Duration::ZERO).blocking() {
            Ok(permit) => {
                self.compare("acquire", key, cost, &want, permit.decision());
                self.permits.push((key, permit, false));
            }
            Err(Error::WaitTooLong { needed, .. }) => {
                let needed = i128::from(random::micros(needed));
                assert_eq!(want.retry_after, Some(needed), "{}: {:?}: acquire {cost}", self.label, self.spec);
            }
            Err(error) => self.never_fits(cost, &want, &error),
        }
    }

    fn refund(&mut self, key: usize, cost: u64) {
        let now = self.time.now;
        let (key, cost, taken) = match self.takes.len() {
            0 => (key, cost, now),
            _ if self.rng.one_in(4) => (key, cost, now.saturating_sub(self.rng.below(3 * self.spec.rates[0].period))),
            len => {
                let latest = len - 1 - self.rng.index(len.min(6));
                let (key, cost, taken) = self.takes.remove(latest);
                (key, if self.rng.one_in(2) { cost } else { self.rng.below(cost + 1) }, taken)
            }
        };
        self.world.0[key].refund(now, cost, taken);
        let decision = self.limiter.refund(KEYS[key], cost, Timestamp::from_micros(taken)).unwrap();
        self.adjusted("refund", key, cost, &decision);
    }

    /// Refunds, settles or restamps a permit. Of one from before a reset nothing comes back.
    fn finish_permit(&mut self, other: u64) {
        if self.permits.is_empty() {
            return;
        }
        let (key, permit, is_forgotten) = self.permits.remove(self.rng.index(self.permits.len()));
        let (now, cost, taken) = (self.time.now, permit.cost(), permit.decision().at().as_micros());
        let model = &mut self.world.0[key];
        let refund = |model: &mut Key, cost| {
            if !is_forgotten {
                model.refund(now, cost, taken);
            }
        };
        match self.rng.below(4) {
            0 => {
                refund(model, cost);
                let decision = permit.refund_blocking().unwrap();
                self.adjusted("permit refund", key, cost, &decision);
            }
            1 => {
                refund(model, cost);
                model.charge(now, cost);
                permit.restamp_detached();
                let decision = self.limiter.peek_n(KEYS[key], 0).unwrap();
                self.adjusted("restamp", key, cost, &decision);
            }
            _ => {
                match other.checked_sub(cost) {
                    Some(more @ 1..) => model.charge(now, more),
                    _ => refund(model, cost - other),
                }
                let decision = permit.settle_blocking(other).unwrap();
                self.adjusted("settle", key, other, &decision);
            }
        }
    }

    fn take_all_there_is(&mut self, key: usize) {
        let most = self.rng.between(0, 2 * self.spec.capacity());
        let first = most.min(self.spec.capacity());
        let mut want = self.world.decide(&[(key, first)], self.time.now, true);
        let there = u64::try_from(want.remaining).unwrap();
        let expected = if want.allowed { first } else { there };
        if !want.allowed && there > 0 {
            want = self.world.decide(&[(key, there)], self.time.now, true);
            assert!(want.allowed);
        }
        let (taken, decision) = self.limiter.take_up_to(KEYS[key], most).unwrap();
        self.compare("take up to", key, most, &want, &decision);
        assert_eq!(taken, expected, "{}: {:?}: up to {most}", self.label, self.spec);
    }

    /// Compares the answer to a change without asking, which is that of a look.
    fn adjusted(&mut self, what: &str, key: usize, cost: u64, decision: &Decision) {
        let want = self.world.look(key, self.time.now);
        self.compare(what, key, cost, &want, decision);
    }

    fn compare(&mut self, what: &str, key: usize, cost: u64, want: &Answer, decision: &Decision) {
        let got = Answer::of(decision);
        assert_eq!(got, *want, "{}: {:?}: {what} of {cost} on key {key}: {:?}", self.label, self.spec, self.world);
        assert_eq!(decision.at().as_micros(), self.time.now);
        self.waits = [random::micros(decision.reset_after()), decision.retry_after().map_or(1, random::micros)];
    }

    fn never_fits(&self, cost: u64, want: &Answer, error: &Error) {
        let capacity = self.spec.capacity();
        assert!(
            matches!(*error, Error::NeverFits { cost: c, capacity: of, part: None } if (c, of) == (cost, capacity)),
            "{}: {error:?}",
            self.label
        );
        assert_eq!(want.retry_after, None, "{}: {:?}", self.label, self.spec);
    }
}

/// Random subsets of six keys, two of each of three limiters, in one decision.
fn several_limiters(rng: &mut Rng, label: Label) {
    let specs: Vec<Spec> = (0..3).map(|_| random::any_spec(rng)).collect();
    let clock = ManualClock::new(Timestamp::from_micros(random::START));
    let store = MemoryStore::new();
    let limiters: Vec<Limiter> = specs
        .iter()
        .enumerate()
        .map(|(i, spec)| {
            let builder = Limiter::builder(spec.quota()).store(store.clone()).clock(clock.clone());
            builder.name(format!("limiter {i}")).build()
        })
        .collect();
    let mut world = World(specs.iter().chain(&specs).map(Key::new).collect());
    let mut time = Time { now: random::START, is_wild: rng.one_in(2) };
    let mut waits = [1; 2];
    for _ in 0..EVENTS {
        let of = rng.index(specs.len());
        let now = time.step(rng, &specs[of], waits);
        clock.set(Timestamp::from_micros(now));
        let mut places: Vec<usize> = (0..6).filter(|_| rng.one_in(2)).collect();
        if rng.one_in(2) {
            places.reverse();
        }
        if places.is_empty() {
            let place = rng.index(6);
            world.0[place].charge(now, 1);
            limiters[place % 3].charge(KEYS[place / 3], 1).unwrap();
            continue;
        }
        let demands: Vec<(usize, u64)> =
            places.iter().map(|&place| (place, rng.cost(specs[place % 3].capacity()))).collect();
        let all = Limiter::all(demands.iter().map(|&(place, cost)| limiters[place % 3].on(KEYS[place / 3]).cost(cost)));
        let takes = !rng.one_in(5);
        let want = world.decide(&demands, now, takes);
        match if takes { all.check() } else { all.peek() } {
            Ok(decision) => {
                assert_eq!(Answer::of(&decision), want, "{label}: {specs:?}: {demands:?} at {now}: {world:?}");
                waits = [random::micros(decision.reset_after()), decision.retry_after().map_or(1, random::micros)];
            }
            Err(Error::NeverFits { cost, capacity, part: Some(part) }) => {
                assert_eq!(want.retry_after, None, "{label}: {specs:?}: {demands:?}");
                let (place, asked) = demands[part];
                assert_eq!((cost, capacity), (asked, specs[place % 3].capacity()), "{label}: {specs:?}: {demands:?}");
            }
            Err(error) => panic!("{label}: {error}"),
        }
    }
}

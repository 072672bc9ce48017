//! Threads on few keys, with a clock that another thread moves: what they are answered is what some order of their
//! calls, in which each stands between its call and its return, is answered by the oracle; and what they were admitted
//! keeps the promise. A seed repeats the calls, not how the threads meet.

use super::{
    model::{Answer, Key, Spec, World},
    promise::Kept,
    random::{self, Label, Rng, each_seed, micros},
};
use limiter_core::{Algorithm, Decision, Limiter, ManualClock, MemoryStore, Timestamp};
use std::{
    collections::HashSet,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

const KEYS: [&str; 2] = ["ada", "bob"];
const THREADS: usize = 3;
const CALLS: usize = 150;

#[derive(Clone, Debug)]
enum Op {
    Take(Vec<(usize, u64)>),
    Charge(usize, u64),
    Refund(usize, u64, Timestamp),
}

/// A call, with the numbers of its start and its end among all starts and ends.
#[derive(Debug)]
struct Call {
    op: Op,
    started: u64,
    ended: u64,
    decision: Decision,
}

impl World {
    fn apply(&mut self, call: &Call) -> Answer {
        let now = call.decision.at().as_micros();
        match &call.op {
            Op::Take(demands) => self.decide(demands, now, true),
            &Op::Charge(key, cost) => {
                self.0[key].charge(now, cost);
                self.look(key, now)
            }
            &Op::Refund(key, cost, taken) => {
                self.0[key].refund(now, cost, taken.as_micros());
                self.look(key, now)
            }
        }
    }
}

/// What each thread called, in its order.
fn run_threads(rng: &mut Rng, limiters: &[Limiter; 2], spec: &Spec, clock: &ManualClock) -> Vec<Vec<Call>> {
    let (ticks, barrier, is_over) = (AtomicU64::new(0), Barrier::new(THREADS + 1), AtomicBool::new(false));
    let pace = spec.rates[0].period / spec.rates[0].limit / 4 + 2;
    let mut rngs: Vec<Rng> = (0..=THREADS).map(|_| Rng::new(rng.next())).collect();
    let mut clock_rng = rngs.pop().unwrap();
    thread::scope(|scope| {
        let (ticks, barrier, is_over) = (&ticks, &barrier, &is_over);
        let threads: Vec<_> = rngs
            .into_iter()
            .map(|mut rng| {
                scope.spawn(move || {
                    barrier.wait();
                    (0..CALLS).fold(Vec::new(), |mut calls: Vec<Call>, _| {
                        calls.push(call(&mut rng, limiters, spec, ticks, &calls));
                        calls
                    })
                })
            })
            .collect();
        scope.spawn(move || {
            barrier.wait();
            while !is_over.load(Ordering::Acquire) {
                clock.advance(Duration::from_micros(clock_rng.below(pace)));
                thread::yield_now();
            }
        });
        let calls = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        is_over.store(true, Ordering::Release);
        calls
    })
}

/// Key 0 is of the first limiter, key 1 of the second.
fn call(rng: &mut Rng, limiters: &[Limiter; 2], spec: &Spec, ticks: &AtomicU64, calls: &[Call]) -> Call {
    let (key, cost) = (rng.index(2), rng.between(1, spec.capacity()).min(1 + rng.below(4)));
    let earlier = calls.iter().rev().take(4).find_map(|call| match &call.op {
        Op::Take(demands) if call.decision.allowed() && demands.len() == 1 => {
            Some(Op::Refund(demands[0].0, demands[0].1, call.decision.at()))
        }
        _ => None,
    });
    let op = match (rng.below(10), earlier) {
        (0, Some(refund)) => refund,
        (1, _) => Op::Charge(key, 1),
        (2..5, _) if rng.one_in(2) => Op::Take(vec![(0, cost), (1, 1)]),
        (2..5, _) => Op::Take(vec![(1, 1), (0, cost)]),
        _ => Op::Take(vec![(key, cost)]),
    };
    let started = ticks.fetch_add(1, Ordering::SeqCst);
    if rng.one_in(4) {
        thread::yield_now();
    }
    let decision = match &op {
        Op::Take(demands) => match demands[..] {
            [(key, cost)] => limiters[key].check_n(KEYS[key], cost),
            _ => Limiter::all(demands.iter().map(|&(key, cost)| limiters[key].on(KEYS[key]).cost(cost))).check(),
        },
        &Op::Charge(key, cost) => limiters[key].charge(KEYS[key], cost),
        &Op::Refund(key, cost, taken) => limiters[key].refund(KEYS[key], cost, taken),
    };
    let ended = ticks.fetch_add(1, Ordering::SeqCst);
    Call { op, started, ended, decision: decision.unwrap() }
}

/// Finds the order; panics where there is none. Each thread's calls are in order by themselves, so the next one is
/// always the first that is left of some thread.
fn is_linearizable(world: World, threads: &[Vec<Call>], context: &str) {
    struct Step {
        world: World,
        places: Vec<usize>,
        last: Timestamp,
        tried: usize,
    }
    let mut steps = vec![Step { world, places: vec![0; threads.len()], last: Timestamp::MIN, tried: 0 }];
    let (mut turns, mut furthest, mut seen) = (0, 0, HashSet::new());
    while let Some(step) = steps.last_mut() {
        turns += 1;
        assert!(turns < 2_000_000, "{context}: no order found in time");
        let next = |thread: usize| threads[thread].get(step.places[thread]);
        if (0..threads.len()).all(|thread| next(thread).is_none()) {
            return;
        }
        let first_end = (0..threads.len()).filter_map(|t| next(t).map(|call| call.ended)).min().unwrap();
        let thread = step.tried;
        if thread == threads.len() {
            steps.pop();
            continue;
        }
        step.tried += 1;
        let Some(call) = next(thread).filter(|call| call.started < first_end && call.decision.at() >= step.last) else {
            continue;
        };
        let mut world = step.world.clone();
        if world.apply(call) == Answer::of(&call.decision) {
            let mut places = step.places.clone();
            places[thread] += 1;
            furthest = furthest.max(places.iter().sum());
            // Calls that commute lead to the same place in many orders: once is enough.
            if !seen.insert((places.clone(), format!("{world:?}"))) {
                continue;
            }
            steps.push(Step { world, places, last: call.decision.at(), tried: 0 });
        }
    }
    panic!("{context}: no order of the calls explains their answers, beyond the first {furthest}: {threads:?}");
}

fn threads_are_linearizable(rng: &mut Rng, label: Label, algorithm: Algorithm) {
    let with_cells = rng.one_in(2);
    let specs = [random::spec(rng, algorithm, with_cells), random::any_spec(rng)];
    let clock = ManualClock::new(Timestamp::from_micros(random::START));
    let store = MemoryStore::new();
    let limiters = [("first", &specs[0]), ("second", &specs[1])].map(|(name, spec)| {
        Limiter::builder(spec.quota()).store(store.clone()).clock(clock.clone()).name(name).build()
    });
    let smaller = if specs[0].capacity() < specs[1].capacity() { &specs[0] } else { &specs[1] };
    let threads = run_threads(rng, &limiters, smaller, &clock);

    let world = World(specs.iter().map(Key::new).collect());
    is_linearizable(world, &threads, &format!("{label}: {specs:?}"));
    for (key, spec) in specs.iter().enumerate() {
        let mut kept = Kept::default();
        let mut refunded = Vec::new();
        for call in threads.iter().flatten() {
            match &call.op {
                Op::Take(demands) if call.decision.allowed() => {
                    let cost = demands.iter().find(|demand| demand.0 == key).map_or(0, |demand| demand.1);
                    kept.add(call.decision.at().as_micros(), cost);
                }
                &Op::Refund(of, cost, taken) if of == key => refunded.push((taken.as_micros(), cost)),
                _ => {}
            }
        }
        // A take that two calls refund was taken once: leave those runs to the order above.
        refunded.sort_unstable();
        if refunded.windows(2).all(|pair| pair[0] != pair[1]) {
            refunded.into_iter().for_each(|(at, cost)| kept.remove(at, cost));
            kept.check(spec, &label);
        }
    }
}

#[test]
fn threads_on_buckets_are_linearizable() {
    each_seed(60, |rng, label| threads_are_linearizable(rng, label, Algorithm::Gcra));
}

#[test]
fn threads_on_fixed_windows_are_linearizable() {
    each_seed(60, |rng, label| threads_are_linearizable(rng, label, Algorithm::FixedWindow));
}

#[test]
fn threads_on_sliding_windows_are_linearizable() {
    each_seed(60, |rng, label| threads_are_linearizable(rng, label, Algorithm::SlidingWindow));
}

#[test]
fn threads_on_logs_are_linearizable() {
    each_seed(60, |rng, label| threads_are_linearizable(rng, label, Algorithm::SlidingLog));
}

/// While the clock stands still, what is left is the capacity less what was taken and kept, to the unit.
#[test]
fn totals_are_exact_under_a_clock_that_stands_still() {
    each_seed(60, |rng, label| {
        let spec = random::any_spec(rng);
        let (limiter, _clock) = random::limiter(&spec);
        let seeds: Vec<u64> = (0..THREADS).map(|_| rng.next()).collect();
        let kept: u64 = thread::scope(|scope| {
            let threads: Vec<_> = seeds
                .into_iter()
                .map(|seed| {
                    let (limiter, spec) = (&limiter, &spec);
                    scope.spawn(move || {
                        let (mut rng, mut held) = (Rng::new(seed), Vec::<(u64, Timestamp)>::new());
                        for _ in 0..300 {
                            if rng.one_in(3) && !held.is_empty() {
                                let (cost, taken) = held.swap_remove(rng.index(held.len()));
                                limiter.refund("k", cost, taken).unwrap();
                                continue;
                            }
                            let most = rng.between(1, spec.capacity());
                            let (cost, decision) = match rng.one_in(2) {
                                true => limiter.take_up_to("k", most).unwrap(),
                                false => (most, limiter.check_n("k", most).unwrap()),
                            };
                            if decision.allowed() && cost > 0 {
                                held.push((cost, decision.at()));
                            }
                        }
                        held.iter().map(|(cost, _)| cost).sum::<u64>()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let look = limiter.peek_n("k", 0).unwrap();
        for rate in look.rates() {
            assert_eq!(rate.remaining() + kept, rate.capacity(), "{label}: {spec:?}");
        }
        assert!(micros(look.reset_after()) > 0 || kept == 0, "{label}: {spec:?}");
    });
}

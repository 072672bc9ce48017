//! The same decisions as in memory, field by field.

use super::world::{at, quota, unnamed};
use limiter_core::{
    LocalStore, MemoryStore, Quota, SharedStore,
    algorithm::{Mode, View, decide},
    store::{Adjust, Demand, Scope},
};
use std::fmt::Debug;

/// A small generator of numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

/// Runs one stream of calls on both stores and compares every answer.
fn run(seed: u64, quotas: &[&str], steps: usize) {
    let quotas: Vec<Quota> = quotas.iter().map(|text| quota(text)).collect();
    let (memory, shared) = (MemoryStore::new(), unnamed(SharedStore::builder().max_keys(1000)));
    let scopes = ["a", "b", "c"].map(Scope::new);
    let mut random = Random(seed);
    let mut now = 1_760_000_000_000_000;
    let mut taken = vec![at(now)];
    for step in 0..steps {
        now = match random.below(40) {
            0 => now - random.below(3_000_000),
            1 => now + random.below(100_000_000),
            _ => now + random.below(300_000),
        };
        let clock = at(now);
        let keys: Vec<[u8; 1]> = (0..3).map(|_| [u8::try_from(random.below(4)).unwrap()]).collect();
        let mut demand = |i: usize| {
            // A quota of its own for each scope and key mostly, so that it sometimes changes.
            let of = if random.below(50) == 0 { random.below(1000) } else { u64::from(keys[i][0]) + i as u64 };
            let quota = &quotas[usize::try_from(of).unwrap() % quotas.len()];
            let unit = (quota.capacity() / 12).max(1);
            Demand::new(&scopes[i], &keys[i], quota, unit * random.below(4) * random.below(3))
        };
        let demands = [demand(0), demand(1), demand(2)];
        let one = demands[0];
        let what = format!("seed {seed}, step {step} at {now}: {demands:?}");
        match random.below(12) {
            0..=4 => {
                let answer = same(&memory.take(&[one], Some(&clock)), &shared.take(&[one], Some(&clock)), &what);
                if answer {
                    taken.push(clock);
                }
            }
            5 => {
                same(&memory.take(&demands, Some(&clock)), &shared.take(&demands, Some(&clock)), &what);
            }
            6 => {
                same(&memory.peek(&demands, Some(&clock)), &shared.peek(&demands, Some(&clock)), &what);
            }
            7 => {
                same(&memory.peek(&[one], Some(&clock)), &shared.peek(&[one], Some(&clock)), &what);
            }
            8 | 9 => {
                let taken = *random.one_of(&taken[taken.len().saturating_sub(5)..]);
                let until = at(now + random.below(2_000_000));
                let adjust = match random.below(6) {
                    0 => Adjust::Charge,
                    1 => Adjust::Refund { taken },
                    2 => Adjust::Restamp { taken },
                    3 => Adjust::Reserve,
                    4 => Adjust::Block { until },
                    _ => Adjust::BlockAtLeast { until },
                };
                let answers = (memory.adjust(one, adjust, Some(&clock)), shared.adjust(one, adjust, Some(&clock)));
                same(&answers.0, &answers.1, &format!("{what}: {adjust:?}"));
            }
            10 if random.below(20) == 0 => {
                memory.reset(one.scope, one.key).unwrap();
                shared.reset(one.scope, one.key).unwrap();
            }
            10 if random.below(100) == 0 => {
                LocalStore::sweep(&memory, Some(&clock)).unwrap();
                LocalStore::sweep(&shared, Some(&clock)).unwrap();
            }
            _ => {
                let states = [memory.snapshot(one, Some(&clock)), shared.snapshot(one, Some(&clock))].map(|snapshot| {
                    let (mut state, now) = snapshot.unwrap();
                    let mut view = [View { quota: one.quota, state: &mut state, cost: one.cost }];
                    format!("{:?}", decide(&mut view, now, Mode::Peek))
                });
                assert_eq!(states[0], states[1], "{what}");
            }
        }
    }
    let usage = shared.usage();
    assert_eq!((usage.overflow_states, usage.recovered, usage.coarsened), (0, 0, 0));
    // Nothing of the pool is lost: with all idle, no block is taken.
    LocalStore::sweep(&shared, Some(&at(now + 200_000_000_000))).unwrap();
    assert_eq!((shared.usage().keys, shared.usage().log_entries), (0, 0), "{:?}", shared.usage());
}

/// Whether it was allowed.
fn same<E: Debug>(
    memory: &Result<limiter_core::Decision, E>,
    shared: &Result<limiter_core::Decision, E>,
    what: &str,
) -> bool {
    assert_eq!(format!("{memory:?}"), format!("{shared:?}"), "{what}");
    memory.as_ref().is_ok_and(limiter_core::Decision::allowed)
}

#[test]
fn random_streams_are_decided_as_in_memory_under_each_algorithm() {
    for (seed, algorithm) in ["", "fixed_window ", "sliding_window ", "sliding_log "].into_iter().enumerate() {
        let quotas = ["5/s", "40/min", "3/s, 30/min", "4/s, 40/min, 90/h", "6/s"].map(|q| format!("{algorithm}{q}"));
        run(seed as u64, &quotas.each_ref().map(String::as_str), 20_000);
    }
}

#[test]
fn random_streams_of_changing_quotas_are_decided_as_in_memory() {
    let mixed = [
        "5/s burst 9",
        "fixed_window 7/s, 50/min",
        "sliding_log 6/s resolution 4",
        "sliding_window 9/min",
        "sliding_log 50/s, 400/min",
        "7/min",
        "3000/s",
    ];
    for seed in 10..16 {
        run(seed, &mixed, 10_000);
    }
}

#[test]
fn long_logs_are_decided_as_in_memory() {
    for seed in 20..23 {
        run(seed, &["sliding_log 100/10s, 900/h", "sliding_log 300/min", "sliding_log 200/min resolution 50"], 10_000);
    }
}

#[test]
fn what_lies_beyond_a_packed_state_is_decided_as_in_memory() {
    // Counts above 32 bits, windows of a microsecond, ticks that pass 48 bits within the hour.
    let quotas = ["fixed_window 300000000000000/day", "fixed_window 3/us", "4095000000/s burst 9", "fixed_window 2/ms"];
    for seed in 30..33 {
        run(seed, &quotas, 10_000);
    }
}

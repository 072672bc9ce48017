//! Random streams of calls, answered as by the memory store, through several connections to one file that are closed and
//! opened again meanwhile. Logs are long enough to stand in blocks. `LIMITER_STEPS` sets the calls of each stream, 8,000 by
//! default; `LIMITER_SEED`, a number, makes other streams.

use crate::{
    folder::Folder,
    support::{block_on, random::Rng},
};
use limiter_core::{
    LocalStore, MemoryStore, Quota, SqliteStore, Store, Timestamp,
    store::{Adjust, Demand, Scope},
};
use std::env;

/// A number that the environment may set.
fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |number| number.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Both stores, and what was taken when.
struct Pair {
    memory: MemoryStore,
    folder: Folder,
    files: Vec<SqliteStore>,
    taken: Vec<u64>,
    now: u64,
}

impl Pair {
    fn new(connections: usize) -> Self {
        let folder = Folder::new();
        let files = (0..connections).map(|_| folder.store()).collect();
        Self { memory: MemoryStore::new(), folder, files, taken: vec![0], now: 1_760_000_000_000_000 }
    }

    /// One random call of both, compared.
    fn step(&mut self, random: &mut Rng, scopes: &[Scope], quotas: &[Quota], step_us: u64) {
        self.now += match random.below(100) {
            0 => return self.reopen(random),
            1..=2 => 50 * step_us,
            _ => random.below(2 * step_us),
        };
        let now = if random.below(200) == 0 { self.now.saturating_sub(random.below(5_000_000)) } else { self.now };
        let now = Timestamp::from_micros(now);
        let file = &self.files[usize::try_from(random.below(self.files.len() as u64)).unwrap()];
        let pick = |random: &mut Rng, len: usize| usize::try_from(random.below(len as u64)).unwrap();
        let keys = [random.below(3), random.below(3)].map(|key| key.to_string().into_bytes());
        let (scope, quota) = (&scopes[pick(random, scopes.len())], &quotas[pick(random, quotas.len())]);
        let cost = match random.below(20) {
            0 => 0,
            1 => random.below(quota.capacity() + 2),
            _ => 1 + random.below(2),
        };
        let demand = Demand::new(scope, &keys[0], quota, cost);
        let taken = Timestamp::from_micros(self.taken[pick(random, self.taken.len())]);
        let adjust = match random.below(40) {
            0..=1 => Some(Adjust::Charge),
            2..=5 => Some(Adjust::Refund { taken }),
            6 => Some(Adjust::Restamp { taken }),
            7 => Some(Adjust::Reserve),
            8 => Some(Adjust::Block { until: Timestamp::from_micros(self.now + random.below(3 * step_us)) }),
            _ => None,
        };
        let mut demands = vec![demand];
        if keys[0] != keys[1] && random.below(5) == 0 {
            demands.push(Demand::new(scope, &keys[1], quota, 1));
        }
        let (ours, theirs) = match (adjust, random.below(10)) {
            (Some(adjust), _) => (
                block_on(file.adjust(demand, adjust, Some(&now))),
                LocalStore::adjust(&self.memory, demand, adjust, Some(&now)),
            ),
            (None, 0) => {
                (block_on(file.peek(&demands, Some(&now))), LocalStore::peek(&self.memory, &demands, Some(&now)))
            }
            (None, _) => {
                (block_on(file.take(&demands, Some(&now))), LocalStore::take(&self.memory, &demands, Some(&now)))
            }
        };
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        assert_eq!(ours, theirs, "{adjust:?} of {demands:?} at {now:?}");
        if ours.allowed() && adjust.is_none() {
            self.taken.push(now.as_micros());
            let from = self.taken.len().saturating_sub(400);
            self.taken.drain(..from);
        }
        if random.below(150) == 0 {
            block_on(file.reset(scope, &keys[1])).unwrap();
            LocalStore::reset(&self.memory, scope, &keys[1]).unwrap();
        }
        if random.below(500) == 0 {
            let swept =
                (block_on(file.sweep(Some(&now))).unwrap(), LocalStore::sweep(&self.memory, Some(&now)).unwrap());
            assert_eq!(swept.0, swept.1, "swept at {now:?}");
        }
    }

    fn reopen(&mut self, random: &mut Rng) {
        let place = usize::try_from(random.below(self.files.len() as u64)).unwrap();
        self.files[place] = self.folder.store();
    }
}

fn agree(seed: u64, quotas: &[&str], step_us: u64) {
    let quotas: Vec<Quota> = quotas.iter().map(|text| text.parse().unwrap()).collect();
    let scopes = ["a", "b"].map(Scope::new);
    let (mut random, mut pair) = (Rng::new(seed + number("LIMITER_SEED", 0)), Pair::new(3));
    for _ in 0..number("LIMITER_STEPS", 8_000) {
        pair.step(&mut random, &scopes, &quotas, step_us);
    }
}

#[test]
fn buckets_and_windows_answer_as_in_memory() {
    agree(1, &["50/s", "20/s burst 40, 900/min"], 20_000);
    agree(2, &["fixed_window 50/s, 900/min"], 20_000);
    agree(3, &["sliding_window 50/s, 900/min"], 20_000);
}

#[test]
fn long_logs_answer_as_in_memory() {
    agree(4, &["sliding_log 700/s"], 1_500);
    agree(5, &["sliding_log 300/s, 2000/min"], 3_000);
    agree(6, &["sliding_log 300/s resolution 250, 1500/10s"], 3_000);
}

#[test]
fn quotas_that_change_answer_as_in_memory() {
    agree(7, &["50/s", "fixed_window 60/s", "sliding_window 40/s", "sliding_log 300/s"], 5_000);
    agree(8, &["sliding_log 300/s", "sliding_log 300/s, 2000/min", "sliding_log 500/2s"], 2_000);
}

#[test]
fn a_log_is_the_same_from_its_blocks_as_it_was_in_memory() {
    let (quota, scope): (Quota, _) = ("sliding_log 1000/min".parse().unwrap(), Scope::new("long"));
    let (folder, memory) = (Folder::new(), MemoryStore::new());
    let start = 1_760_000_000_000_000_u64;
    let at = |i: u64| Timestamp::from_micros(start + 50_000 * i);
    let [one, two] = [0; 2].map(|_| folder.store());
    for i in 0..1000 {
        let demand = Demand::new(&scope, b"k", &quota, 1);
        let store = if i % 7 < 4 { &one } else { &two };
        let answer = block_on(store.take(&[demand], Some(&at(i)))).unwrap();
        assert_eq!(answer, LocalStore::take(&memory, &[demand], Some(&at(i))).unwrap());
    }
    // From the oldest block, from the newest one, from the row itself.
    for taken in [3, 400, 870, 990] {
        let (demand, adjust) = (Demand::new(&scope, b"k", &quota, 1), Adjust::Refund { taken: at(taken) });
        let answer = block_on(one.adjust(demand, adjust, Some(&at(1001)))).unwrap();
        assert_eq!(answer, LocalStore::adjust(&memory, demand, adjust, Some(&at(1001))).unwrap());
        let demand = Demand::new(&scope, b"k", &quota, 0);
        let snapshots = [&one, &two, &folder.store()].map(|store| block_on(store.snapshot(demand, Some(&at(1002)))));
        let expected = LocalStore::snapshot(&memory, demand, Some(&at(1002))).unwrap();
        for cost in [1, 2, 30, 500, 1000] {
            let left = |state: &limiter_core::KeyState| {
                let view = limiter_core::algorithm::View { quota: &quota, state: &mut state.clone(), cost };
                limiter_core::algorithm::decide(&mut [view], at(1002), limiter_core::algorithm::Mode::Peek)
            };
            for snapshot in &snapshots {
                assert_eq!(
                    left(&snapshot.as_ref().unwrap().0),
                    left(&expected.0),
                    "{cost} after the refund of {taken}"
                );
            }
        }
    }
}

//! What a decision costs, and what a key takes.

mod keys;
mod memory;
mod peer;

use crate::harness::{Ratios, Table, figure, median, nanos};
use keys::Keys;
use limiter_core::{Clock, Limiter, MemoryStore, Quota, Rate, Timestamp};
use peer::Governor;
use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Admits whatever a benchmark asks for.
const PLENTY: &str = "1000000000/s";
/// Admits as much, and every key it has met stays in use: a unit drains in a minute.
const LASTING: &str = "1/min burst 5000000";
/// Admits one.
const ONE: &str = "1/day";

/// Five rates that admit whatever a benchmark asks for.
const FIVE: &str = "100000000/s, 110000000/10s, 120000000/min, 130000000/10min, 140000000/h";
/// The same for a log, which would keep a stamp a take for all of that hour.
const FIVE_SHORT: &str = "100000/ms, 190000/2ms, 450000/5ms, 850000/10ms, 1600000/20ms";
/// Five rates that are soon used up.
const FIVE_USED_UP: &str = "1/h, 2/day, 3/2days, 4/3days, 5/4days";

pub fn run(rounds: usize, ratios: &mut Ratios) {
    eprintln!("decisions: some {} s", 20 + 25 * rounds);
    one_key(rounds, ratios);
    log_by_limit(rounds);
    many_keys(rounds, ratios);
    at_once(rounds, ratios);
    memory::run(ratios);
}

/// Who decides. Takes the number of decisions, and panics where one was not as expected.
struct Contestant {
    name: String,
    decide: Box<dyn Fn(usize) + Sync>,
}

impl Contestant {
    /// `is_allowed(n)` makes the n-th decision.
    fn new(name: impl Into<String>, expected: bool, is_allowed: impl Fn(usize) -> bool + Sync + 'static) -> Self {
        let (name, next) = (name.into(), AtomicUsize::new(0));
        let decide = {
            let name = name.clone();
            move |ops: usize| {
                let start = next.fetch_add(ops, Ordering::Relaxed);
                let as_expected = (start..start + ops).filter(|&nth| is_allowed(nth) == expected).count();
                assert_eq!(as_expected, ops, "{name}: not all was as expected");
            }
        };
        Self { name, decide: Box::new(decide) }
    }
}

/// Medians of every contestant's turns, on one thread and on two.
fn race(contestants: &[Contestant], ops: usize, turns: usize) -> Vec<[f64; 2]> {
    let mut figures = vec![[const { Vec::new() }; 2]; contestants.len()];
    for turn in 0..=turns {
        for (contestant, figures) in contestants.iter().zip(&mut figures) {
            for (threads, figures) in [1, 2].into_iter().zip(figures) {
                let nanos = nanos(threads, ops, &*contestant.decide);
                if turn > 0 {
                    figures.push(nanos); // the first warms up
                }
            }
        }
    }
    figures.into_iter().map(|figures| figures.map(median)).collect()
}

/// A table of races with the same contestants; the last of them may be missing in some.
struct Columns {
    names: Vec<String>,
    figures: Vec<Vec<[f64; 2]>>,
}

impl Columns {
    fn new() -> Self {
        Self { names: Vec::new(), figures: Vec::new() }
    }

    fn race(&mut self, contestants: &[Contestant], ops: usize, turns: usize) {
        if self.names.len() < contestants.len() {
            self.names = contestants.iter().map(|contestant| contestant.name.clone()).collect();
        }
        self.figures.push(race(contestants, ops, turns));
    }

    fn print(&self, title: &str, head: &[&str]) {
        let mut table = Table::new(&format!("{title}; ns an operation and thread, 1 thread / 2 threads"), head);
        for (index, name) in self.names.iter().enumerate() {
            let cell =
                |race: &Vec<[f64; 2]>| race.get(index).map_or_else(String::new, |both| both.map(figure).join(" / "));
            table.row(name, self.figures.iter().map(cell));
        }
        print!("{table}");
    }

    /// The peer at `peer` by ours, which is the first, in each race.
    fn ratios(&self, names: &[&str], peer: usize, ratios: &mut Ratios) {
        for (name, race) in names.iter().zip(&self.figures) {
            for threads in [0, 1] {
                ratios.add(format!("{name}-{}", threads + 1), race[peer][threads], race[0][threads]);
            }
        }
    }
}

fn limiter(quota: &str) -> Limiter {
    // Room for a million keys and more: what is compared is not how a full table behaves.
    let store = MemoryStore::builder().max_keys(1 << 21).build();
    Limiter::builder(quota.parse::<Quota>().expect("a quota")).store(store).build()
}

fn check(limiter: &Limiter, key: &str) -> bool {
    black_box(limiter.check(key).expect("a decision")).allowed()
}

fn ours(name: &str, quota: &str, keys: &Arc<Keys>, expected: bool) -> Contestant {
    let (limiter, keys) = (limiter(quota), Arc::clone(keys));
    keys.all().for_each(|key| {
        check(&limiter, key);
    });
    Contestant::new(name, expected, move |nth| check(&limiter, keys.nth(nth)))
}

fn governor(quota: &str, keys: &Arc<Keys>, expected: bool) -> Contestant {
    let (governor, keys) = (Governor::new(quota), Arc::clone(keys));
    keys.all().for_each(|key| {
        governor.check(key);
    });
    Contestant::new("governor", expected, move |nth| governor.check(keys.nth(nth)))
}

fn unkeyed(quota: &str, expected: bool) -> Contestant {
    let governor = peer::unkeyed(quota);
    drop(governor.check());
    Contestant::new("governor, without keys", expected, move |_| black_box(&governor.check()).is_ok())
}

/// The check of a handle for one key, which is looked up no more than what has no keys.
fn our_key(quota: &str, expected: bool) -> Contestant {
    let handle = limiter(quota).for_key("sixteen-byte-key");
    drop(handle.check());
    let check = move || black_box(handle.check().expect("memory never fails")).allowed();
    Contestant::new("limiter, gcra, one key's handle", expected, move |_| check())
}

fn one_key(rounds: usize, ratios: &mut Ratios) {
    let (key, thousand, ops, turns) = (Keys::one(), Keys::uniform(1_000), 50_000, 16 * rounds);
    let mut columns = Columns::new();
    let admitted = [
        ours("limiter, gcra", PLENTY, &key, true),
        ours("limiter, fixed_window", &format!("fixed_window {PLENTY}"), &key, true),
        ours("limiter, sliding_window", &format!("sliding_window {PLENTY}"), &key, true),
        ours("limiter, sliding_log", "sliding_log 100000/ms", &key, true),
        governor(PLENTY, &key, true),
        unkeyed(PLENTY, true),
        our_key(PLENTY, true),
    ];
    columns.race(&admitted, ops, turns);
    let denied = [
        ours("limiter, gcra", ONE, &key, false),
        ours("limiter, fixed_window", &format!("fixed_window {ONE}"), &key, false),
        ours("limiter, sliding_window", &format!("sliding_window {ONE}"), &key, false),
        ours("limiter, sliding_log", &format!("sliding_log {ONE}"), &key, false),
        governor(ONE, &key, false),
        unkeyed(ONE, false),
        our_key(ONE, false),
    ];
    columns.race(&denied, ops, turns);
    let keys = [
        ours("limiter, gcra", LASTING, &thousand, true),
        ours("limiter, fixed_window", "fixed_window 1000000000/h", &thousand, true),
        ours("limiter, sliding_window", "sliding_window 100000000/h", &thousand, true),
        ours("limiter, sliding_log", "sliding_log 1000/10ms", &thousand, true),
        governor(LASTING, &thousand, true),
    ];
    columns.race(&keys, ops, turns);
    columns.print("16-byte String keys", &["one key, admitted", "one key, denied", "1,000 keys"]);
    columns.ratios(&["hot-admitted", "hot-denied", "keys-1000"], 4, ratios);
}

/// A log that holds as many stamps as its limit: does it matter how many those are?
fn log_by_limit(rounds: usize) {
    let mut columns = Columns::new();
    for is_admitted in [true, false] {
        let contestants = [100, 10_000, 1_000_000].map(|limit| full_log(limit, is_admitted));
        columns.race(&contestants, 50_000, 16 * rounds);
    }
    columns.print("A full sliding_log by its limit", &["admitted", "denied"]);
}

/// Each look at the clock is 10 µs after the one before, just when a full log's oldest stamp has left; or stands still.
fn full_log(limit: u64, is_admitted: bool) -> Contestant {
    let period = Duration::from_micros(10 * limit - 1);
    let quota = Quota::sliding_log([Rate::new(limit, period).expect("a rate")]).expect("a quota");
    let time = Arc::new(Steps { now: AtomicU64::new(0), is_stopped: AtomicBool::new(false) });
    let limiter = Limiter::builder(quota).clock(Arc::clone(&time)).build();
    (0..limit).for_each(|_| assert!(check(&limiter, "key")));
    time.is_stopped.store(!is_admitted, Ordering::Relaxed);
    Contestant::new(format!("limit {limit}"), is_admitted, move |_| check(&limiter, "key"))
}

struct Steps {
    now: AtomicU64,
    is_stopped: AtomicBool,
}

impl Clock for Steps {
    fn now(&self) -> Timestamp {
        let step = if self.is_stopped.load(Ordering::Relaxed) { 0 } else { 10 };
        Timestamp::from_micros(self.now.fetch_add(step, Ordering::Relaxed) + step)
    }
}

fn many_keys(rounds: usize, ratios: &mut Ratios) {
    let mut columns = Columns::new();
    for keys in [Keys::uniform(1_000_000), Keys::zipf(1_000_000)] {
        let contestants = [ours("limiter, gcra", LASTING, &keys, true), governor(LASTING, &keys, true)];
        columns.race(&contestants, 1_000_000, rounds);
    }
    columns.print("1,000,000 String keys", &["uniform", "Zipf"]);
    columns.ratios(&["keys-1m-uniform", "keys-1m-zipf"], 1, ratios);
}

/// Several rates on a key, several keys in a decision.
fn at_once(rounds: usize, ratios: &mut Ratios) {
    let (key, ops, turns) = (Keys::one(), 50_000, 16 * rounds);
    let mut columns = Columns::new();
    let five = |algorithm: &str, admitting: &str, is_admitted: bool| {
        let rates = if is_admitted { admitting } else { FIVE_USED_UP };
        ours(&format!("limiter, {algorithm}"), &format!("{algorithm} {rates}"), &key, is_admitted)
    };
    for is_admitted in [true, false] {
        let contestants = [
            five("gcra", FIVE, is_admitted),
            five("fixed_window", FIVE, is_admitted),
            five("sliding_window", FIVE, is_admitted),
            five("sliding_log", FIVE_SHORT, is_admitted),
            five_governors(if is_admitted { FIVE } else { FIVE_USED_UP }, &key, is_admitted),
        ];
        columns.race(&contestants, ops, turns);
    }
    columns.print("Five rates on one key", &["admitted", "denied"]);
    columns.ratios(&["five-rates-admitted", "five-rates-denied"], 4, ratios);

    let keys = Keys::uniform(1_000);
    let contestants = [four_keys(&keys), four_governors(&keys)];
    let mut columns = Columns::new();
    columns.race(&contestants, ops, turns);
    columns.print("Four of 1,000 keys, each under a quota of its own", &["admitted"]);
    columns.ratios(&["four-keys"], 1, ratios);
}

/// One governor a rate, asked in turn until one denies; those before it have been charged by then.
fn five_governors(rates: &str, key: &Arc<Keys>, expected: bool) -> Contestant {
    let governors: Vec<Governor> = rates.split(", ").map(Governor::new).collect();
    let key = Arc::clone(key);
    let check = move |nth| governors.iter().all(|governor| governor.check(key.nth(nth)));
    (0..5).for_each(|nth| _ = check(nth));
    Contestant::new("governor, five in turn", expected, check)
}

/// All or nothing: put together anew for each decision, as a server would.
fn four_keys(keys: &Arc<Keys>) -> Contestant {
    let (store, keys) = (MemoryStore::new(), Arc::clone(keys));
    let limiters = ["user", "tenant", "route", "all"]
        .map(|name| Limiter::builder(LASTING.parse().expect("a quota")).name(name).store(store.clone()).build());
    Contestant::new("limiter, all or nothing", true, move |nth| {
        let [user, tenant, route, all] = &limiters;
        let key = |i| keys.nth(4 * nth + i);
        let asks = [user.on(key(0)), tenant.on(key(1)), route.on(key(2)), all.on(key(3))];
        black_box(Limiter::all(asks).check().expect("a decision")).allowed()
    })
}

/// One governor a quota, asked in turn; not all or nothing.
fn four_governors(keys: &Arc<Keys>) -> Contestant {
    let (governors, keys) = ([LASTING; 4].map(Governor::new), Arc::clone(keys));
    Contestant::new("governor, four in turn", true, move |nth| {
        governors.iter().enumerate().all(|(i, governor)| governor.check(keys.nth(4 * nth + i)))
    })
}

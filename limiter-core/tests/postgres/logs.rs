//! Exact logs of many runs.

use crate::{
    fixture::{database, on_tables, unique},
    support::block_on,
};
use limiter_core::{
    Limiter, MemoryStore, Quota, Store, Timestamp,
    store::{Adjust, Demand, Scope},
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

const START: u64 = 1_760_000_000_000_000;

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(START + micros)
}

/// A million takes, a microsecond apart, of which the server is told at once.
#[test]
fn a_log_of_a_million_takes_decides_as_in_memory() {
    let prefix = unique();
    let store = on_tables(&prefix);
    let memory = MemoryStore::new();
    let (scope, quota): (_, Quota) = (Scope::new("million"), "sliding_log 1000000/h".parse().unwrap());
    let demand = |cost| Demand::new(&scope, b"ada", &quota, cost);
    let take = |cost, micros: u64| {
        let ours = block_on(store.take(&[demand(cost)], Some(&at(micros)))).unwrap();
        assert_eq!(
            ours,
            block_on(Store::take(&memory, &[demand(cost)], Some(&at(micros)))).unwrap(),
            "{cost} at {micros}"
        );
    };
    let adjust = |cost, change, micros: u64| {
        let ours = block_on(store.adjust(demand(cost), change, Some(&at(micros)))).unwrap();
        let theirs = block_on(Store::adjust(&memory, demand(cost), change, Some(&at(micros)))).unwrap();
        assert_eq!(ours, theirs, "{change:?} of {cost} at {micros}");
    };
    take(1, 0);
    for micros in 1..999_990 {
        block_on(Store::take(&memory, &[demand(1)], Some(&at(micros)))).unwrap();
    }
    database().psql(&format!(
        "INSERT INTO {prefix}_1_runs SELECT id, 1, n, {START} + n FROM {prefix}_1_states, generate_series(1, 999989) n; \
         UPDATE {prefix}_1_states SET cells = ARRAY[{START} + 999989, 999990, 0]"
    ));
    let hour = 3_600_000_000;
    for micros in 999_990..1_000_010 {
        take(1, micros); // the last ten of which are denied
    }
    take(500_000, 1_000_010); // until half of them have left
    adjust(3, Adjust::Refund { taken: at(999_900) }, 1_000_020);
    adjust(5, Adjust::Charge, 1_000_030);
    adjust(1, Adjust::Restamp { taken: at(999_950) }, 1_000_040);
    take(1, hour + 1);
    take(700_000, hour + 700_123);
    take(200_000, hour + 700_124);
    take(1, hour + 999_000);
    take(1, 3 * hour);
}

/// Ten thousand takes leave as many runs, and then no more: those that left the window go.
#[test]
fn a_full_log_keeps_its_size() {
    let prefix = unique();
    let store = on_tables(&prefix);
    let (scope, quota): (_, Quota) = (Scope::new("full"), "sliding_log 200/ms".parse().unwrap());
    let demand = Demand::new(&scope, b"ada", &quota, 1);
    for nth in 0..1500 {
        assert!(block_on(store.take(&[demand], Some(&at(6 * nth)))).unwrap().allowed());
    }
    let runs: usize = database().psql(&format!("SELECT count(*) FROM {prefix}_1_runs")).parse().unwrap();
    assert!(runs < 200 + 64, "{runs}");
}

/// A resolution bounds the runs.
#[test]
fn cells_are_one_run_each() {
    let prefix = unique();
    let store = on_tables(&prefix);
    let (scope, quota): (_, Quota) = (Scope::new("cells"), "sliding_log 1000000/ms resolution 10".parse().unwrap());
    let demand = Demand::new(&scope, b"ada", &quota, 1);
    for nth in 0..500 {
        assert!(block_on(store.take(&[demand], Some(&at(2 * nth)))).unwrap().allowed());
    }
    let runs: usize = database().psql(&format!("SELECT count(*) FROM {prefix}_1_runs")).parse().unwrap();
    assert!(runs <= 12, "{runs}");
}

/// A look reads a key's row and its runs; it never sees one without the other's change.
#[test]
fn looks_beside_takes_and_refunds_are_of_one_moment() {
    let store = on_tables(&unique());
    let limiter = Limiter::builder("sliding_log 10/10day".parse().unwrap()).store(store).build();
    limiter.blocking().check_n("ada", 8).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let mut seen = 0;
            while !is_over.load(Ordering::Relaxed) {
                let denied = limiter.blocking().check_n("ada", 3).unwrap();
                assert!(!denied.allowed() && (1..=2).contains(&denied.remaining()), "{denied:?}");
                seen += 1;
            }
            seen
        });
        for _ in 0..300 {
            let taken = limiter.blocking().check("ada").unwrap();
            assert!(taken.allowed());
            limiter.blocking().refund("ada", 1, taken.at()).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(looks.join().unwrap() > 0);
    });
    assert_eq!(limiter.blocking().peek("ada").unwrap().remaining(), 2);
}

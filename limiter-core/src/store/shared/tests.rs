//! A kill at each write of a step, and at each write of what ends it for the dead; a step of another at each write.

mod between;

use super::{
    core::Core,
    fuse,
    owner::Owner,
    record::Record,
    slot::{self, Look},
    *,
};
use crate::{Quota, SharedStore, StoreErrorKind};
use std::{
    collections::HashSet,
    env, fs, process,
    sync::atomic::{AtomicUsize, Ordering},
};

const NOW: u64 = 1_760_000_000_000_000;

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

/// A store whose file nobody else opens.
fn store(builder: SharedStoreBuilder) -> SharedStore {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("limiter-shared-unit-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = env::temp_dir().join(name);
    let store = builder.open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    store
}

fn small() -> SharedStore {
    store(SharedStore::builder().max_keys(6).log_entries(400))
}

/// All of a file but its records, which are empty between steps.
fn image(core: &Core) -> Vec<u64> {
    places(core).map(|at| core.words().get(at)).collect()
}

fn bring_back(core: &Core, image: &[u64]) {
    places(core).zip(image).for_each(|(at, word)| core.words().set(at, *word));
}

fn places(core: &Core) -> impl Iterator<Item = usize> {
    (0..core.layout.record(0)).chain(core.layout.slot(0)..core.layout.bytes() / 8)
}

fn records(core: &Core) -> impl Iterator<Item = Record<'_>> {
    (0..core.layout.records()).map(|index| Record::new(core.words(), index))
}

/// Makes whoever is inside a step a process that has ended.
fn bury(core: &Core) {
    let dead = Owner::from_word(u64::from(process::id()) << 42 | 1); // our id, of an earlier start
    assert!(dead.is_dead());
    for index in 0..core.layout.records() {
        if Record::new(core.words(), index).owner() != Owner::NOBODY {
            core.words().store(core.layout.record(index), dead.word());
        }
    }
}

/// Nobody is inside a step, tags are those of the slots, and each claimed block is linked by the slot that claims it.
fn assert_whole(core: &Core, when: &str) {
    let words = core.words();
    assert!(records(core).all(|record| record.owner() == Owner::NOBODY), "{when}: a record is left");
    let mut linked = HashSet::new();
    for slot in 0..core.layout.slots() {
        let tag = match slot::look(words, slot) {
            Look::State(found) => found.name().first,
            Look::Free => 0,
            Look::Owned => panic!("{when}: slot {slot} is stuck"),
            Look::Corrupt => panic!("{when}: slot {slot} cannot be read"),
        };
        assert_eq!(words.tag(slot), tag, "{when}: the tag of slot {slot}");
        if tag != 0 {
            linked.extend(slot::chains(words, slot).flat_map(|chain| chain.blocks(words)).map(|block| (block, slot)));
        }
    }
    for block in 0..core.layout.blocks {
        let claim = words.get(core.layout.claim(block));
        if let Some(slot) = claim.checked_sub(1) {
            let link = (u32::try_from(block).unwrap(), usize::try_from(slot).unwrap());
            assert!(linked.remove(&link), "{when}: block {block} is lost to slot {slot}");
        }
    }
    assert!(linked.is_empty(), "{when}: blocks are linked and free: {linked:?}");
}

type Call = fn(&SharedStore);

/// What is written by a call that takes units of this many keys, in a store that `before` has prepared.
struct Case {
    name: &'static str,
    before: Call,
    call: Call,
}

fn take(store: &SharedStore, key: u8, text: &str, cost: u64, micros: u64) -> bool {
    let (scope, quota) = (Scope::new("a"), quota(text));
    store.take(&[Demand::new(&scope, &[key], &quota, cost)], Some(&at(NOW + micros))).unwrap().allowed()
}

fn takes(store: &SharedStore, key: u8, text: &str, cost: u64, micros: u64) {
    assert!(take(store, key, text, cost, micros));
}

fn adjust(store: &SharedStore, key: u8, text: &str, cost: u64, adjust: Adjust) {
    let (scope, quota) = (Scope::new("a"), quota(text));
    LocalStore::adjust(store, Demand::new(&scope, &[key], &quota, cost), adjust, Some(&at(NOW + 500))).unwrap();
}

fn take_three(store: &SharedStore, micros: u64) {
    let (scope, quotas) = (Scope::new("a"), ["10/min", "sliding_log 90/min", "fixed_window 5/s, 50/min"].map(quota));
    let keys = [[0], [1], [2]];
    let demands: Vec<Demand<'_>> = quotas.iter().zip(&keys).map(|(q, key)| Demand::new(&scope, key, q, 2)).collect();
    assert!(store.take(&demands, Some(&at(NOW + micros))).unwrap().allowed());
}

fn fill_log(store: &SharedStore, key: u8, runs: u64) {
    (0..runs).for_each(|i| assert!(take(store, key, "sliding_log 90/min", 1, i)));
}

/// Live keys in every slot there is.
fn fill(store: &SharedStore) {
    (100..106).for_each(|key| assert!(take(store, key, "1/week", 1, 0)));
}

fn cases() -> Vec<Case> {
    vec![
        Case { name: "a new key", before: |_| {}, call: |store| takes(store, 1, "5/s", 1, 0) },
        Case {
            name: "a packed state",
            before: |store| takes(store, 1, "5/s", 1, 0),
            call: |store| takes(store, 1, "5/s", 1, 0),
        },
        Case {
            name: "several rates",
            before: |store| takes(store, 1, "sliding_window 5/s, 50/min", 1, 0),
            call: |store| takes(store, 1, "sliding_window 5/s, 50/min", 2, 9),
        },
        Case {
            name: "a log that gains a block",
            before: |store| fill_log(store, 1, 31),
            call: |store| takes(store, 1, "sliding_log 90/min", 1, 100),
        },
        Case {
            name: "a log that forgets blocks",
            before: |store| fill_log(store, 1, 60),
            call: |store| takes(store, 1, "sliding_log 90/min", 1, 60_000_040),
        },
        Case {
            name: "a refund within a log",
            before: |store| fill_log(store, 1, 60),
            call: |store| adjust(store, 1, "sliding_log 90/min", 1, Adjust::Refund { taken: at(NOW + 20) }),
        },
        Case {
            name: "three keys, one of them new",
            before: |store| {
                fill_log(store, 1, 20);
                assert!(take(store, 0, "10/min", 1, 0));
            },
            call: |store| take_three(store, 30),
        },
        Case {
            name: "a change from a log to a bucket",
            before: |store| fill_log(store, 1, 40),
            call: |store| takes(store, 1, "80/min", 1, 100),
        },
        Case {
            name: "a block",
            before: |store| takes(store, 1, "5/s", 1, 0),
            call: |store| adjust(store, 1, "5/s", 0, Adjust::Block { until: at(NOW + 9_000_000) }),
        },
        Case {
            name: "a reset",
            before: |store| fill_log(store, 1, 40),
            call: |store| store.reset(&Scope::new("a"), &[1]).unwrap(),
        },
        Case {
            name: "a sweep",
            before: |store| {
                fill_log(store, 1, 40);
                assert!(take(store, 2, "5/s", 1, 0));
            },
            call: |store| assert!(LocalStore::sweep(store, Some(&at(NOW + 100_000_000))).unwrap() <= 2),
        },
        Case { name: "a new shared state", before: fill, call: |store| takes(store, 1, "sliding_log 90/min", 1, 0) },
        Case {
            name: "a shared state that is inherited",
            before: |store| {
                fill(store);
                fill_log(store, 1, 20);
                store.reset(&Scope::new("a"), &[103]).unwrap();
            },
            call: |store| takes(store, 1, "sliding_log 90/min", 1, 50),
        },
        Case {
            name: "a block of a key without room",
            before: fill,
            call: |store| adjust(store, 1, "5/s", 0, Adjust::Block { until: at(NOW + 9_000_000) }),
        },
    ]
}

/// How the keys stand.
fn stand(store: &SharedStore) -> Vec<String> {
    let scope = Scope::new("a");
    let keys = [(0, "10/min"), (1, "sliding_log 90/min"), (1, "5/s"), (2, "fixed_window 5/s, 50/min"), (100, "1/week")];
    let peek = |(key, text): (u8, &str)| {
        let quota = quota(text);
        let seen = store.peek(&[Demand::new(&scope, &[key], &quota, 1)], Some(&at(NOW + 1000))).unwrap();
        format!("{:?}", seen.rates().iter().map(|rate| (rate.remaining(), rate.reset_after())).collect::<Vec<_>>())
    };
    keys.into_iter().map(peek).collect()
}

#[test]
fn a_kill_at_any_write_leaves_all_or_nothing_and_nobody_stuck() {
    for Case { name, before, call } in cases() {
        let store = small();
        let core = &*store.0;
        before(&store);
        let (as_before, started) = (stand(&store), image(core));
        call(&store);
        let as_after = stand(&store);
        let mut writes = 0;
        loop {
            bring_back(core, &started);
            let came_through = fuse::with(writes, || call(&store));
            bury(core);
            let when = format!("{name}, killed after {writes} writes");
            let stands = stand(&store); // whoever comes next ends what stands in the way
            // A sweep is a step a key.
            assert!(stands == as_before || stands == as_after || name == "a sweep", "{when}: {stands:?}");
            core.end_dead_steps().unwrap();
            assert_whole(core, &when);
            if came_through {
                assert_eq!(stands, as_after, "{when}");
                break;
            }
            call(&store);
            assert_whole(core, &when);
            writes += 1;
        }
        assert!(writes >= 1, "{name}");
    }
}

#[test]
fn a_kill_at_any_write_of_who_ends_the_step_of_a_dead_one_changes_nothing() {
    for Case { name, before, call } in cases() {
        let store = small();
        let core = &*store.0;
        before(&store);
        let (as_before, started) = (stand(&store), image(core));
        call(&store);
        let as_after = stand(&store);
        for first in (0..).step_by(3) {
            let mut second = 0;
            let came_through = loop {
                bring_back(core, &started);
                let came_through = fuse::with(first, || call(&store));
                bury(core);
                let ended = fuse::with(second, || assert!(core.end_dead_steps().is_ok()));
                bury(core);
                core.end_dead_steps().unwrap();
                let when = format!("{name}, killed after {first} writes, and who came next after {second}");
                let stands = stand(&store);
                assert!(stands == as_before || stands == as_after || name == "a sweep", "{when}: {stands:?}");
                assert_whole(core, &when);
                if ended {
                    break came_through;
                }
                second += 1;
            };
            if came_through {
                break;
            }
        }
    }
}

#[test]
fn a_damaged_state_of_another_number_of_rates_than_its_quota_is_an_error() {
    for (text, rates) in [("sliding_log 5/s", 2), ("sliding_log 5/s, 9/min", 1), ("5/s, 9/min", 1)] {
        let store = small();
        takes(&store, 1, text, 1, 0);
        let (words, layout) = (store.0.words(), &store.0.layout);
        let used = (0..layout.slots()).find(|slot| words.tag(*slot) != 0).unwrap();
        let meta = layout.slot(used) + slot::META;
        words.set(meta, words.get(meta) & !0xf0 | rates << 4);

        let (scope, quota) = (Scope::new("a"), quota(text));
        let demand = Demand::new(&scope, &[1], &quota, 1);
        for adjust in [None, Some(Adjust::Charge)] {
            let answer = match adjust {
                None => store.take(&[demand], Some(&at(NOW))),
                Some(adjust) => LocalStore::adjust(&store, demand, adjust, Some(&at(NOW))),
            };
            assert_eq!(answer.unwrap_err().kind(), StoreErrorKind::Format, "{text}");
        }
        LocalStore::reset(&store, &scope, &[1]).unwrap();
        takes(&store, 1, text, 1, 0);
    }
}

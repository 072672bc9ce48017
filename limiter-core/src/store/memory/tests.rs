use super::*;
use crate::Quota;
use std::time::Duration;

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn take(store: &MemoryStore, scope: &Scope, key: u64, quota: &Quota, now: Timestamp) -> bool {
    let key = key.to_le_bytes();
    let demand = Demand::new(scope, &key, quota, 1);
    LocalStore::take(store, &[demand], Some(&now)).unwrap().allowed()
}

#[test]
fn a_key_that_was_only_looked_at_takes_no_room() {
    let (store, scope, quota) = (MemoryStore::new(), Scope::new("a"), "5/s".parse::<Quota>().unwrap());
    let demand = Demand::new(&scope, b"k", &quota, 1);
    LocalStore::peek(&store, &[demand], None).unwrap();
    LocalStore::take(&store, &[Demand { cost: 0, ..demand }], None).unwrap();
    LocalStore::take(&store, &[Demand { cost: 6, ..demand }], None).unwrap();
    assert_eq!(store.usage().keys, 0);
    LocalStore::take(&store, &[demand], None).unwrap();
    assert_eq!(store.usage().keys, 1);
}

#[test]
fn idle_keys_are_reclaimed_as_new_ones_come() {
    let (store, scope, quota) = (MemoryStore::new(), Scope::new("a"), "1/us".parse::<Quota>().unwrap());
    for key in 0..200_000_u64 {
        let key = key.to_le_bytes();
        LocalStore::take(&store, &[Demand::new(&scope, &key, &quota, 1)], None).unwrap();
    }
    assert!(store.usage().keys < 20_000, "{:?}", store.usage());
    assert_eq!(store.usage().overflow_writes, 0);
}

#[test]
fn an_injected_clock_that_steps_back_finds_what_was_there() {
    let (store, scope, quota) = (MemoryStore::new(), Scope::new("a"), "1/s".parse::<Quota>().unwrap());
    assert!(take(&store, &scope, 0, &quota, at(5_000_000)));
    for key in 1..10_000 {
        assert!(take(&store, &scope, key, &quota, at(3_600_000_000)));
    }
    assert!(!take(&store, &scope, 0, &quota, at(5_000_000)));
}

#[test]
fn idle_keys_make_room_under_an_injected_clock_too() {
    let (store, scope) = (MemoryStore::builder().max_keys(1000).build(), Scope::new("a"));
    let quota: Quota = "1/s".parse().unwrap();
    for key in 0..100_000 {
        assert!(take(&store, &scope, key, &quota, at(key * 10_000))); // a hundred live at once
    }
    assert_eq!(store.usage().overflow_writes, 0);
}

#[test]
fn a_flood_of_new_keys_evicts_nobody_and_admits_nothing_extra() {
    for quota in ["3/min", "sliding_log 3/min", "fixed_window 3/min", "sliding_window 3/min"] {
        let quota: Quota = quota.parse().unwrap();
        let store = MemoryStore::builder().max_keys(100).build();
        let scope = Scope::new("a");
        let now = at(600_000_000);
        for key in 0..100 {
            for _ in 0..3 {
                assert!(take(&store, &scope, key, &quota, now));
            }
        }
        // The store is full: whoever comes now shares 16 states, three units each.
        let admitted = (1000..3000).filter(|&key| take(&store, &scope, key, &quota, now)).count();
        assert_eq!(admitted, 48, "{quota}");
        assert!((0..100).all(|key| !take(&store, &scope, key, &quota, now)), "an old key got in again");
        assert_eq!(store.usage().keys, 100);
        assert_eq!(store.usage().overflow_states, 16);

        // Once there is room, a key that had written to the overflow takes what it owes along.
        LocalStore::reset(&store, &scope, &0_u64.to_le_bytes()).unwrap();
        assert!(!take(&store, &scope, 1000, &quota, now));
        // After quiet all is as new: those that were there, and those that shared.
        let later = at(600_000_000 + 120_000_001);
        assert!((1000..1100).all(|key| take(&store, &scope, key, &quota, later)), "{quota}");
        let latest = at(600_000_000 + 240_000_002);
        assert!((0..100).all(|key| take(&store, &scope, key, &quota, latest)), "{quota}");
    }
}

/// A store of one slot, which another key has taken for good.
fn full() -> (MemoryStore, Scope) {
    let (store, scope) = (MemoryStore::builder().max_keys(1).build(), Scope::new("a"));
    let week: Quota = "1/week".parse().unwrap();
    assert!(take(&store, &Scope::new("other"), 0, &week, at(0)));
    (store, scope)
}

#[test]
fn keys_that_would_share_a_state_in_one_decision_get_nothing_extra() {
    let (store, scope) = full();
    let quota: Quota = "fixed_window 10/h".parse().unwrap();
    // Of two that share a state the one put back last would wash out what the other took.
    for pair in 0..400_u64 {
        let scope = Scope::new(format!("{} {pair}", scope.name()));
        let (a, b) = ((2 * pair).to_le_bytes(), (2 * pair + 1).to_le_bytes());
        let demands = [Demand::new(&scope, &a, &quota, 9), Demand::new(&scope, &b, &quota, 1)];
        let decision = LocalStore::take(&store, &demands, Some(&at(1))).unwrap();
        let left = LocalStore::peek(&store, &demands[..1], Some(&at(1))).unwrap().remaining();
        assert!(!decision.allowed() || left <= 1, "pair {pair}: {left} left of ten after nine");
        assert_eq!(decision.retry_after().unwrap().is_zero(), decision.allowed());
    }
}

#[test]
fn a_key_under_a_changed_quota_keeps_its_state_when_others_need_room() {
    let scope = Scope::new("a");
    for round in 0..300_u64 {
        let store = MemoryStore::builder().max_keys(1).build();
        let [log, bucket, other]: [Quota; 3] = ["sliding_log 5/day", "5/day", "1/day"].map(|q| q.parse().unwrap());
        let (p, q) = ((2 * round).to_le_bytes(), (2 * round + 1).to_le_bytes());
        let taken = LocalStore::take(&store, &[Demand::new(&scope, b"x", &log, 5)], Some(&at(1_000_000))).unwrap();
        assert!(taken.allowed());
        let beside = Scope::new("b");
        let looked = Demand::new(&scope, b"x", &bucket, 0);
        let demands = [looked, Demand::new(&beside, &p, &other, 1), Demand::new(&beside, &q, &other, 1)];
        LocalStore::take(&store, &demands, Some(&at(1_000_001))).unwrap();
        let next = LocalStore::take(&store, &[Demand { cost: 1, ..looked }], Some(&at(1_000_002))).unwrap();
        assert!(!next.allowed(), "round {round}: five of five were in use");
    }
}

#[test]
fn quotas_of_one_limiter_do_not_wash_each_other_out_in_the_overflow() {
    let (store, scope) = full();
    let (slow, fast): (Quota, Quota) = ("fixed_window 100/h".parse().unwrap(), "1/s".parse().unwrap());
    let mut admitted = 0;
    for second in 0..400 {
        admitted += (0..50).filter(|i| take(&store, &scope, 7, &slow, at(second * 1_000_000 + i))).count();
        for key in 100..200 {
            take(&store, &scope, key, &fast, at(second * 1_000_000 + 100));
        }
    }
    assert_eq!(admitted, 100);
}

#[test]
fn a_block_is_never_shared_nor_ended_by_another_keys() {
    let (store, scope) = full();
    let quota: Quota = "10/s".parse().unwrap();
    let block = |key: u64, until| {
        let key = key.to_le_bytes();
        LocalStore::adjust(&store, Demand::new(&scope, &key, &quota, 0), Adjust::Block { until }, Some(&at(0)))
            .unwrap();
    };
    block(1, at(60_000_000));
    (2..100).for_each(|key| block(key, at(0)));
    assert!(!take(&store, &scope, 1, &quota, at(1)));
    assert!((2..6).all(|key| take(&store, &scope, key, &quota, at(1))), "only the blocked key is");
    assert!(take(&store, &scope, 1, &quota, at(60_000_000)));
}

#[test]
fn denials_and_peeks_write_nothing_to_the_overflow_either() {
    let (store, scope) = full();
    let quota: Quota = "1/h".parse().unwrap();
    assert!(take(&store, &scope, 1, &quota, at(0)));
    let key = 1_u64.to_le_bytes();
    for _ in 0..10 {
        assert!(!take(&store, &scope, 1, &quota, at(1)));
        LocalStore::peek(&store, &[Demand::new(&scope, &key, &quota, 1)], Some(&at(1))).unwrap();
    }
    assert_eq!(store.usage().overflow_writes, 1);
}

#[test]
fn quotas_that_no_key_is_under_any_more_are_forgotten() {
    let (store, scope) = (MemoryStore::new(), Scope::new("a"));
    for limit in 1..5000 {
        let quota: Quota = format!("{limit}/h").parse().unwrap();
        assert!(take(&store, &scope, 1, &quota, at(0)));
        LocalStore::reset(&store, &scope, &1_u64.to_le_bytes()).unwrap();
    }
    let kept: usize = store.0.shards.iter().map(|shard| lock(shard).quotas()).sum();
    assert!(kept <= 128, "{kept}");
}

#[test]
fn a_sweep_drops_what_is_idle_and_nothing_else() {
    let (store, scope) = (MemoryStore::new(), Scope::new("a"));
    let (short, long): (Quota, Quota) = ("1/s".parse().unwrap(), "1/h".parse().unwrap());
    for key in 0..1000 {
        take(&store, &scope, key, if key % 2 == 0 { &short } else { &long }, at(0));
    }
    assert_eq!(LocalStore::sweep(&store, Some(&at(999_999))).unwrap(), 0);
    assert_eq!(LocalStore::sweep(&store, Some(&at(1_000_000))).unwrap(), 500);
    assert!((0..1000).all(|key| key % 2 == 0 || !take(&store, &scope, key, &long, at(1_000_000))));
}

#[test]
fn a_changed_quota_keeps_what_was_in_use() {
    let (store, scope) = (MemoryStore::new(), Scope::new("a"));
    let (old, new): (Quota, Quota) = ("fixed_window 10/min".parse().unwrap(), "sliding_log 12/min".parse().unwrap());
    for _ in 0..10 {
        assert!(take(&store, &scope, 1, &old, at(0)));
    }
    assert!(take(&store, &scope, 1, &new, at(1)));
    assert!(take(&store, &scope, 1, &new, at(2)));
    assert!(!take(&store, &scope, 1, &new, at(3)));
}

#[test]
fn limiters_of_different_names_do_not_meet() {
    let (store, quota) = (MemoryStore::new(), "1/h".parse::<Quota>().unwrap());
    assert!(take(&store, &Scope::new("a"), 1, &quota, at(0)));
    assert!(take(&store, &Scope::new("b"), 1, &quota, at(0)));
    assert!(!take(&store, &Scope::new("a"), 1, &quota, at(0)));
}

#[test]
fn two_demands_on_one_key_are_refused() {
    let (store, scope, quota) = (MemoryStore::new(), Scope::new("a"), "5/h".parse::<Quota>().unwrap());
    let demand = Demand::new(&scope, b"k", &quota, 3);
    let error = LocalStore::take(&store, &[demand, demand], None).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::DuplicateKey);
    assert_eq!(store.usage().keys, 0);
}

#[test]
fn the_stores_own_clock_is_used_where_none_is_given() {
    let store = MemoryStore::new();
    let before = LocalStore::now(&store, None).unwrap();
    assert!(Timestamp::from(std::time::SystemTime::now()).saturating_since(before) < Duration::from_secs(60));
}

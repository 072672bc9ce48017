//! A file that is full: live keys stay, new ones share, and nothing extra is admitted.

use super::world::{at, quota, take, unnamed};
use limiter_core::{
    LocalStore, Quota, SharedStore, StoreErrorKind,
    store::{Adjust, Demand, Scope},
};

const NOW: u64 = 600_000_000;

#[test]
fn a_flood_of_new_keys_evicts_nobody_and_admits_nothing_extra() {
    for quota in ["3/min", "sliding_log 3/min", "fixed_window 3/min", "sliding_window 3/min", "3/min, 9/h"].map(quota) {
        let store = unnamed(SharedStore::builder().max_keys(100));
        let scope = Scope::new("a");
        let now = Some(at(NOW));
        for key in 0..100 {
            assert!((0..3).all(|_| take(&store, &scope, key, &quota, now)));
        }
        // Whoever comes now shares 16 states, three units each.
        let admitted = (1000..3000).filter(|&key| take(&store, &scope, key, &quota, now)).count();
        assert_eq!(admitted, 48, "{quota}");
        assert!((0..100).all(|key| !take(&store, &scope, key, &quota, now)), "an old key got in again");
        let usage = store.usage();
        assert_eq!((usage.keys, usage.max_keys, usage.overflow_states, usage.overflow_writes), (100, 100, 16, 48));

        // Once there is room, a key that had written to the overflow takes what it owes along.
        LocalStore::reset(&store, &scope, &0_u64.to_le_bytes()).unwrap();
        assert!(!take(&store, &scope, 1000, &quota, now));
        // After quiet all is as new: those that were there, and those that shared.
        let hours = |n: u64| Some(at(NOW + n * 7_200_000_001));
        assert!((1000..1100).all(|key| take(&store, &scope, key, &quota, hours(1))), "{quota}");
        assert!((0..100).all(|key| take(&store, &scope, key, &quota, hours(2))), "{quota}");
        LocalStore::sweep(&store, hours(3).as_ref().map(|now| now as _)).unwrap();
        assert_eq!((store.usage().keys, store.usage().overflow_states, store.usage().log_entries), (0, 0, 0));
    }
}

#[test]
fn idle_keys_make_room_as_new_ones_come_under_the_own_clock_and_an_injected_one() {
    let store = unnamed(SharedStore::builder().max_keys(1000));
    let scope = Scope::new("a");
    let (short, second) = (quota("1/us"), quota("1/s"));
    assert!((0..20_000).all(|key| take(&store, &scope, key, &short, None)));
    assert_eq!(store.usage().overflow_writes, 0);
    for key in 0..20_000 {
        assert!(take(&store, &Scope::new("b"), key, &second, Some(at(NOW + key * 10_000)))); // a hundred live at once
    }
    assert_eq!(store.usage().overflow_writes, 0);
}

#[test]
fn idle_keys_are_kept_for_an_injected_clock_that_steps_back_while_there_is_room() {
    let (store, scope, quota) = (unnamed(SharedStore::builder()), Scope::new("a"), quota("1/s"));
    assert!(take(&store, &scope, 0, &quota, Some(at(5_000_000))));
    assert!((1..10_000).all(|key| take(&store, &scope, key, &quota, Some(at(3_600_000_000)))));
    assert!(!take(&store, &scope, 0, &quota, Some(at(5_000_000))));
}

/// A store of one slot, which another key has taken for good.
fn full() -> (SharedStore, Scope) {
    let (store, scope) = (unnamed(SharedStore::builder().max_keys(1)), Scope::new("a"));
    assert!(take(&store, &Scope::new("other"), 0, &quota("1/week"), Some(at(0))));
    (store, scope)
}

#[test]
fn keys_that_would_share_a_state_in_one_decision_get_nothing_extra() {
    let (store, scope) = full();
    let quota: Quota = quota("fixed_window 10/h");
    let mut admitted = 0;
    for other in 1..200_u64 {
        let (a, b) = (0_u64.to_le_bytes(), other.to_le_bytes());
        let demands = [Demand::new(&scope, &a, &quota, 5), Demand::new(&scope, &b, &quota, 1)];
        let decision = LocalStore::take(&store, &demands, Some(&at(other))).unwrap();
        admitted += u64::from(decision.allowed());
        assert_eq!(decision.retry_after().unwrap().is_zero(), decision.allowed());
    }
    assert_eq!(admitted, 2, "ten units, five at a time");
}

#[test]
fn quotas_of_one_limiter_do_not_wash_each_other_out_in_the_overflow() {
    let (store, scope) = full();
    let (slow, fast) = (quota("fixed_window 100/h"), quota("1/s"));
    let mut admitted = 0;
    for second in 0..200 {
        let take_slow = |i| take(&store, &scope, 7, &slow, Some(at(second * 1_000_000 + i)));
        admitted += (0..50).filter(|i| take_slow(*i)).count();
        for key in 100..150 {
            take(&store, &scope, key, &fast, Some(at(second * 1_000_000 + 100)));
        }
    }
    assert_eq!(admitted, 100);
}

#[test]
fn a_block_is_never_shared_nor_ended_by_another_keys() {
    let (store, scope) = full();
    let quota = quota("10/s");
    let block = |key: u64, until| {
        let key = key.to_le_bytes();
        let demand = Demand::new(&scope, &key, &quota, 0);
        LocalStore::adjust(&store, demand, Adjust::Block { until }, Some(&at(0))).unwrap();
    };
    block(1, at(60_000_000));
    (2..100).for_each(|key| block(key, at(0)));
    assert!(!take(&store, &scope, 1, &quota, Some(at(1))));
    assert!((2..6).all(|key| take(&store, &scope, key, &quota, Some(at(1)))), "only the blocked key is");
    assert!(take(&store, &scope, 1, &quota, Some(at(60_000_000))));
}

#[test]
fn denials_and_peeks_write_nothing_to_the_overflow_either() {
    let (store, scope) = full();
    let quota = quota("1/h");
    assert!(take(&store, &scope, 1, &quota, Some(at(0))));
    let key = 1_u64.to_le_bytes();
    for _ in 0..10 {
        assert!(!take(&store, &scope, 1, &quota, Some(at(1))));
        LocalStore::peek(&store, &[Demand::new(&scope, &key, &quota, 1)], Some(&at(1))).unwrap();
    }
    assert_eq!(store.usage().overflow_writes, 1);
}

#[test]
fn where_the_overflow_is_full_too_a_new_key_is_an_error_and_the_others_go_on() {
    let (store, _) = full();
    let most = store.usage().max_overflow_states as u64;
    let quota = quota("2/h");
    let take_in = |limiter: u64| {
        let scope = Scope::new(limiter.to_string());
        LocalStore::take(&store, &[Demand::new(&scope, b"k", &quota, 1)], Some(&at(0)))
    };
    assert!((0..most).all(|limiter| take_in(limiter).unwrap().allowed()));
    let error = take_in(most).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full);
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("max_keys"));
    assert!((0..most).all(|limiter| take_in(limiter).unwrap().allowed()));
    assert!((0..most).all(|limiter| !take_in(limiter).unwrap().allowed()));
}

#[test]
fn a_log_without_room_is_kept_coarser_and_never_admits_more() {
    let store = unnamed(SharedStore::builder().max_keys(10).log_entries(60));
    let (scope, quota) = (Scope::new("a"), quota("sliding_log 200/s"));
    let mut admitted: Vec<u64> = Vec::new();
    for now in (NOW..NOW + 5_000_000).step_by(1000) {
        if take(&store, &scope, 1, &quota, Some(at(now))) {
            admitted.push(now);
        }
    }
    assert!(admitted.windows(201).all(|units| units[200] - units[0] > 1_000_000), "more than 200 in a second");
    assert!(admitted.len() > 400, "{}", admitted.len());
    assert!(store.usage().coarsened > 0);
}

#[test]
fn what_a_file_does_not_hold_is_refused_and_says_what_would_help() {
    let store = unnamed(SharedStore::builder().max_keys(10).max_rates(2).log_entries(50_000));
    let take = |text: &str| {
        let (scope, quota) = (Scope::new("a"), quota(text));
        LocalStore::take(&store, &[Demand::new(&scope, b"k", &quota, 1)], None).map(|decision| decision.allowed())
    };
    for (text, help) in [("sliding_log 10001/min", "resolution"), ("1/s, 2/min, 3/h", "max_rates")] {
        let error = take(text).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::TooLarge);
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert!(why.contains(help), "{why}");
    }
    assert!(take("sliding_log 10000/min").unwrap());
    assert!(take("sliding_log 10001/min resolution 1000").unwrap());
}

#[test]
fn a_key_that_was_only_looked_at_takes_no_room() {
    let (store, scope, quota) = (unnamed(SharedStore::builder()), Scope::new("a"), quota("5/s"));
    let demand = Demand::new(&scope, b"k", &quota, 1);
    LocalStore::peek(&store, &[demand], None).unwrap();
    LocalStore::take(&store, &[Demand::new(&scope, b"k", &quota, 0)], None).unwrap();
    LocalStore::take(&store, &[Demand::new(&scope, b"k", &quota, 6)], None).unwrap();
    assert_eq!(store.usage().keys, 0);
    LocalStore::take(&store, &[demand], None).unwrap();
    assert_eq!(store.usage().keys, 1);
}

#[test]
fn two_demands_on_one_key_and_more_than_64_are_refused() {
    let (store, scope, quota) = (unnamed(SharedStore::builder()), Scope::new("a"), quota("5/h"));
    let demand = Demand::new(&scope, b"k", &quota, 3);
    let error = LocalStore::take(&store, &[demand, demand], None).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::DuplicateKey);
    let keys: Vec<[u8; 1]> = (0..65).map(|key| [key]).collect();
    let demands: Vec<Demand<'_>> = keys.iter().map(|key| Demand::new(&scope, key, &quota, 1)).collect();
    let error = LocalStore::take(&store, &demands, None).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::TooManyDemands);
    assert!(LocalStore::take(&store, &demands[..64], None).unwrap().allowed());
    assert_eq!(store.usage().keys, 64);
}

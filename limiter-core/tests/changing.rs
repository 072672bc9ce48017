//! Quotas that change and keys that are reset while units are in use: nothing is minted, and who only looks changes nothing.

#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use limiter_core::{Decision, Error, Limiter, LimiterBuilder, MemoryStore, Quota, Timestamp};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

support::late::late_calls!(MemoryStore::new);

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

fn frozen(text: &str) -> LimiterBuilder {
    Limiter::builder(quota(text)).clock(Timestamp::from_micros(1_760_000_000_000_000))
}

const ALGORITHMS: [&str; 4] = ["gcra", "fixed_window", "sliding_window", "sliding_log"];

#[test]
fn quotas_are_told_apart_by_their_whole_fingerprints() {
    // The low halves of these fingerprints are the same.
    let limiter = frozen("fixed_window 45/198s").build();
    limiter.check_n("k", 45).unwrap();
    limiter.set_quota(quota("sliding_window 802/189s"));
    let admitted = (0..2000).filter(|_| limiter.check("k").unwrap().allowed()).count();
    assert_eq!(admitted, 802 - 45);
}

#[test]
fn a_refund_after_a_smaller_quota_returns_only_what_it_has_room_for() {
    for algorithm in ALGORITHMS {
        let limiter = frozen(&format!("{algorithm} 100/min")).build();
        let [first, _second] = [0; 2].map(|_| limiter.acquire("k").cost(50).blocking().unwrap());
        limiter.set_quota(quota(&format!("{algorithm} 50/min")));
        first.refund_blocking().unwrap();
        assert!(!limiter.check("k").unwrap().allowed(), "{algorithm}: the other permit holds all fifty");
    }
}

#[test]
fn a_peek_leaves_the_change_to_who_writes() {
    let limiter = frozen("10/min").build();
    limiter.check_n("k", 10).unwrap();
    limiter.set_quota(quota("5/min"));
    assert_eq!(limiter.peek("k").unwrap().remaining(), 0);
    limiter.set_quota(quota("10/min"));
    assert_eq!(limiter.peek("k").unwrap().remaining(), 0);
}

#[test]
fn a_permit_from_before_a_restart_returns_nothing_to_what_came_after() {
    for algorithm in ALGORITHMS {
        let limiter = frozen(&format!("{algorithm} 10/min")).build();
        let old = limiter.acquire("k").cost(8).blocking().unwrap();
        limiter.restart(quota(&format!("{algorithm} 10/min")));
        limiter.check_n("k", 8).unwrap();
        assert_eq!(old.refund_blocking().unwrap().remaining(), 2, "{algorithm}");
    }
}

#[test]
fn a_permit_of_a_handle_from_before_a_reset_returns_nothing() {
    let limiter = frozen("10/min").build();
    let key = limiter.for_key("k");
    drop(key.acquire().blocking().unwrap()); // so that the next one goes the short way
    for is_restart in [false, true] {
        let old = key.acquire().cost(4).blocking().unwrap();
        match is_restart {
            false => limiter.reset("k").unwrap(),
            true => limiter.restart(quota("10/min")),
        }
        limiter.check_n("k", 6).unwrap();
        assert_eq!(support::block_on(old.refund()).unwrap().remaining(), 4);
        let new = key.acquire().cost(4).blocking().unwrap();
        assert_eq!(support::block_on(new.settle(1)).unwrap().remaining(), 3);
        limiter.reset("k").unwrap();
    }
}

#[test]
fn a_decision_is_over_at_most_64_keys() {
    let limiter = frozen("10/min").build();
    let ask = |keys: u64| Limiter::all((0..keys).map(|key| limiter.on(key))).check();
    assert!(ask(64).unwrap().allowed());
    let refused = ask(65).unwrap_err();
    assert!(matches!(&refused, Error::TooManyDemands));
    assert!(refused.to_string().contains("at most 64"));
}

/// Threads that check as fast as they can while the quota grows, a few units at a time, many times over.
#[test]
fn a_quota_that_grows_under_many_threads_lets_in_exactly_the_largest_one() {
    for round in 0..80 {
        let algorithm = ALGORITHMS[round % ALGORITHMS.len()];
        let limiter = frozen(&format!("{algorithm} 10/min")).build();
        let (is_over, admitted) = (AtomicBool::new(false), AtomicU64::new(0));
        let check = |ask: &dyn Fn() -> Decision| {
            while !is_over.load(Ordering::Acquire) {
                admitted.fetch_add(u64::from(ask().allowed()), Ordering::AcqRel);
            }
            while ask().allowed() {
                admitted.fetch_add(1, Ordering::AcqRel);
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                let key = limiter.for_key("k");
                check(&|| key.check().unwrap());
            });
            scope.spawn(|| check(&|| Limiter::all([limiter.on("k")]).check().unwrap()));
            scope.spawn(|| check(&|| limiter.check("k").unwrap()));
            for limit in (20..=200).step_by(10) {
                limiter.set_quota(quota(&format!("{algorithm} {limit}/min")));
                thread::yield_now();
            }
            is_over.store(true, Ordering::Release);
        });
        assert_eq!(admitted.into_inner(), 200, "{algorithm}");
    }
}

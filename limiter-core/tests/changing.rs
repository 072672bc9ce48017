//! Quotas that change while units are in use: nothing is minted, and who only looks changes nothing.

#![allow(clippy::unwrap_used)]

use limiter_core::{Error, Limiter, LimiterBuilder, Quota, Timestamp};

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
fn a_decision_is_over_at_most_64_keys() {
    let limiter = frozen("10/min").build();
    let ask = |keys: u64| Limiter::all((0..keys).map(|key| limiter.on(key))).check();
    assert!(ask(64).unwrap().allowed());
    let refused = ask(65).unwrap_err();
    assert!(matches!(&refused, Error::TooManyDemands));
    assert!(refused.to_string().contains("at most 64"));
}

//! Units reserved for later: used at their instants, beside everything else, they keep the promise.

use super::{
    promise::Kept,
    random::{self, Label, Rng, Time, each_seed, micros},
};
use limiter_core::{Algorithm, Error, Limiter, ManualClock, MemoryStore, Permit, Timestamp};
use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

/// Runs a future that is ready at once.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

fn set(clock: &ManualClock, now: u64) {
    clock.set(Timestamp::from_micros(now));
}

/// Random reservations and checks, charges and restamps, and refunds of reservations if `refunds`.
fn reservations_keep_the_promise(rng: &mut Rng, label: Label, algorithm: Algorithm, refunds: bool) {
    let with_cells = rng.one_in(2);
    let spec = random::spec(rng, algorithm, with_cells);
    let (limiter, clock) = random::limiter(&spec);
    let mut time = Time { now: random::START, is_wild: false };
    let (mut kept, mut permits, mut waits) = (Kept::default(), Vec::<Permit<MemoryStore>>::new(), [1; 2]);
    for _ in 0..200 {
        let asked = time.step(rng, &spec, waits);
        set(&clock, asked);
        let cost = if rng.one_in(2) { 1 } else { rng.between(1, spec.capacity()) };
        match rng.below(10) {
            0..5 => match now(limiter.reserve("k", cost)) {
                Ok((permit, wait)) => {
                    let at = permit.decision().at().as_micros();
                    assert_eq!(at, asked + micros(wait), "{label}: {spec:?}");
                    kept.add(at, cost);
                    permits.push(permit);
                }
                Err(Error::WaitTooLong { needed, allowed }) => assert!(needed > allowed, "{label}: {spec:?}"),
                Err(error) => panic!("{label}: {error}"),
            },
            5 if refunds && !permits.is_empty() => {
                let permit = permits.swap_remove(rng.index(permits.len()));
                kept.remove(permit.decision().at().as_micros(), permit.cost());
                permit.refund_blocking().unwrap();
            }
            6 if rng.one_in(2) => drop(limiter.charge("k", cost).unwrap()), // only delays what comes later
            7 if rng.one_in(2) => {
                let used = |permit: &Permit<MemoryStore>| permit.decision().at().as_micros() <= asked;
                if let Some(place) = permits.iter().position(used) {
                    now(permits.swap_remove(place).restamp()).unwrap();
                }
            }
            6 if rng.one_in(4) => drop(limiter.block("k", Duration::from_micros(rng.below(spec.rates[0].period)))),
            _ => {
                let decision = limiter.check_n("k", cost).unwrap();
                if decision.allowed() {
                    kept.add(asked, cost);
                }
                waits = [micros(decision.reset_after()), decision.retry_after().map_or(1, micros)];
            }
        }
    }
    kept.check(&spec, &label);
}

#[test]
fn reserved_units_of_buckets_keep_the_promise() {
    each_seed(300, |rng, label| reservations_keep_the_promise(rng, label, Algorithm::Gcra, false));
}

#[test]
fn reserved_units_of_fixed_windows_keep_the_promise() {
    each_seed(300, |rng, label| reservations_keep_the_promise(rng, label, Algorithm::FixedWindow, false));
}

#[test]
fn reserved_units_of_sliding_windows_keep_the_promise() {
    each_seed(300, |rng, label| reservations_keep_the_promise(rng, label, Algorithm::SlidingWindow, false));
}

#[test]
fn reserved_units_of_logs_keep_the_promise() {
    each_seed(300, |rng, label| reservations_keep_the_promise(rng, label, Algorithm::SlidingLog, false));
}

#[test]
fn reservations_given_back_keep_the_promise() {
    each_seed(600, |rng, label| {
        let algorithm = *rng.pick(&Algorithm::ALL);
        reservations_keep_the_promise(rng, label, algorithm, true);
    });
}

/// What is granted after a change of the quota keeps the new one by itself, whatever was reserved before; that comes on
/// top, each unit at its own instant, and is less than two of the old quota.
#[test]
fn units_reserved_before_a_change_of_the_quota_come_on_top_of_the_new_one() {
    each_seed(900, |rng, label| {
        let algorithm = *rng.pick(&[Algorithm::Gcra, Algorithm::SlidingWindow, Algorithm::SlidingLog]);
        let (old, new) = (random::spec(rng, algorithm, false), random::any_spec(rng));
        let (limiter, clock) = random::limiter(&old);
        let mut time = Time { now: random::START, is_wild: false };
        let (mut before, mut after, mut waits) = (Kept::default(), Kept::default(), [1; 2]);
        let mut reserved = Vec::new();
        for event in 0..120 {
            let (spec, kept) = if event < 60 { (&old, &mut before) } else { (&new, &mut after) };
            if event == 60 {
                limiter.set_quota(new.quota());
                reserved.retain(|(at, _)| *at > time.now);
                let units: u64 = reserved.iter().map(|(_, units)| units).sum();
                assert!(units < 2 * old.capacity(), "{label}: {old:?}: {reserved:?} at {}", time.now);
            }
            let asked = time.step(rng, spec, waits);
            set(&clock, asked);
            let cost = if rng.one_in(2) { 1 } else { rng.between(1, spec.capacity()) };
            if event < 60 && rng.one_in(2) {
                if let Ok((permit, _)) = now(limiter.reserve("k", cost)) {
                    let at = permit.decision().at().as_micros();
                    kept.add(at, cost);
                    reserved.push((at, cost));
                }
                continue;
            }
            let decision = limiter.check_n("k", cost).unwrap();
            if decision.allowed() {
                kept.add(asked, cost);
            }
            waits = [micros(decision.reset_after()), decision.retry_after().map_or(1, micros)];
        }
        before.check(&old, &label);
        after.check(&new, &label);
    });
}

/// At the change, what is reserved is in use like all else: at most to full.
#[test]
fn units_reserved_are_in_use_when_the_quota_changes() {
    for (old, new, left) in [
        ("10/s", "20/s", 5),
        ("10/s", "12/s", 0),
        ("sliding_log 10/s", "sliding_log 20/s", 5),
        ("sliding_log 10/s", "30/s", 15),
        ("sliding_log 10/s", "fixed_window 12/s", 0),
    ] {
        let clock = ManualClock::new(Timestamp::from_micros(random::START));
        let limiter = Limiter::builder(old.parse().unwrap()).clock(clock.clone()).build();
        assert!(limiter.check_n("k", 10).unwrap().allowed());
        clock.advance(Duration::from_micros(1));
        let (_permit, wait) = now(limiter.reserve("k", 5)).unwrap();
        assert!(wait > Duration::ZERO, "{old}");
        limiter.set_quota(new.parse().unwrap());
        let denied = limiter.check_n("k", left + 1).unwrap(); // the key's next decision, with which it changes
        assert_eq!((denied.allowed(), denied.remaining()), (false, left), "{old} to {new}");
        // They count from the change, not from when they are due: by then they may be on top of a whole quota.
        clock.advance(Duration::from_secs(2));
        assert!(limiter.check_n("k", limiter.quota().unwrap().capacity()).unwrap().allowed(), "{old} to {new}");
    }
}

fn frozen(quota: &str) -> Limiter {
    Limiter::builder(quota.parse().unwrap()).clock(Timestamp::from_micros(random::START)).build()
}

#[test]
fn whoever_asks_after_a_reservation_does_not_overtake_it() {
    for quota in ["10/s", "sliding_log 10/s", "sliding_log 10/s, 20/3s"] {
        let clock = ManualClock::new(Timestamp::from_micros(random::START));
        let limiter = Limiter::builder(quota.parse().unwrap()).clock(clock.clone()).build();
        assert!(limiter.check_n("k", 10).unwrap().allowed());
        clock.advance(Duration::from_micros(1)); // a log's units leave a microsecond after a period, and that is its reach
        let (_permit, wait) = now(limiter.reserve("k", 5)).unwrap();
        assert!(wait > Duration::ZERO);
        assert!(!limiter.check("k").unwrap().allowed(), "{quota}: eleven at once");
    }
}

/// What was taken before a reservation and is refunded then does not leave its units twice.
#[test]
fn a_refund_does_not_eat_into_a_reservation() {
    let clock = ManualClock::new(Timestamp::from_micros(random::START));
    let limiter = Limiter::builder("10/s".parse().unwrap()).clock(clock.clone()).build();
    let take = limiter.check_n("k", 10).unwrap();
    let (_permit, wait) = now(limiter.reserve("k", 10)).unwrap();
    assert_eq!(wait, Duration::from_secs(1));
    limiter.refund("k", 10, take.at()).unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(limiter.peek("k").unwrap().remaining(), 0, "the ten reserved are used now, of a bucket of ten");
}

/// A log in debt has no room ahead for all that may fit then: it says so instead of forgetting what it granted.
#[test]
fn a_log_in_debt_grants_no_more_ahead_than_it_can_hold() {
    for quota in ["sliding_log 10/s", "sliding_log 10/s resolution 5"] {
        let clock = ManualClock::new(Timestamp::from_micros(random::START));
        let limiter = Limiter::builder(quota.parse().unwrap()).clock(clock.clone()).build();
        limiter.check_n("k", 10).unwrap();
        limiter.charge("k", 10).unwrap();
        clock.advance(Duration::from_millis(500));
        let granted = (0..1000).filter(|_| now(limiter.reserve("k", 10)).is_ok()).count();
        assert_eq!(granted, 0, "{quota}");
        clock.advance(Duration::from_millis(800));
        assert!(limiter.check_n("k", 10).unwrap().allowed(), "{quota}");
        let granted = (0..1000).filter(|_| now(limiter.reserve("k", 10)).is_ok()).count();
        assert!(granted <= 1, "{quota}: {granted}");
    }
}

/// What would leave a gap in a bucket's state, which a refund could eat through, or cannot be kept at all, is refused.
#[test]
fn what_cannot_be_kept_ahead_is_refused_and_takes_nothing() {
    for quota in ["fixed_window 10/s", "10/s, 20/3s"] {
        let limiter = frozen(quota);
        limiter.check_n("k", 10).unwrap();
        let before = limiter.peek_n("k", 0).unwrap();
        let refused = now(limiter.reserve("k", 5)).map(drop);
        assert!(matches!(refused, Err(Error::WaitTooLong { .. })), "{quota}: {refused:?}");
        assert_eq!(limiter.peek_n("k", 0).unwrap(), before, "{quota}");
    }
    let limiter = frozen("10/s");
    limiter.block("k", Duration::from_millis(1)).unwrap();
    let refused = now(limiter.reserve("k", 5)).map(drop);
    assert!(matches!(refused, Err(Error::WaitTooLong { needed, .. }) if needed == Duration::from_millis(1)));
}

//! Pace and order in virtual time, to the microsecond; bounds, keys, costs and what a dropped call gives back.

use crate::common::crowd::{Crowd, Noting, call, limiter, since_start};
use limiter_core::{Error, Limiter};
use limiter_tower::{KeyError, ThrottleError, ThrottleLayer};
use std::{error::Error as _, io, time::Duration};
use tower::{Layer, service_fn};

#[test]
fn each_request_is_passed_on_at_its_exact_instant_in_the_order_of_the_calls() {
    for (quota, instants) in [
        ("sliding_log 2/s", [0, 0, 1_000_001, 1_000_001, 2_000_002]),
        ("2/s burst 1", [0, 500_000, 1_000_000, 1_500_000, 2_000_000]),
        ("3/s burst 2", [0, 0, 333_334, 666_667, 1_000_000]),
        ("fixed_window 1/s", [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000]),
    ] {
        let (limiter, clock) = limiter(quota);
        let inner = Noting::new(&clock);
        let mut service = ThrottleLayer::new(limiter.clone()).layer(inner.clone());
        let mut crowd = Crowd::new(&clock);
        let calls: Vec<_> = (0..5).map(|number| call(&mut service, number)).collect();
        for call in calls.into_iter().rev() {
            crowd.add(call); // the order of the polls says nothing
        }
        crowd.run();
        let mut passed = inner.calls();
        passed.sort_by_key(|(number, at)| (*at, *number)); // of those due at one instant, the polls' order
        assert_eq!(passed, (0..5).zip(instants).collect::<Vec<_>>(), "{quota}");
        assert_eq!(limiter.waiting(), 0);
    }
}

#[test]
fn nobody_overtakes_a_request_of_a_large_cost() {
    let (limiter, clock) = limiter("10/s");
    let inner = Noting::new(&clock);
    let mut service = ThrottleLayer::new(limiter).cost(|units: &u64| *units).layer(inner.clone());
    let mut crowd = Crowd::new(&clock);
    for units in [10, 10, 1, 0] {
        crowd.add(call(&mut service, units));
    }
    crowd.run();
    assert_eq!(inner.calls(), [(10, 0), (0, 0), (10, 1_000_000), (1, 1_100_000)], "a cost of 0 passes at once");
}

#[test]
fn who_cannot_have_a_turn_in_time_is_told_at_once_how_long_it_would_have_been() {
    let (limiter, clock) = limiter("sliding_log 1/s");
    let inner = Noting::new(&clock);
    let mut service = ThrottleLayer::new(limiter).max_wait(Duration::from_millis(1500)).layer(inner.clone());
    let mut crowd = Crowd::new(&clock);
    let numbers: Vec<_> = (0..3).map(|number| crowd.add(call(&mut service, number))).collect();
    let (refused, at) = crowd.take(numbers[2]).unwrap();
    let refused = refused.unwrap_err();
    assert_eq!(at, 0, "without a wait");
    assert_eq!(refused.retry_after(), Some(Duration::from_micros(2_000_002)));
    assert_eq!(refused.source().unwrap().to_string(), "the wait would be 2.000002s, above the 1.5s allowed");
    crowd.run();
    assert_eq!(inner.calls(), [(0, 0), (1, 1_000_001)]);
}

#[test]
fn with_no_wait_at_all_it_admits_or_refuses_and_takes_nothing_from_the_refused() {
    let (limiter, clock) = limiter("sliding_log 2/s");
    let inner = Noting::new(&clock);
    let mut service = ThrottleLayer::new(limiter.clone()).max_wait(Duration::ZERO).layer(inner.clone());
    let mut crowd = Crowd::new(&clock);
    for number in 0..4 {
        crowd.add(call(&mut service, number));
    }
    assert_eq!(inner.calls(), [(0, 0), (1, 0)]);
    clock.advance(Duration::from_micros(1_000_001));
    assert_eq!(limiter.peek(()).unwrap().remaining(), 2);
}

#[test]
fn the_limiters_own_bound_holds_where_the_layer_sets_none() {
    let (_, clock) = limiter("1/s");
    let builder = Limiter::builder("sliding_log 1/s".parse().unwrap()).max_wait(Duration::ZERO);
    let limiter = builder.clock(clock.clone()).sleep(clock.clone()).build();
    let mut service = ThrottleLayer::new(limiter).layer(Noting::new(&clock));
    let mut crowd = Crowd::new(&clock);
    crowd.add(call(&mut service, 0));
    let second = crowd.add(call(&mut service, 1));
    assert!(crowd.take(second).unwrap().0.unwrap_err().retry_after().is_some());
}

#[test]
fn keys_wait_apart_and_requests_without_one_do_not_wait() {
    let (limiter, clock) = limiter("sliding_log 1/s");
    let inner = Noting::new(&clock);
    let named = |name: &&'static str| (!name.is_empty()).then_some(*name);
    let mut service = ThrottleLayer::new(limiter).key(named).layer(inner.clone());
    let mut crowd = Crowd::new(&clock);
    for name in ["ada", "ada", "bob", "", "", "bob"] {
        crowd.add(call(&mut service, name));
    }
    crowd.run();
    let late = 1_000_001;
    assert_eq!(inner.calls(), [("ada", 0), ("bob", 0), ("", 0), ("", 0), ("ada", late), ("bob", late)]);
}

#[test]
fn a_request_whose_key_cannot_be_had_is_not_passed_on() {
    let (limiter, clock) = limiter("1/s");
    let inner = Noting::new(&clock);
    let keyless = |_: &u8| Err::<u64, _>(KeyError::new("no tenant"));
    let mut service = ThrottleLayer::new(limiter).key(keyless).layer(inner.clone());
    let mut crowd = Crowd::new(&clock);
    let number = crowd.add(call(&mut service, 0));
    let failed = crowd.take(number).unwrap().0.unwrap_err();
    assert!(matches!(&failed, ThrottleError::Key(error) if error.detail() == "no tenant"));
    assert_eq!(failed.source().unwrap().to_string(), "no tenant");
    assert!(inner.calls().is_empty());
}

#[test]
fn a_cost_that_can_never_fit_and_a_closed_limiter_are_told_at_once() {
    let (limiter, clock) = limiter("5/s");
    let inner = Noting::new(&clock);
    let mut service = ThrottleLayer::new(limiter.clone()).cost(|units: &u64| *units).layer(inner.clone());
    let mut crowd = Crowd::new(&clock);
    let large = crowd.add(call(&mut service, 6));
    let failed = crowd.take(large).unwrap().0.unwrap_err();
    assert!(matches!(failed, ThrottleError::Refused(Error::NeverFits { cost: 6, capacity: 5, .. })));
    limiter.close_now();
    let closed = crowd.add(call(&mut service, 1));
    let failed = crowd.take(closed).unwrap().0.unwrap_err();
    assert!(matches!(failed, ThrottleError::Refused(Error::Closed)));
    assert!(inner.calls().is_empty());
}

#[test]
fn a_dropped_call_leaves_the_line_and_who_is_behind_moves_up() {
    let (limiter, clock) = limiter("sliding_log 1/s");
    let inner = Noting::new(&clock);
    let mut service = ThrottleLayer::new(limiter.clone()).layer(inner.clone());
    let mut crowd = Crowd::new(&clock);
    let numbers: Vec<_> = (0..4).map(|number| crowd.add(call(&mut service, number))).collect();
    crowd.cancel(numbers[1]);
    assert_eq!(limiter.waiting(), 2);
    crowd.run();
    assert_eq!(inner.calls(), [(0, 0), (2, 1_000_001), (3, 2_000_002)]);
}

#[test]
fn a_call_dropped_between_its_grant_and_its_next_poll_gives_the_units_to_who_is_behind() {
    let (limiter, clock) = limiter("sliding_log 1/s");
    let inner = Noting::new(&clock);
    let mut service = ThrottleLayer::new(limiter).layer(inner.clone());
    let mut crowd = Crowd::new(&clock);
    crowd.add(call(&mut service, 0));
    let parked = call(&mut service, 1);
    crowd.add(call(&mut service, 2));
    clock.advance(Duration::from_micros(1_000_001)); // granted, and nobody polls it
    assert_eq!(inner.calls().len(), 1);
    drop(parked);
    crowd.run();
    assert_eq!(inner.calls(), [(0, 0), (2, 1_000_001)]);
}

#[test]
fn a_call_that_is_never_polled_again_delays_nobody() {
    let (limiter, clock) = limiter("sliding_log 1/s");
    let inner = Noting::new(&clock);
    let mut service = ThrottleLayer::new(limiter).layer(inner.clone());
    let mut crowd = Crowd::new(&clock);
    crowd.add(call(&mut service, 0));
    let parked = call(&mut service, 1);
    crowd.add(call(&mut service, 2));
    crowd.run();
    assert_eq!(inner.calls(), [(0, 0), (2, 2_000_002)]);
    drop(parked);
}

#[test]
fn random_calls_and_cancellations_keep_the_quota_and_leave_nothing_taken() {
    let mut random = 42_u64;
    let mut below = move |end: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % end
    };
    for _ in 0..40 {
        let (limiter, clock) = limiter("sliding_log 5/s");
        let inner = Noting::new(&clock);
        let mut service = ThrottleLayer::new(limiter.clone()).cost(|units: &u64| *units).layer(inner.clone());
        let mut crowd = Crowd::new(&clock);
        let (mut added, mut cancelled) = (0, 0);
        for _ in 0..60 {
            match below(3) {
                0 | 1 => {
                    crowd.add(call(&mut service, 1 + below(5)));
                    added += 1;
                }
                _ if added > 0 => {
                    let number = usize::try_from(below(added)).unwrap();
                    cancelled += u64::from(crowd.cancel(number));
                }
                _ => {}
            }
            crowd.advance(Duration::from_micros(below(400_000)));
        }
        crowd.run();
        let calls = inner.calls();
        assert_eq!(calls.len() as u64, added - cancelled, "who was not cancelled was served");
        for (first, (_, from)) in calls.iter().enumerate() {
            let in_window = calls[first..].iter().take_while(|(_, at)| at - from <= 1_000_000);
            assert!(in_window.map(|(units, _)| units).sum::<u64>() <= 5, "in any second from {from}");
        }
        clock.advance(Duration::from_micros(1_000_001));
        assert_eq!((limiter.waiting(), limiter.peek(()).unwrap().remaining()), (0, 5));
    }
}

#[test]
fn an_inner_failure_keeps_its_type_and_its_charge() {
    let (limiter, clock) = limiter("sliding_log 2/s");
    let refused = service_fn(|_: u8| async { Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionRefused)) });
    let mut service = ThrottleLayer::new(limiter.clone()).layer(refused);
    let mut crowd = Crowd::new(&clock);
    let number = crowd.add(call(&mut service, 0));
    let failed = crowd.take(number).unwrap().0.unwrap_err();
    assert_eq!(failed.inner::<io::Error>().unwrap().kind(), io::ErrorKind::ConnectionRefused);
    assert!(failed.source().unwrap().is::<io::Error>());
    assert_eq!(limiter.peek(()).unwrap().remaining(), 1);
}

#[test]
fn at_most_so_many_are_at_work_until_the_inner_service_has_answered() {
    let (_, clock) = limiter("1/s");
    let builder = Limiter::builder("100/s".parse().unwrap()).at_once(1);
    let limiter = builder.clock(clock.clone()).sleep(clock.clone()).build();
    let sleeps = clock.clone();
    let slow = service_fn(move |number: u8| {
        let nap = limiter_core::Sleep::sleep(&sleeps, Duration::from_millis(300));
        async move {
            nap.await;
            Ok::<_, io::Error>(number)
        }
    });
    let mut service = ThrottleLayer::new(limiter).layer(slow);
    let mut crowd = Crowd::new(&clock);
    let numbers: Vec<_> = (0..3).map(|number| crowd.add(call(&mut service, number))).collect();
    crowd.run();
    let ended: Vec<_> = numbers.into_iter().map(|number| crowd.take(number).unwrap().1).collect();
    assert_eq!(ended, [300_000, 600_000, 900_000]);
    assert_eq!(since_start(&clock), 900_000);
}

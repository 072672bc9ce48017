//! Waiting in virtual time: exact instants, order, cancellation, deadlines.

#![allow(clippy::unwrap_used, clippy::panic)]

use limiter_core::{Clock, Error, Limiter, ManualClock, Sleep, Timestamp};
use std::{
    collections::BTreeMap,
    future::IntoFuture,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

mod support;

use support::crowd::{Crowd, START, Woken, granted, limiter, since_start};

#[test]
fn grants_come_at_their_exact_instants_in_order() {
    for (quota, instants) in [
        ("2/s burst 1", [500_000, 1_000_000, 1_500_000, 2_000_000]),
        ("3/s burst 1", [333_334, 666_668, 1_000_002, 1_333_336]), // a bucket of one is empty at whole microseconds only
        ("3/s burst 2", [333_334, 666_667, 1_000_000, 1_333_334]),
        ("sliding_log 1/s", [1_000_001, 2_000_002, 3_000_003, 4_000_004]),
        ("fixed_window 1/s", [1_000_000, 2_000_000, 3_000_000, 4_000_000]),
        ("sliding_window 1/s", [1_000_001, 2_000_001, 3_000_001, 4_000_001]),
    ] {
        let (limiter, clock) = limiter(quota);
        limiter.check_n("k", limiter.quota().unwrap().capacity()).unwrap();
        let mut crowd = Crowd::new(&clock);
        let numbers = [0; 4].map(|_| crowd.add(limiter.acquire("k")).unwrap());
        let expected: Vec<_> = numbers.into_iter().zip(instants).collect();
        assert_eq!(granted(crowd.run()), expected, "{quota}");
        assert_eq!(limiter.waiting(), 0);
    }
}

#[test]
fn nobody_overtakes_a_large_cost() {
    let (limiter, clock) = limiter("10/s");
    limiter.check_n("k", 10).unwrap();
    let mut crowd = Crowd::new(&clock);
    let large = crowd.add(limiter.acquire("k").cost(10)).unwrap();
    let small = crowd.add(limiter.acquire("k")).unwrap();
    clock.advance(Duration::from_millis(500)); // five are there, and both want some
    assert!(crowd.served().is_empty());
    let check = limiter.check("k").unwrap();
    assert!(!check.allowed() && check.behind_waiters(), "a check does not overtake either");
    assert_eq!(check.retry_after(), Some(Duration::from_millis(700)), "behind 10 and 1 with 5 there");
    assert_eq!(granted(crowd.run()), [(large, 1_000_000), (small, 1_100_000)]);
    assert!(limiter.check_n("k", 0).unwrap().allowed());
}

#[test]
fn one_wake_a_grant() {
    let (limiter, clock) = limiter("sliding_log 5/s");
    limiter.check_n("k", 5).unwrap();
    let mut crowd = Crowd::new(&clock);
    for _ in 0..5 {
        crowd.add(limiter.acquire("k")).unwrap();
    }
    clock.advance(Duration::from_micros(1_000_000));
    assert!(crowd.callers.values().all(|(_, woken)| woken.0.load(Ordering::SeqCst) == 0));
    clock.advance(Duration::from_micros(1));
    assert!(crowd.callers.values().all(|(_, woken)| woken.0.load(Ordering::SeqCst) == 1));
}

#[test]
fn a_caller_that_leaves_gives_its_turn_to_the_next() {
    let (limiter, clock) = limiter("1/s");
    limiter.check("k").unwrap();
    let mut crowd = Crowd::new(&clock);
    let [first, second, third] = [0; 3].map(|_| crowd.add(limiter.acquire("k")).unwrap());
    crowd.drop_caller(first);
    crowd.drop_caller(second);
    assert_eq!(limiter.waiting(), 1);
    assert_eq!(granted(crowd.run()), [(third, 1_000_000)]);
}

#[test]
fn when_a_large_head_leaves_the_next_need_not_wait_for_it() {
    let (limiter, clock) = limiter("10/s");
    limiter.check_n("k", 10).unwrap();
    let mut crowd = Crowd::new(&clock);
    let large = crowd.add(limiter.acquire("k").cost(10)).unwrap();
    let small = crowd.add(limiter.acquire("k").cost(2)).unwrap();
    crowd.drop_caller(large);
    assert_eq!(granted(crowd.run()), [(small, 200_000)]);
}

#[test]
fn a_granted_permit_that_nobody_reads_is_given_back() {
    let (limiter, clock) = limiter("sliding_log 1/s");
    limiter.check("k").unwrap();
    let mut crowd = Crowd::new(&clock);
    let unread = crowd.add(limiter.acquire("k")).unwrap();
    clock.advance(Duration::from_micros(1_000_001)); // granted now, and never polled again
    assert_eq!(limiter.peek("k").unwrap().remaining(), 0);
    crowd.drop_caller(unread);
    assert_eq!(limiter.peek("k").unwrap().remaining(), 1);
}

#[test]
fn what_was_granted_before_a_restart_is_not_given_back_after_it() {
    let (limiter, clock) = limiter("10/s");
    limiter.check_n("k", 10).unwrap();
    let mut crowd = Crowd::new(&clock);
    let [unread, late] = [0; 2].map(|_| crowd.add(limiter.acquire("k").cost(5)).unwrap());
    clock.advance(Duration::from_secs(1)); // both granted, neither has looked
    limiter.restart("10/s".parse().unwrap());
    limiter.check_n("k", 10).unwrap();
    crowd.drop_caller(unread);
    assert_eq!(limiter.peek("k").unwrap().remaining(), 0, "units that were never taken since");
    let (mut late, _) = crowd.callers.remove(&late).unwrap();
    ready(ready(late.as_mut()).unwrap().refund()).unwrap();
    assert_eq!(limiter.peek("k").unwrap().remaining(), 0);
}

#[test]
fn a_caller_that_is_never_polled_again_delays_nobody() {
    let (limiter, clock) = limiter("1/s");
    limiter.check("k").unwrap();
    let mut crowd = Crowd::new(&clock);
    let parked = crowd.add(limiter.acquire("k")).unwrap();
    let parked = crowd.callers.remove(&parked).unwrap();
    let next = crowd.add(limiter.acquire("k")).unwrap();
    assert_eq!(granted(crowd.run()), [(next, 2_000_000)]);
    drop(parked);
}

#[test]
fn what_cannot_be_granted_in_time_is_refused_at_once() {
    let (limiter, clock) = limiter("1/s");
    limiter.check("k").unwrap();
    let mut crowd = Crowd::new(&clock);
    let second = Duration::from_secs(1);
    let refused = crowd.add(limiter.acquire("k").timeout(second - Duration::from_micros(1))).unwrap_err();
    assert!(matches!(*refused, Err(Error::WaitTooLong { needed, .. }) if needed == second));
    let first = crowd.add(limiter.acquire("k").timeout(second)).unwrap();
    let refused = crowd.add(limiter.acquire("k").timeout(second)).unwrap_err();
    assert!(matches!(*refused, Err(Error::WaitTooLong { needed, .. }) if needed == second * 2), "behind the first");
    let next = crowd.add(limiter.acquire("k").timeout(second * 2)).unwrap();
    let refused = crowd.add(limiter.acquire("k").timeout(second * 2)).unwrap_err();
    assert!(matches!(*refused, Err(Error::WaitTooLong { needed, .. }) if needed == second * 3), "{refused:?}");
    crowd.drop_caller(first);
    let last = crowd.add(limiter.acquire("k").timeout(second * 2)).unwrap();
    assert_eq!(limiter.waiting(), 2);
    assert_eq!(granted(crowd.run()), [(next, 1_000_000), (last, 2_000_000)]);
}

#[test]
fn who_was_promised_in_time_and_then_cannot_be_is_told_when_it_shows() {
    let (limiter, clock) = limiter("1/s");
    limiter.check("k").unwrap();
    let mut crowd = Crowd::new(&clock);
    let second = Duration::from_secs(1);
    let _head = crowd.add(limiter.acquire("k")).unwrap();
    let timed = crowd.add(limiter.acquire("k").timeout(second * 2)).unwrap();
    let patient = crowd.add(limiter.acquire("k")).unwrap();
    limiter.block("k", second * 5).unwrap(); // nobody could know
    let told = crowd.served();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(matches!(told[0], (number, 0, Err(Error::WaitTooLong { .. })) if number == timed));
    assert_eq!(granted(crowd.run()), [(1, 5_000_000), (patient, 6_000_000)]);
}

#[test]
fn a_cost_that_can_never_fit_is_refused_at_once() {
    let (limiter, clock) = limiter("5/s");
    let refused = Crowd::new(&clock).add(limiter.acquire("k").cost(6)).unwrap_err();
    assert!(matches!(*refused, Err(Error::NeverFits { cost: 6, capacity: 5, part: None })));
    assert!(matches!(limiter.check_n("k", u64::MAX), Err(Error::NeverFits { .. })));
}

#[test]
fn no_more_wait_than_the_limiter_lets() {
    let clock = ManualClock::new(START);
    let limiter = Limiter::builder("1/s".parse().unwrap())
        .clock(clock.clone())
        .sleep(clock.clone())
        .max_waiters(2)
        .max_wait(Duration::from_secs(60))
        .build();
    limiter.check("k").unwrap();
    let mut crowd = Crowd::new(&clock);
    for _ in 0..2 {
        crowd.add(limiter.acquire("k")).unwrap();
    }
    let refused = crowd.add(limiter.acquire("k")).unwrap_err();
    assert!(matches!(*refused, Err(Error::QueueFull { waiting: 2 })));
    assert_eq!(granted(crowd.run()).len(), 2);
    limiter.block("k", Duration::from_secs(61)).unwrap();
    let refused = crowd.add(limiter.acquire("k")).unwrap_err();
    assert!(matches!(*refused, Err(Error::WaitTooLong { allowed, .. }) if allowed == Duration::from_secs(60)));
}

#[test]
fn waiting_on_one_key_never_delays_another() {
    let (limiter, clock) = limiter("1/s");
    let mut crowd = Crowd::new(&clock);
    let mut expected = Vec::new();
    for key in 0_u64..100 {
        limiter.check(key).unwrap();
        // A flood on key 0; one caller on each other key.
        for place in 0..if key == 0 { 50 } else { 1 } {
            expected.push((crowd.add(limiter.acquire(key)).unwrap(), (place + 1) * 1_000_000));
        }
    }
    let mut served = granted(crowd.run());
    served.sort_unstable();
    assert_eq!(served, expected);
}

#[test]
fn a_buffer_is_added_to_every_wait() {
    let clock = ManualClock::new(START);
    let limiter = Limiter::builder("sliding_log 1/s".parse().unwrap())
        .clock(clock.clone())
        .sleep(clock.clone())
        .buffer(Duration::from_millis(20))
        .build();
    limiter.check("k").unwrap();
    let mut crowd = Crowd::new(&clock);
    for _ in 0..2 {
        crowd.add(limiter.acquire("k").timeout(Duration::from_secs(3))).unwrap();
    }
    let late = crowd.add(limiter.acquire("k").timeout(Duration::from_secs(3))).unwrap_err();
    assert!(matches!(*late, Err(Error::WaitTooLong { needed, .. }) if needed == Duration::from_micros(3_060_003)));
    assert_eq!(granted(crowd.run()), [(1, 1_020_001), (2, 2_040_002)]);
}

#[test]
fn units_given_back_serve_who_waits_at_once() {
    let (limiter, clock) = limiter("sliding_log 2/h");
    let mut crowd = Crowd::new(&clock);
    let permit = crowd.add(limiter.acquire("k").cost(2)).unwrap_err().unwrap();
    let waiting = crowd.add(limiter.acquire("k")).unwrap();
    assert_eq!(permit.settle_blocking(1).unwrap().remaining(), 1);
    assert_eq!(granted(crowd.served()), [(waiting, 0)]);
    let next = crowd.add(limiter.acquire("k")).unwrap();
    limiter.reset("k").unwrap();
    assert_eq!(granted(crowd.served()), [(next, 0)]);
}

#[test]
fn a_restamped_permit_counts_from_its_answer() {
    let (limiter, clock) = limiter("sliding_log 1/s");
    let permit = Crowd::new(&clock).add(limiter.acquire("k")).unwrap_err().unwrap();
    clock.advance(Duration::from_millis(300));
    ready(permit.restamp()).unwrap();
    assert_eq!(limiter.peek("k").unwrap().retry_after(), Some(Duration::from_micros(1_000_001)));
}

#[test]
fn a_restamp_tells_nobody_in_line_that_it_is_too_late() {
    let (limiter, clock) = limiter("sliding_log 2/s");
    let mut crowd = Crowd::new(&clock);
    drop(crowd.add(limiter.acquire("k")));
    clock.advance(Duration::from_millis(900));
    let permit = crowd.add(limiter.acquire("k")).unwrap_err().unwrap();
    clock.advance(Duration::from_millis(20));
    let waiting = crowd.add(limiter.acquire("k").timeout(Duration::from_millis(200))).unwrap();
    clock.advance(Duration::from_millis(30));
    permit.restamp_detached(); // at no instant do the units count twice
    assert_eq!(granted(crowd.run()), [(waiting, 1_000_001)]);
}

#[test]
fn permits_bound_how_many_are_at_work_and_the_next_comes_when_one_goes() {
    let clock = ManualClock::new(START);
    let builder = Limiter::builder("10/s".parse().unwrap()).clock(clock.clone()).sleep(clock.clone());
    let limiter = builder.at_once(2).build();
    let mut crowd = Crowd::new(&clock);
    let first = crowd.add(limiter.acquire("k")).unwrap_err().unwrap();
    let _second = crowd.add(limiter.acquire("k")).unwrap_err().unwrap();
    let [third, fourth] = [0; 2].map(|_| crowd.add(limiter.acquire("k")).unwrap());
    let hasty = crowd.add(limiter.acquire("k").timeout(Duration::from_millis(300))).unwrap();
    let _other_key = crowd.add(limiter.acquire("other")).unwrap_err().unwrap();
    assert_eq!(limiter.peek_n("k", 0).unwrap().remaining(), 8, "no unit is taken for who waits for a place");

    clock.advance(Duration::from_millis(300));
    let told = crowd.served();
    assert!(matches!(&told[..], [(number, 300_000, Err(Error::TimedOut { .. }))] if *number == hasty), "{told:?}");
    first.refund_blocking().unwrap();
    // The crowd drops the third's permit as it is served, which lets the fourth in.
    assert_eq!(granted(crowd.served()), [(third, 300_000), (fourth, 300_000)]);
    assert_eq!(limiter.waiting(), 0);
}

#[test]
fn a_timeout_ends_on_time_also_where_waits_for_units_have_slack() {
    let clock = ManualClock::new(START);
    let builder = Limiter::builder("10/s".parse().unwrap()).clock(clock.clone()).sleep(clock.clone());
    let slack = Duration::from_secs(60);
    let limiter = builder.at_once(1).buffer(slack).jitter(slack).build();
    let mut crowd = Crowd::new(&clock);
    let _at_work = crowd.add(limiter.acquire("k")).unwrap_err().unwrap();
    crowd.add(limiter.acquire("k").timeout(Duration::from_secs(1))).unwrap();
    clock.advance(Duration::from_secs(1));
    assert!(matches!(crowd.served()[..], [(_, 1_000_000, Err(Error::TimedOut { .. }))]));
}

#[test]
fn a_place_and_units_are_waited_for_in_one_line() {
    let clock = ManualClock::new(START);
    let builder = Limiter::builder("sliding_log 1/s".parse().unwrap()).clock(clock.clone()).sleep(clock.clone());
    let limiter = builder.at_once(1).build();
    let mut crowd = Crowd::new(&clock);
    let permit = crowd.add(limiter.acquire("k")).unwrap_err().unwrap();
    let waiting = crowd.add(limiter.acquire("k")).unwrap();
    clock.advance(Duration::from_secs(3)); // units are there, the place is not
    assert!(crowd.served().is_empty());
    drop(permit);
    let next = crowd.add(limiter.acquire("k")).unwrap();
    assert_eq!(granted(crowd.served()), [(waiting, 3_000_000)]);
    assert_eq!(granted(crowd.run()), [(next, 4_000_001)], "the place is there, units are not yet");
}

#[test]
fn a_higher_priority_goes_first_until_others_have_waited_long_enough() {
    let clock = ManualClock::new(START);
    let builder = Limiter::builder("1/s".parse().unwrap()).clock(clock.clone()).sleep(clock.clone());
    let limiter = builder.priority_step(Duration::from_secs(2)).build();
    limiter.check("k").unwrap();
    let mut crowd = Crowd::new(&clock);
    let [low, low_too] = [0; 2].map(|_| crowd.add(limiter.acquire("k")).unwrap());
    let high = crowd.add(limiter.acquire("k").priority(1)).unwrap();
    let higher = crowd.add(limiter.acquire("k").priority(2)).unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(granted(crowd.served()), [(higher, 1_000_000)]);
    clock.advance(Duration::from_millis(1500)); // 2.5 s after the low ones came: a high one comes too late to pass
    assert_eq!(granted(crowd.served()), [(high, 2_000_000)]);
    let late = crowd.add(limiter.acquire("k").priority(1)).unwrap();
    assert_eq!(granted(crowd.run()), [(low, 3_000_000), (low_too, 4_000_000), (late, 5_000_000)]);
}

/// Virtual time whose awakenings are worth saving.
struct Coarse(ManualClock);

impl Sleep for Coarse {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0.sleep(duration)
    }

    fn grain(&self) -> Duration {
        Duration::from_millis(1)
    }
}

#[test]
fn a_crowd_is_served_at_one_awakening_where_that_loses_no_capacity() {
    // The first wait is the denied caller's own; it is the crowd behind it that is served together.
    let one_by_one = |spacing: u64| (1..=25).map(|n| n * spacing).collect::<Vec<_>>();
    for (quota, awakenings) in [
        ("10000/s burst 100", vec![100, 1200, 2300, 2500]),
        // With more, nothing would be left of the bucket for a timer that is late.
        ("10000/s burst 10", vec![100, 800, 1500, 2200, 2500]),
        ("10000/s burst 3", (0..13).map(|n| 100 + 200 * n).collect()),
        ("10000/s burst 1", one_by_one(100)),
        ("100/s burst 10", one_by_one(10_000)), // further apart than it is worth waiting for
    ] {
        let clock = ManualClock::new(START);
        let builder = Limiter::builder(quota.parse().unwrap()).clock(clock.clone());
        let limiter = builder.sleep(Coarse(clock.clone())).build();
        limiter.check_n("k", limiter.quota().unwrap().capacity()).unwrap();
        let mut crowd = Crowd::new(&clock);
        for _ in 0..25 {
            crowd.add(limiter.acquire("k")).unwrap();
        }
        let mut seen: Vec<u64> = granted(crowd.run()).into_iter().map(|(_, at)| at).collect();
        seen.dedup();
        assert_eq!(seen, awakenings, "{quota}");
    }
}

#[test]
fn a_closed_limiter_lets_those_who_wait_finish_and_nobody_else_wait() {
    let (limiter, clock) = limiter("1/s");
    limiter.check("k").unwrap();
    let mut crowd = Crowd::new(&clock);
    let waiting = crowd.add(limiter.acquire("k")).unwrap();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut closing = Box::pin(limiter.close());
    assert!(closing.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(matches!(*crowd.add(limiter.acquire("k")).unwrap_err(), Err(Error::Closed)));
    assert_eq!(granted(crowd.run()), [(waiting, 1_000_000)]);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(closing.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
}

#[test]
fn a_limiter_closed_now_fails_those_who_wait() {
    let (limiter, clock) = limiter("1/s");
    let mut crowd = Crowd::new(&clock);
    for key in ["a", "b"] {
        limiter.check(key).unwrap();
        crowd.add(limiter.acquire(key)).unwrap();
        crowd.add(limiter.acquire(key)).unwrap();
    }
    limiter.close_now();
    let failed = crowd.served();
    assert_eq!(failed.len(), 4);
    assert!(failed.iter().all(|(_, at, answer)| *at == 0 && matches!(answer, Err(Error::Closed))));
    assert_eq!((limiter.waiting(), clock.next_wake()), (0, None), "nothing of it goes on");
    assert!(limiter.check("c").unwrap().allowed(), "a check does not wait, and goes on");
}

#[test]
fn when_the_last_waiter_goes_nothing_sleeps_any_more() {
    let (limiter, clock) = limiter("1/s");
    limiter.check("k").unwrap();
    let mut crowd = Crowd::new(&clock);
    let waiting = crowd.add(limiter.acquire("k")).unwrap();
    drop(limiter);
    assert!(clock.next_wake().is_some());
    crowd.drop_caller(waiting);
    assert_eq!(clock.next_wake(), None);
}

#[test]
fn jitter_delays_by_at_most_what_was_asked_for() {
    let clock = ManualClock::new(START);
    let builder = Limiter::builder("sliding_log 1/s".parse().unwrap()).clock(clock.clone()).sleep(clock.clone());
    let limiter = builder.jitter(Duration::from_millis(100)).build();
    let mut crowd = Crowd::new(&clock);
    for key in 0_u32..50 {
        limiter.check(key).unwrap();
        crowd.add(limiter.acquire(key)).unwrap();
    }
    let mut delays: Vec<u64> = granted(crowd.run()).into_iter().map(|(_, at)| at - 1_000_001).collect();
    delays.sort_unstable();
    assert!(delays[49] <= 100_000 && delays[0] < 50_000 && delays[49] > 50_000, "{delays:?}");
}

#[test]
fn a_wrapped_function_never_runs_unadmitted_and_passes_errors_through() {
    let (limiter, _clock) = limiter("sliding_log 5/h");
    let parse = limiter.wrap(|text: &&str| (*text, text.len() as u64), |text: &str| text.parse::<u32>());
    assert_eq!(parse("123").unwrap(), Ok(123));
    assert!(parse("x").unwrap().is_err(), "its own error");
    assert!(matches!(parse("123456"), Err(Error::NeverFits { cost: 6, .. })));
    assert_eq!(limiter.peek("123").unwrap().remaining(), 2);

    let ran = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ran);
    let count = limiter.wrap_async(
        |_: &()| "counter",
        move |()| {
            let counter = Arc::clone(&counter);
            async move { counter.fetch_add(1, Ordering::SeqCst) }
        },
    );
    for n in 0..5 {
        assert_eq!(ready(count(())).unwrap(), n);
    }
    let mut waiting = count(());
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(waiting);
    assert_eq!(ran.load(Ordering::SeqCst), 5);
}

/// Runs a future that is ready at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match Box::pin(future).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

#[test]
fn random_cancellations_lose_nothing_and_keep_the_order() {
    for seed in 1..=20_u64 {
        let (limiter, clock) = limiter("sliding_log 5/s");
        limiter.check_n("k", 5).unwrap();
        let mut crowd = Crowd::new(&clock);
        let mut random = seed;
        let mut next = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let mut served = Vec::new();
        let (mut at_once, mut costs) = (Vec::new(), BTreeMap::new());
        for _ in 0..500 {
            match next(3) {
                0 | 1 => {
                    let cost = 1 + next(5);
                    match crowd.add(limiter.acquire("k").cost(cost)) {
                        Ok(number) => drop(costs.insert(number, cost)),
                        Err(answer) => {
                            assert_eq!(limiter.waiting(), 0, "seed {seed}: overtaken");
                            at_once.push((since_start(answer.unwrap().decision().at()), cost));
                        }
                    }
                }
                _ => {
                    let alive: Vec<usize> = crowd.callers.keys().copied().collect();
                    if !alive.is_empty() {
                        crowd.drop_caller(alive[usize::try_from(next(alive.len() as u64)).unwrap()]);
                    }
                }
            }
            clock.advance(Duration::from_micros(next(200_000)));
            served.extend(granted(crowd.served()));
        }
        served.extend(granted(crowd.run()));
        assert!(served.windows(2).all(|pair| pair[0].1 <= pair[1].1), "seed {seed}");
        assert!(served.windows(2).all(|pair| pair[0].0 < pair[1].0), "seed {seed}: out of order");
        // In any closed second no more than five units, as the grants were made.
        let mut grants = at_once;
        grants.extend(served.iter().map(|(number, at)| (*at, costs[number])));
        for &(start, _) in &grants {
            let inside = grants.iter().filter(|(at, _)| (start..=start + 1_000_000).contains(at));
            assert!(inside.map(|(_, cost)| cost).sum::<u64>() <= 5, "seed {seed}");
        }
        assert_eq!(limiter.waiting(), 0);
        assert!(crowd.callers.is_empty());
        clock.advance(Duration::from_secs(2));
        assert_eq!(limiter.peek("k").unwrap().remaining(), 5, "seed {seed}: capacity was lost");
    }
}

#[test]
fn blocking_and_async_callers_wait_in_one_line() {
    let limiter = Limiter::parse("sliding_log 1/50ms").unwrap();
    let started = std::time::Instant::now();
    limiter.check("k").unwrap();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let limiter = limiter.clone();
            std::thread::spawn(move || limiter.acquire("k").blocking().unwrap().decision().at())
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut instants: Vec<Timestamp> = runtime.block_on(async {
        let tasks: Vec<_> = (0..3).map(|_| tokio::spawn(limiter.acquire("k").into_future())).collect();
        let mut instants = Vec::new();
        for task in tasks {
            instants.push(task.await.unwrap().unwrap().decision().at());
        }
        instants
    });
    instants.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    assert!(started.elapsed() >= Duration::from_millis(300));
    instants.sort_unstable();
    for pair in instants.windows(2) {
        assert!(pair[1].saturating_since(pair[0]) > Duration::from_millis(50));
    }
}

#[tokio::test(start_paused = true)]
async fn a_runtimes_own_timer_can_be_used() {
    let started = tokio::time::Instant::now();
    let clock = TokioClock(started);
    let limiter = Limiter::builder("sliding_log 1/h".parse().unwrap()).clock(clock).sleep(tokio::time::sleep).build();
    for _ in 0..3 {
        let _permit = limiter.acquire("k").await.unwrap();
    }
    let hours = started.elapsed().as_secs_f64() / 3600.0;
    assert!((2.0..2.001).contains(&hours), "{hours}");
}

struct TokioClock(tokio::time::Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        START.saturating_add(self.0.elapsed())
    }
}

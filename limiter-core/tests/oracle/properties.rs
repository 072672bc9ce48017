//! What is promised, read off what was admitted, without the oracle.

use super::{
    promise::Kept,
    random::{self, Label, Rng, Time, each_seed, micros},
};
use limiter_core::{AcquireFuture, Algorithm, Limiter, ManualClock, MemoryStore, Permit, Timestamp};
use std::{
    collections::VecDeque,
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

const RUNS: u64 = 250;

fn set(clock: &ManualClock, now: u64) {
    clock.set(Timestamp::from_micros(now));
}

/// Takes, charges, blocks, settlements, refunds and resets at the denser and denser edges of the windows.
fn what_is_kept_keeps_the_promise(rng: &mut Rng, label: Label, algorithm: Algorithm, with_cells: bool) {
    let spec = random::spec(rng, algorithm, with_cells);
    let (limiter, clock) = random::limiter(&spec);
    let mut time = Time { now: random::START, is_wild: false };
    let (mut kept, mut permits, mut waits) = (Kept::default(), Vec::new(), [1; 2]);
    let is_greedy = rng.one_in(3);
    for _ in 0..300 {
        set(&clock, time.step(rng, &spec, waits));
        let decision = match rng.below(100) {
            0..70 => {
                let cost = if is_greedy { 1 } else { rng.between(1, spec.capacity()) };
                match limiter.acquire("k").cost(cost).timeout(Duration::ZERO).blocking() {
                    Ok(permit) => {
                        kept.add(permit.decision().at().as_micros(), cost);
                        permits.push(permit);
                        limiter.peek("k")
                    }
                    Err(_) => limiter.peek_n("k", cost),
                }
            }
            70..73 => limiter.charge("k", rng.cost(spec.capacity())),
            73..75 => limiter.block("k", Duration::from_micros(rng.below(spec.rates[0].period))),
            _ if permits.is_empty() => continue,
            _ => {
                let recent = permits.len() - 1 - rng.index(permits.len().min(8));
                let permit: Permit<MemoryStore> = permits.remove(recent);
                let (at, cost) = (permit.decision().at().as_micros(), permit.cost());
                let used = if rng.one_in(3) { 0 } else { rng.below(cost + 3) };
                kept.remove(at, cost.saturating_sub(used));
                permit.settle_blocking(used)
            }
        };
        let decision = decision.unwrap();
        waits = [micros(decision.reset_after()), decision.retry_after().map_or(1, micros)];
    }
    kept.check(&spec, &label);
}

#[test]
fn what_buckets_admit_is_promised() {
    each_seed(RUNS, |rng, label| what_is_kept_keeps_the_promise(rng, label, Algorithm::Gcra, false));
}

#[test]
fn what_fixed_windows_admit_is_promised() {
    each_seed(RUNS, |rng, label| what_is_kept_keeps_the_promise(rng, label, Algorithm::FixedWindow, false));
}

#[test]
fn what_sliding_windows_admit_is_promised() {
    each_seed(RUNS, |rng, label| what_is_kept_keeps_the_promise(rng, label, Algorithm::SlidingWindow, false));
}

#[test]
fn what_exact_logs_admit_is_promised() {
    each_seed(RUNS, |rng, label| what_is_kept_keeps_the_promise(rng, label, Algorithm::SlidingLog, false));
}

#[test]
fn what_logs_of_a_resolution_admit_is_promised() {
    each_seed(RUNS, |rng, label| what_is_kept_keeps_the_promise(rng, label, Algorithm::SlidingLog, true));
}

/// Brings `k` into some state, clock steps included if `is_wild`; the time after.
fn stir(rng: &mut Rng, limiter: &Limiter, clock: &ManualClock, is_wild: bool) -> u64 {
    let (spec, mut time) = (limiter.quota().unwrap(), Time { now: random::START, is_wild });
    let rates = random::numbers(&spec);
    for _ in 0..rng.below(30) {
        let wait = rng.below(1000);
        set(clock, time.step(rng, &rates, [wait, 1]));
        let cost = rng.between(1, spec.capacity());
        match rng.below(10) {
            0 => drop(limiter.charge("k", rng.cost(spec.capacity()))),
            1 => drop(limiter.block("k", Duration::from_micros(rng.below(rates.rates[0].period)))),
            2 => drop(limiter.refund("k", cost, Timestamp::from_micros(time.now))),
            _ => drop(limiter.check_n("k", cost)),
        }
    }
    if is_wild {
        // Back to where no wait ends beyond the range.
        if !(random::START / 2..random::START / 2 * 3).contains(&time.now) {
            time.now = random::START;
            set(clock, time.now);
        }
        limiter.block("k", Duration::ZERO).unwrap();
    }
    time.now
}

#[test]
fn a_lone_caller_that_waits_as_told_is_admitted_and_no_sooner() {
    each_seed(2000, |rng, label| {
        let spec = random::any_spec(rng);
        let (limiter, clock) = random::limiter(&spec);
        let is_wild = rng.one_in(3);
        let mut now = stir(rng, &limiter, &clock, is_wild);
        for _ in 0..6 {
            let cost = rng.between(1, spec.capacity());
            let first = limiter.check_n("k", cost).unwrap();
            let wait = micros(first.retry_after().unwrap());
            if wait > 0 {
                assert!(!first.allowed());
                set(&clock, now + wait - 1);
                let early = limiter.check_n("k", cost).unwrap();
                assert!(!early.allowed(), "{label}: {spec:?}: {cost} admitted a microsecond before {wait}");
                assert_eq!(
                    micros(early.retry_after().unwrap()),
                    1,
                    "{label}: {spec:?}: {cost} after {wait}: {first:?} {early:?}"
                );
                now += wait;
                set(&clock, now);
                let told = limiter.check_n("k", cost).unwrap();
                assert!(told.allowed(), "{label}: {spec:?}: {cost} denied after {wait}: {told:?}");
            }
        }
    });
}

#[test]
fn reset_after_restores_everything_and_no_sooner() {
    each_seed(2000, |rng, label| {
        let spec = random::any_spec(rng);
        let (limiter, clock) = random::limiter(&spec);
        let is_wild = rng.one_in(3);
        let mut now = stir(rng, &limiter, &clock, is_wild);
        // A take pulls back what a step of the clock left too far ahead; only then does time alone restore it all.
        limiter.check_n("k", spec.capacity()).unwrap();
        let wait = micros(limiter.peek_n("k", 0).unwrap().reset_after());
        let is_full = || {
            let look = limiter.peek_n("k", spec.capacity()).unwrap();
            look.allowed() && look.rates().iter().all(|rate| rate.remaining() == rate.capacity())
        };
        if wait > 0 && spec.algorithm != Algorithm::SlidingWindow {
            set(&clock, now + wait - 1);
            assert!(!is_full(), "{label}: {spec:?}: all is back a microsecond before {wait}");
        }
        now += wait;
        set(&clock, now);
        assert!(is_full(), "{label}: {spec:?}: not all is back after {wait}");
        if is_wild && spec.algorithm == Algorithm::SlidingWindow {
            return; // it stays in a window that a step of the clock left one ahead, as the model does
        }
        // And from then on it is a key like any new one.
        let mut time = Time { now, is_wild: false };
        for _ in 0..8 {
            let cost = rng.between(1, spec.capacity());
            let (old, new) = (limiter.check_n("k", cost).unwrap(), limiter.check_n("new", cost).unwrap());
            assert_eq!(old, new, "{label}: {spec:?}: {cost}");
            set(&clock, time.step(rng, &spec, [old.retry_after().map_or(1, micros), micros(old.reset_after())]));
        }
    });
}

#[test]
fn a_refund_at_once_restores_exactly_and_one_later_never_more() {
    each_seed(2000, |rng, label| {
        let spec = random::any_spec(rng);
        let ((limiter, clock), (without, its_clock)) = (random::limiter(&spec), random::limiter(&spec));
        let now = stir(&mut rng.clone(), &without, &its_clock, false);
        assert_eq!(stir(rng, &limiter, &clock, false), now);
        let cost = rng.between(1, spec.capacity());
        let before = limiter.peek_n("k", 0).unwrap();
        let take = limiter.check_n("k", cost).unwrap();
        if !take.allowed() {
            return;
        }
        let later = rng.below(2) * rng.below(2 * spec.rates[0].period);
        set(&clock, now + later);
        set(&its_clock, now + later);
        let refunded = limiter.refund("k", if rng.one_in(4) { u64::MAX } else { cost }, take.at()).unwrap();
        let untouched = without.peek_n("k", 0).unwrap();
        if later == 0 && untouched.rates().iter().all(|rate| rate.remaining() == rate.capacity()) {
            assert_eq!(refunded, before, "{label}: {spec:?}: {cost}");
        }
    });
}

/// Callers that wait, leave, and give back what they were granted.
fn cancellations_keep_the_promise(rng: &mut Rng, label: Label) {
    let spec = random::any_spec(rng);
    let (limiter, clock) = random::limiter(&spec);
    let mut waiting: VecDeque<(u64, Pin<Box<AcquireFuture<MemoryStore>>>)> = VecDeque::new();
    let mut permits: Vec<Permit<MemoryStore>> = Vec::new();
    let (mut kept, mut context) = (Kept::default(), Context::from_waker(Waker::noop()));
    let pace = spec.rates[0].period / spec.rates[0].limit + 1;
    for _ in 0..150 {
        match rng.below(8) {
            0..4 => {
                let cost = rng.between(1, spec.capacity());
                waiting.push_back((cost, Box::pin(limiter.acquire("k").cost(cost).into_future())));
            }
            4 if !waiting.is_empty() => drop(waiting.remove(rng.index(waiting.len()))),
            5 if !permits.is_empty() => {
                let permit = permits.remove(rng.index(permits.len()));
                kept.remove(permit.decision().at().as_micros(), permit.cost());
                permit.refund_blocking().unwrap();
            }
            _ => clock.advance(Duration::from_micros(rng.below(3 * pace))),
        }
        // Some are polled; who is not may be granted all the same, and leave without having looked.
        for (cost, mut future) in std::mem::take(&mut waiting) {
            match if rng.one_in(4) { Poll::Pending } else { future.as_mut().poll(&mut context) } {
                Poll::Pending => waiting.push_back((cost, future)),
                Poll::Ready(permit) => {
                    let permit = permit.unwrap();
                    kept.add(permit.decision().at().as_micros(), cost);
                    permits.push(permit);
                }
            }
        }
    }
    drop(waiting);
    kept.check(&spec, &label);
    assert_eq!(limiter.waiting(), 0, "{label}: {spec:?}");
    let look = limiter.peek_n("k", 0).unwrap();
    clock.advance(look.reset_after());
    assert_eq!(limiter.peek_n("k", 0).unwrap().remaining(), spec.capacity(), "{label}: {spec:?}");
}

#[test]
fn what_waiters_keep_is_promised_whoever_leaves() {
    each_seed(400, cancellations_keep_the_promise);
}

/// Units that a server counts when they arrive, between the grant and the answer that restamps them.
#[test]
fn restamped_units_are_never_above_a_servers_own_log() {
    each_seed(400, |rng, label| {
        let mut spec = random::spec(rng, Algorithm::SlidingLog, true);
        spec.rates.truncate(1);
        let (limiter, clock) = random::limiter(&spec);
        let period = spec.rates[0].period;
        let mut time = Time { now: random::START, is_wild: false };
        let (mut arrived, mut under_way) = (Kept::default(), Vec::<Permit<MemoryStore>>::new());
        for _ in 0..200 {
            let mut now = time.step(rng, &spec, [period / 2, 1]);
            // Who was granted a period ago has its answer by now.
            while let Some(due) = under_way.iter().map(|permit| permit.decision().at().as_micros() + period).min() {
                let (is_due, at) = (due <= now, due.min(now));
                if !is_due && !rng.one_in(4) {
                    break;
                }
                let place = match is_due {
                    true => under_way.iter().position(|p| p.decision().at().as_micros() + period == due).unwrap(),
                    false => rng.index(under_way.len()),
                };
                let permit = under_way.remove(place);
                set(&clock, at);
                arrived.add(rng.between(permit.decision().at().as_micros(), at), permit.cost());
                permit.restamp_detached();
                now = now.max(at);
            }
            set(&clock, now);
            let cost = rng.between(1, spec.capacity());
            if let Ok(permit) = limiter.acquire("k").cost(cost).timeout(Duration::ZERO).blocking() {
                under_way.push(permit);
            }
        }
        for permit in under_way {
            arrived.add(permit.decision().at().as_micros(), permit.cost());
        }
        arrived.check(&spec, &label);
    });
}

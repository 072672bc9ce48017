//! Clocks that step: by a microsecond, by an hour, to both ends of the range. A step back admits nothing extra, a step
//! forward at most what that much time would, and nobody is locked out for longer than two full quotas or three periods.

use super::{
    model::{RateSpec, Spec},
    promise::Kept,
    random::{self, HOUR, Label, MAX, Rng, START, each_seed, micros},
};
use limiter_core::{Algorithm, Error, Limiter, ManualClock, Timestamp};
use std::{sync::mpsc, thread, time::Duration};

fn set(clock: &ManualClock, now: u64) {
    clock.set(Timestamp::from_micros(now));
}

/// The longest wait for any cost, whatever the clock did: two full buckets or windows ahead.
fn longest_wait(spec: &Spec) -> u64 {
    let of = |rate: &RateSpec| match spec.algorithm {
        Algorithm::Gcra => {
            let full = u128::from(rate.capacity()) * u128::from(rate.period) / u128::from(rate.limit);
            u64::try_from(2 * full + 2 + full / 1000).unwrap() // an interval may be rounded up a little
        }
        Algorithm::FixedWindow => 2 * rate.period,
        Algorithm::SlidingWindow => 3 * rate.period,
        _ => 2 * rate.period + rate.cells.map_or(0, |cells| rate.period.div_ceil(cells.into())) + 1,
    };
    spec.rates.iter().map(of).max().unwrap()
}

/// Admissions by the time that passed: a step back is none, a step forward all of it.
fn steps_mint_nothing(rng: &mut Rng, label: Label, algorithm: Algorithm, with_cells: bool) {
    let spec = random::spec(rng, algorithm, with_cells);
    let (limiter, clock) = random::limiter(&spec);
    let period = rng.pick(&spec.rates).period;
    let (mut now, mut passed, mut kept) = (START, 0, Kept::default());
    let only_back = rng.one_in(3);
    for _ in 0..250 {
        let next = match rng.below(40) {
            0..16 => now,
            16..20 => now + 1,
            20..28 => now + rng.below(2 * period / spec.rates[0].limit + 2),
            28..31 => now + rng.below(2 * period),
            31 => (now / period + 1) * period,
            32 => now.saturating_sub(1),
            33 | 34 => now.saturating_sub(rng.below(period + 1)),
            35 => now.saturating_sub(rng.below(5 * period)),
            36 => now.saturating_sub(HOUR),
            37 if !only_back => now + HOUR,
            38 if rng.one_in(6) => *rng.pick(&[0, 1, period]),
            39 if !only_back && rng.one_in(6) => *rng.pick(&[MAX, MAX - 1, START]),
            _ => now + 1,
        };
        let next = next.min(MAX);
        passed += next.saturating_sub(now);
        now = next;
        set(&clock, now);
        let cost = if rng.one_in(2) { 1 } else { rng.between(1, spec.capacity()) };
        let decision = limiter.check_n("k", cost).unwrap();
        if decision.allowed() {
            kept.add(passed, cost);
        }
        let wait = micros(decision.retry_after().unwrap());
        assert!(wait <= longest_wait(&spec), "{label}: {spec:?}: locked out for {wait} at {now}");
        // Once in a while somebody else is charged or given back at once.
        match rng.below(30) {
            0 => drop(limiter.charge("k", cost).unwrap()),
            1 if decision.allowed() => {
                kept.remove(passed, cost);
                limiter.refund("k", cost, decision.at()).unwrap();
            }
            _ => {}
        }
    }
    kept.check_elapsed(&spec, &label);
}

#[test]
fn steps_of_the_clock_mint_nothing_in_buckets() {
    each_seed(300, |rng, label| steps_mint_nothing(rng, label, Algorithm::Gcra, false));
}

#[test]
fn steps_of_the_clock_mint_nothing_in_fixed_windows() {
    each_seed(300, |rng, label| steps_mint_nothing(rng, label, Algorithm::FixedWindow, false));
}

#[test]
fn steps_of_the_clock_mint_nothing_in_sliding_windows() {
    each_seed(300, |rng, label| steps_mint_nothing(rng, label, Algorithm::SlidingWindow, false));
}

#[test]
fn steps_of_the_clock_mint_nothing_in_logs() {
    each_seed(300, |rng, label| {
        let with_cells = rng.one_in(2);
        steps_mint_nothing(rng, label, Algorithm::SlidingLog, with_cells);
    });
}

/// A unit stamped ahead of a clock that stepped back counts for every rate, also for one whose window it had left.
#[test]
fn a_rate_whose_window_was_empty_counts_what_is_taken_after_a_step_back() {
    let quota = "sliding_log 1/s, 3/3s".parse().unwrap();
    let clock = ManualClock::new(Timestamp::from_micros(START));
    let limiter = Limiter::builder(quota).clock(clock.clone()).build();
    assert!(limiter.check("k").unwrap().allowed());
    set(&clock, START + 2_000_000);
    limiter.charge("k", 0).unwrap(); // a write, by which the first rate has forgotten the unit
    set(&clock, START - 1);
    assert!(limiter.check("k").unwrap().allowed());
    assert!(!limiter.check("k").unwrap().allowed(), "two in a second");
}

#[test]
fn a_step_back_of_any_length_admits_nothing_at_once() {
    each_seed(1500, |rng, label| {
        let spec = random::any_spec(rng);
        let (limiter, clock) = random::limiter(&spec);
        let mut now = START + rng.below(spec.rates[0].period);
        set(&clock, now);
        assert!(limiter.check_n("k", spec.capacity()).unwrap().allowed());
        for back in [1, rng.below(spec.rates[0].period), HOUR, 1, u64::MAX] {
            now = now.saturating_sub(back);
            set(&clock, now);
            for cost in [1, rng.between(1, spec.capacity())] {
                let decision = limiter.check_n("k", cost).unwrap();
                assert!(!decision.allowed(), "{label}: {spec:?}: admitted {cost} at {now}");
                let wait = micros(decision.retry_after().unwrap());
                assert!(wait <= longest_wait(&spec), "{label}: {spec:?}: locked out for {wait} at {now}");
            }
        }
    });
}

/// Whoever waits as told after a step is admitted then, and no sooner.
#[test]
fn a_step_locks_nobody_out_for_longer_than_it_says() {
    each_seed(1500, |rng, label| {
        let spec = random::any_spec(rng);
        let (limiter, clock) = random::limiter(&spec);
        limiter.check_n("k", spec.capacity()).unwrap();
        let step = *rng.pick(&[1, HOUR, START, START - 1, spec.rates[0].period]);
        let now = if rng.one_in(2) { START - step } else { START + step };
        set(&clock, now);
        let cost = rng.between(1, spec.capacity());
        let told = micros(limiter.check_n("k", cost).unwrap().retry_after().unwrap());
        if told > 0 {
            set(&clock, now + told - 1);
            assert!(!limiter.check_n("k", cost).unwrap().allowed(), "{label}: {spec:?}: sooner than {told}");
            set(&clock, now + told);
            assert!(limiter.check_n("k", cost).unwrap().allowed(), "{label}: {spec:?}: not after {told}");
        }
    });
}

/// Every call at both ends of the range, under the longest and the densest rates: no overflow, no panic.
#[test]
fn nothing_overflows_at_the_ends_of_the_range() {
    let longest = (1_u64 << 49) / 1_000_000;
    let quotas = [
        format!("1/{longest}s"),
        "4096/1us".to_owned(),
        "1000000000/s burst 1000000000000".to_owned(),
        "4096000000/s burst 1".to_owned(),
        format!("fixed_window 1/{longest}s"),
        "fixed_window 4503599627370496/400day".to_owned(),
        "sliding_window 4096/1us, 4097/2us".to_owned(),
        format!("sliding_window 1/{longest}s"),
        "sliding_log 4503599627370496/400day resolution 7".to_owned(),
    ];
    for text in &quotas {
        let quota: limiter_core::Quota = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        let clock = ManualClock::default();
        let limiter = Limiter::builder(quota.clone()).clock(clock.clone()).build();
        for now in [0, MAX, 0, 1, MAX - 1, MAX, START, 0, MAX] {
            set(&clock, now);
            for cost in [0, 1, quota.capacity(), quota.capacity() + 1, u64::MAX] {
                let fits = cost <= quota.capacity();
                assert_eq!(limiter.peek_n("k", cost).is_ok(), fits, "{text}");
                assert_eq!(limiter.check_n("k", cost).is_ok(), fits, "{text}");
                limiter.take_up_to("k", cost).unwrap();
                limiter.charge("k", cost).unwrap();
                for taken in [0, now, MAX] {
                    let left = limiter.refund("k", cost, Timestamp::from_micros(taken)).unwrap().remaining();
                    assert!(left <= quota.capacity());
                }
                limiter.charge("k", cost).unwrap();
            }
            limiter.block("k", Duration::MAX).unwrap();
            assert_eq!(limiter.check("k").unwrap().allowed(), now == MAX && limiter.peek("k").unwrap().allowed());
            limiter.block("k", Duration::ZERO).unwrap();
        }
    }
}

/// Runs `call` on a thread of its own; fails if it is not done in time.
fn ends<T: Send + 'static>(what: &str, call: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || drop(sender.send(call())));
    receiver.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("{what} does not end"))
}

/// A wait that the range has no instant for is too long for any caller that allows less; nothing spins.
#[test]
fn at_the_end_of_time_a_bounded_wait_is_refused() {
    let (limiter, clock) =
        random::limiter(&Spec { algorithm: Algorithm::Gcra, rates: vec![RateSpec::new(1, 1_000_000)] });
    set(&clock, MAX);
    assert!(limiter.check("k").unwrap().allowed());
    let answer = ends("acquire", move || limiter.acquire("k").timeout(Duration::ZERO).blocking().map(drop));
    assert!(matches!(answer, Err(Error::WaitTooLong { needed, .. }) if needed == Duration::from_secs(1)), "{answer:?}");
}

#[test]
fn at_the_end_of_time_a_reservation_is_refused() {
    for algorithm in Algorithm::ALL {
        let (limiter, clock) = random::limiter(&Spec { algorithm, rates: vec![RateSpec::new(1, 1_000_000)] });
        set(&clock, MAX);
        assert!(limiter.check("k").unwrap().allowed());
        let answer = ends("reserve", move || super::reserve::now(limiter.reserve("k", 1)).map(drop));
        assert!(matches!(answer, Err(Error::WaitTooLong { .. })), "{algorithm}: {answer:?}");
    }
}

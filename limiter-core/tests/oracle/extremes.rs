//! Rates from one unit in 366 days to 4096 a microsecond, coprime ones, and the costs at the edges.

use super::{
    model::{Answer, Key, RateSpec, Spec, World},
    promise::Kept,
    random::{self, DAY, START, Time, each_seed, micros},
};
use limiter_core::{Algorithm, Error, Timestamp};

/// Limit, period and burst; limits and periods that share no factor among them.
const RATES: [(u64, u64, Option<u64>); 16] = [
    (1, 366 * DAY, None),
    (2, 366 * DAY, Some(17)),
    (1, 7 * DAY + 1, Some(100)),
    (1_000_000_000, 1_000_000, None),
    (999_999_937, 1_000_003, None),
    (4096, 1, None),
    (4095, 1, Some(1)),
    (4096 * 997, 997, None),
    (4_294_967_291, 1_048_583, Some(3)),
    (1, 1, None),
    (1, 1, Some(1 << 49)),
    (3, 1_000_000, Some(1)),
    (7919, 104_729, None),
    (104_729, 7919, Some(50)),
    (999_983, 1_000_000, Some(999_979)),
    (65_537, 86_399_999_983, None),
];

/// Every algorithm that can hold it, with every rate; a log only where the oracle can list its units.
fn specs(with_logs_of_up_to: u64) -> Vec<Spec> {
    let mut specs = Vec::new();
    for (limit, period, burst) in RATES {
        for algorithm in Algorithm::ALL {
            let fits = match algorithm {
                Algorithm::Gcra => true,
                Algorithm::SlidingWindow => 2 * u128::from(limit) * u128::from(period) < 1 << 63,
                Algorithm::FixedWindow => limit <= 1 << 52,
                _ => limit <= with_logs_of_up_to,
            };
            let burst = burst.filter(|_| algorithm == Algorithm::Gcra);
            if fits {
                specs.push(Spec { algorithm, rates: vec![RateSpec { burst, ..RateSpec::new(limit, period) }] });
            }
        }
    }
    specs
}

#[test]
fn extreme_rates_decide_as_the_oracle() {
    let specs = specs(5000);
    each_seed(specs.len().try_into().unwrap(), |rng, label| {
        let spec = specs[label.index()].clone();
        let (limiter, clock) = random::limiter(&spec);
        let (mut world, mut kept) = (World::of(&spec, 1), Kept::default());
        let mut time = Time { now: START, is_wild: false };
        let mut waits = [1; 2];
        let mut refundable = Vec::new();
        for _ in 0..250 {
            let now = time.step(rng, &spec, waits).min(START + (1 << 50));
            time.now = now;
            clock.set(Timestamp::from_micros(now));
            let cost = rng.between(1, spec.capacity()).min(if rng.one_in(2) { u64::MAX } else { 1 + rng.below(100) });
            let (want, got) = match rng.below(20) {
                0 => {
                    world.0[0].charge(now, cost);
                    (world.look(0, now), limiter.charge("k", cost).unwrap())
                }
                1 | 2 if !refundable.is_empty() => {
                    let (cost, taken) = refundable.swap_remove(rng.index(refundable.len()));
                    kept.remove(taken, cost);
                    world.0[0].refund(now, cost, taken);
                    (world.look(0, now), limiter.refund("k", cost, Timestamp::from_micros(taken)).unwrap())
                }
                _ => {
                    let want = world.decide(&[(0, cost)], now, true);
                    if want.allowed {
                        kept.add(now, cost);
                        refundable.push((cost, now));
                    }
                    (want, limiter.check_n("k", cost).unwrap())
                }
            };
            assert_eq!(Answer::of(&got), want, "{label}: {spec:?}: {cost} at {now}: {world:?}");
            waits = [micros(got.reset_after()), got.retry_after().map_or(1, micros)];
        }
        kept.check(&spec, &label);
    });
}

/// The same for logs that no list can hold: the whole quota at once, again exactly a period later, and never more.
#[test]
fn logs_of_any_limit_hold_their_quota() {
    for (limit, period, _) in RATES {
        let spec = Spec { algorithm: Algorithm::SlidingLog, rates: vec![RateSpec::new(limit, period)] };
        let (limiter, clock) = random::limiter(&spec);
        let mut now = START;
        for _ in 0..5 {
            let first = limit.div_ceil(2);
            assert!(limiter.check_n("k", first).unwrap().allowed());
            let step = period / 3;
            clock.set(Timestamp::from_micros(now + step));
            assert_eq!(limiter.check_n("k", limit - first).unwrap().remaining(), 0, "{spec:?}");
            let denied = limiter.check_n("k", limit).unwrap();
            let wait = if limit > first { period + 1 } else { period + 1 - step };
            assert_eq!(denied.retry_after().map(micros), Some(wait), "{spec:?}");
            clock.set(Timestamp::from_micros(now + period));
            assert!(!limiter.check("k").unwrap().allowed(), "{spec:?}: the window is closed at both ends");
            clock.set(Timestamp::from_micros(now + period + 1));
            let back = if step > 0 { first } else { limit };
            assert_eq!(limiter.peek("k").unwrap().remaining(), back, "{spec:?}");
            now += step + period + 1;
            clock.set(Timestamp::from_micros(now));
            assert_eq!(limiter.peek("k").unwrap().remaining(), limit, "{spec:?}");
        }
    }
}

#[test]
fn a_cost_of_nothing_looks_only() {
    for spec in specs(u64::MAX / 4) {
        let (limiter, clock) = random::limiter(&spec);
        limiter.charge("k", u64::MAX).unwrap();
        let before = limiter.peek_n("k", 0).unwrap();
        let look = limiter.check_n("k", 0).unwrap();
        assert!(look.allowed() && look.remaining() == 0, "{spec:?}");
        assert_eq!(look, before);
        limiter.block("k", std::time::Duration::from_micros(1)).unwrap();
        assert!(limiter.check_n("k", 0).unwrap().allowed(), "{spec:?}: a block denies takes of something only");
        clock.set(Timestamp::from_micros(START + 1));
    }
}

#[test]
fn a_cost_of_all_fits_once_and_one_more_never() {
    for spec in specs(u64::MAX / 4) {
        let capacity = spec.capacity();
        for cost in [capacity + 1, u64::MAX] {
            let (limiter, _) = random::limiter(&spec);
            for answer in [limiter.check_n("k", cost), limiter.peek_n("k", cost)] {
                assert!(
                    matches!(answer, Err(Error::NeverFits { cost: c, capacity: of, .. }) if (c, of) == (cost, capacity))
                );
            }
            let answer = limiter.acquire("k").cost(cost).blocking();
            assert!(matches!(answer, Err(Error::NeverFits { .. })), "{spec:?}");
            assert!(matches!(super::reserve::now(limiter.reserve("k", cost)), Err(Error::NeverFits { .. })));
            let all = limiter.check_n("k", capacity).unwrap();
            assert!(all.allowed() && all.remaining() == 0, "{spec:?}");
            assert!(!limiter.check("k").unwrap().allowed(), "{spec:?}");
            assert_eq!(limiter.take_up_to("new", cost).unwrap().0, capacity, "{spec:?}");
        }
    }
}

/// A charge of anything leaves one full quota of debt: as much as two full ones, exactly.
#[test]
fn a_charge_of_the_largest_cost_is_one_quota_of_debt() {
    for spec in specs(5000) {
        let (limiter, clock) = random::limiter(&spec);
        let mut twice = Key::new(&spec);
        twice.charge(START, spec.capacity());
        twice.charge(START, spec.capacity());
        let mut world = World(vec![twice]);
        for _ in 0..3 {
            assert_eq!(Answer::of(&limiter.charge("k", u64::MAX).unwrap()), world.look(0, START), "{spec:?}");
        }
        for cost in [1, spec.capacity()] {
            let denied = limiter.peek_n("k", cost).unwrap();
            assert_eq!(Answer::of(&denied), world.decide(&[(0, cost)], START, false), "{spec:?}: {cost}");
            let wait = micros(denied.retry_after().unwrap());
            clock.set(Timestamp::from_micros(START + wait - 1));
            assert!(!limiter.peek_n("k", cost).unwrap().allowed(), "{spec:?}: {cost}");
            clock.set(Timestamp::from_micros(START + wait));
            assert!(limiter.peek_n("k", cost).unwrap().allowed(), "{spec:?}: {cost}");
            clock.set(Timestamp::from_micros(START));
        }
    }
}

#[test]
fn a_refund_of_the_largest_cost_mints_nothing() {
    for spec in specs(u64::MAX / 4) {
        let (limiter, clock) = random::limiter(&spec);
        let capacity = spec.capacity();
        for taken in [0, START - 1, START, START + 1, u64::MAX] {
            limiter.refund("k", u64::MAX, Timestamp::from_micros(taken)).unwrap();
            assert_eq!(limiter.take_up_to("k", u64::MAX).unwrap().0, capacity, "{spec:?}");
            limiter.reset("k").unwrap();
        }
        // A refund in debt leaves a whole quota at most.
        limiter.charge("k", u64::MAX).unwrap();
        limiter.refund("k", u64::MAX, Timestamp::from_micros(START)).unwrap();
        assert_eq!(limiter.take_up_to("k", u64::MAX).unwrap().0, capacity, "{spec:?}");
        clock.set(Timestamp::from_micros(START + 1));
        let refunded = limiter.refund("k", 1, Timestamp::from_micros(START + 1)).unwrap();
        assert!(refunded.remaining() <= capacity, "{spec:?}");
    }
}

//! Seeds, random numbers, random quotas.

pub(crate) use super::support::random::Rng;

use super::model::{RateSpec, Spec};
use limiter_core::{Algorithm, Limiter, ManualClock, Quota, Rate, Timestamp};
use std::io::Write as _;
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

pub(crate) const START: u64 = 1_760_000_000_000_000;
pub(crate) const HOUR: u64 = 3_600_000_000;
pub(crate) const DAY: u64 = 24 * HOUR;
pub(crate) const MAX: u64 = Timestamp::MAX.as_micros();

/// Runs `run` so many times under each of two fixed seeds, so that a commit fails for what it changed; under that of
/// `LIMITER_SEED` instead, or with `LIMITER_SEED=fresh` under a new one, to look for more.
pub(crate) fn each_seed(runs: u64, mut run: impl FnMut(&mut Rng, Label)) {
    let seeds = match std::env::var("LIMITER_SEED") {
        Ok(seed) if seed == "fresh" => vec![RandomState::new().hash_one("fresh") >> 16],
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => vec![1, 2],
    };
    for seed in seeds {
        // Past the capture of what tests print, so that every run shows its seeds.
        let _ = writeln!(std::io::stderr(), "LIMITER_SEED={seed}");
        for number in 0..runs {
            run(&mut Rng::new(seed.wrapping_add(number << 48)), Label { seed, number });
        }
    }
}

/// How to find a failed run again.
#[derive(Clone, Copy)]
pub(crate) struct Label {
    seed: u64,
    number: u64,
}

impl Label {
    /// The number of the run, from 0.
    pub(crate) fn index(self) -> usize {
        self.number.try_into().unwrap()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LIMITER_SEED={} run {}", self.seed, self.number)
    }
}

/// A quota of one to three rates. A `resolution` is for the sliding log, and sometimes none then, too.
pub(crate) fn spec(rng: &mut Rng, algorithm: Algorithm, with_cells: bool) -> Spec {
    let few = algorithm == Algorithm::SlidingLog; // the oracle keeps every unit
    let period = match rng.below(6) {
        0 => rng.between(1, 20),
        1 => rng.between(20, 2000),
        2 => *rng.pick(&[7, 997, 1009, 1_000_003, 59_999_999]),
        3 => 1_000_000,
        4 => rng.between(1, 1_000_000_000),
        _ => *rng.pick(&[60_000_000, HOUR, DAY]),
    };
    let limit = match rng.below(3) {
        0 => rng.between(1, 3),
        1 => rng.between(1, 12),
        _ if few => rng.between(1, 20),
        _ => *rng.pick(&[7, 13, 97, 100, 101, 997, 1000]),
    };
    let mut rates = vec![RateSpec::new(limit.min(4096 * period), period)];
    for _ in 0..*rng.pick(&[0, 0, 0, 1, 1, 2]) {
        let RateSpec { limit, period, .. } = *rates.last().unwrap();
        let longer = period * rng.between(2, 6) + rng.below(period);
        let most = u64::try_from(u128::from(limit) * u128::from(longer) / u128::from(period)).unwrap();
        let highest = if few { most.min(limit + 8) } else { most };
        rates.push(RateSpec::new(rng.between(limit + 1, highest), longer));
    }
    for rate in &mut rates {
        match algorithm {
            Algorithm::Gcra if rng.one_in(2) => rate.burst = Some(rng.between(1, 3 * rate.limit)),
            Algorithm::SlidingLog if with_cells && !rng.one_in(4) => {
                rate.cells = Some(u32::try_from(rng.between(1, 12)).unwrap());
            }
            _ => {}
        }
    }
    Spec { algorithm, rates }
}

/// A quota of any algorithm.
pub(crate) fn any_spec(rng: &mut Rng) -> Spec {
    let algorithm = *rng.pick(&Algorithm::ALL);
    spec(rng, algorithm, true)
}

/// A quota in numbers.
pub(crate) fn numbers(quota: &Quota) -> Spec {
    let rate = |rate: &Rate| RateSpec {
        limit: rate.limit(),
        period: micros(rate.period()),
        burst: rate.burst_size(),
        cells: rate.cells(),
    };
    Spec { algorithm: quota.algorithm(), rates: quota.rates().iter().map(rate).collect() }
}

/// A limiter of `spec`, and the clock it goes by.
pub(crate) fn limiter(spec: &Spec) -> (Limiter, ManualClock) {
    let clock = ManualClock::new(Timestamp::from_micros(START));
    let limiter = Limiter::builder(spec.quota()).clock(clock.clone()).sleep(clock.clone()).build();
    (limiter, clock)
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap()
}

/// The time of a run, which jumps about where decisions have their edges.
pub(crate) struct Time {
    pub(crate) now: u64,
    /// Whether it steps back, by hours, and to the ends of the range.
    pub(crate) is_wild: bool,
}

impl Time {
    /// Moves on from a decision that named these waits.
    pub(crate) fn step(&mut self, rng: &mut Rng, spec: &Spec, waits: [u64; 2]) -> u64 {
        let rate = *rng.pick(&spec.rates);
        let (period, now) = (rate.period, self.now);
        let near = |rng: &mut Rng, instant: u64| (instant + rng.below(3)).saturating_sub(1);
        let next = match rng.below(if self.is_wild { 100 } else { 90 }) {
            0..25 => now,
            25..33 => now + 1,
            33..55 => now + rng.below(2 * period / rate.limit + 2),
            55..68 => {
                let wait = *rng.pick(&waits);
                near(rng, now.saturating_add(wait))
            }
            68..76 => near(rng, (now / period + 1) * period),
            76..84 => now + rng.below(period + 1),
            84..89 => now + rng.below(3 * period + 1),
            89 => now + rng.below(20 * period + 1),
            90..94 => now.saturating_sub(rng.between(1, period)),
            94 => now.saturating_sub(1),
            95 => now.saturating_sub(rng.below(8 * period + 1)),
            96 => now.saturating_sub(HOUR),
            97 => now + HOUR,
            98 => START,
            _ => *rng.pick(&[0, MAX, MAX - 1, MAX - period.min(MAX), period, START, START, START]),
        };
        // What does not jump about does not step back from a "near" before now, either.
        self.now = if self.is_wild { next } else { next.max(now) }.min(MAX);
        self.now
    }
}

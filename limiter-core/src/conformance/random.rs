//! Seeds, random numbers, random quotas and times that fall on the edges of decisions.

use super::Failure;
use crate::{Algorithm, Decision, Quota, QuotaError, Rate, Timestamp};
use std::{
    env, fmt,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// When random runs begin.
pub(super) const START: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);

const HOUR: u64 = 3_600_000_000;
const DAY: u64 = 24 * HOUR;

/// Steps of random streams a case and seed, where `LIMITER_STEPS` does not say.
const STEPS: u64 = 600;

/// How many steps the random streams of a case take under each seed.
pub(super) fn steps() -> Result<u64, Failure> {
    number("LIMITER_STEPS").map(|steps| steps.unwrap_or(STEPS))
}

/// Two fixed seeds, so that a run repeats; that of `LIMITER_SEED` instead, or a new one where it is `fresh`.
pub(super) fn seeds() -> Result<Vec<u64>, Failure> {
    if env::var("LIMITER_SEED").is_ok_and(|seed| seed == "fresh") {
        return Ok(vec![RandomState::new().hash_one("fresh") >> 16]);
    }
    Ok(number("LIMITER_SEED")?.map_or_else(|| vec![1, 2], |seed| vec![seed]))
}

fn number(variable: &str) -> Result<Option<u64>, Failure> {
    let Some(text) = env::var_os(variable) else { return Ok(None) };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| Failure::new(format!("{variable} is {text:?}; expected a whole number")))
}

/// How to find a failed run again.
#[derive(Clone, Copy)]
pub(super) struct Label {
    pub(super) seed: u64,
    pub(super) run: u64,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LIMITER_SEED={} run {}", self.seed, self.run)
    }
}

/// SplitMix64.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn of(label: Label) -> Self {
        Self(label.seed.wrapping_add(label.run << 48))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`; 0 where that is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.next()) * u128::from(bound)) >> 64).unwrap_or_default()
    }

    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below((high - low).saturating_add(1))
    }

    pub(super) fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    pub(super) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64).try_into().unwrap_or_default()
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// A cost: mostly one that fits, now and then one at an edge.
    pub(super) fn cost(&mut self, capacity: u64) -> u64 {
        match self.below(24) {
            0 => 0,
            1..=11 => 1,
            12..=15 => self.between(1, capacity.div_ceil(3)),
            16..=19 => self.between(1, capacity),
            20 | 21 => capacity,
            22 => capacity + 1,
            _ => self.pick(&[u64::MAX, u64::MAX / 2, 2 * capacity, 2 * capacity + 1]),
        }
    }
}

/// What a random quota may be.
#[derive(Clone, Copy)]
pub(super) struct Quotas {
    /// Any, where there is none.
    pub(super) algorithm: Option<Algorithm>,
    /// Whether logs have a resolution; some do, where this does not say.
    pub(super) with_cells: Option<bool>,
    pub(super) are_extreme: bool,
    pub(super) largest_exact_log: u64,
}

impl Quotas {
    pub(super) fn pick(&self, rng: &mut Rng) -> Result<Quota, Failure> {
        let algorithm = self.algorithm.unwrap_or_else(|| rng.pick(&Algorithm::ALL));
        let rates = if self.are_extreme { self.extreme(rng, algorithm) } else { self.usual(rng, algorithm) };
        let rates: Vec<Rate> =
            rates.into_iter().map(Numbers::rate).collect::<Result<_, _>>().map_err(|error| refused(&error))?;
        Quota::new(algorithm, rates).map_err(|error| refused(&error))
    }

    /// One to three rates.
    fn usual(&self, rng: &mut Rng, algorithm: Algorithm) -> Vec<Numbers> {
        let period = match rng.below(6) {
            0 => rng.between(1, 20),
            1 => rng.between(20, 2000),
            2 => rng.pick(&[7, 997, 1009, 1_000_003, 59_999_999]),
            3 => 1_000_000,
            4 => rng.between(1, 1_000_000_000),
            _ => rng.pick(&[60_000_000, HOUR, DAY]),
        };
        let limit = match rng.below(3) {
            0 => rng.between(1, 3),
            1 => rng.between(1, 12),
            _ => rng.pick(&[7, 13, 97, 100, 101, 997, 1000]),
        };
        let mut rates = vec![Numbers::new(limit.min(4096 * period), period)];
        for _ in 0..rng.pick(&[0, 0, 0, 1, 1, 2]) {
            let Some(&Numbers { limit, period, .. }) = rates.last() else { break };
            let longer = period * rng.between(2, 6) + rng.below(period);
            let most = u128::from(limit) * u128::from(longer) / u128::from(period);
            rates.push(Numbers::new(rng.between(limit + 1, most.try_into().unwrap_or(u64::MAX)), longer));
        }
        for rate in &mut rates {
            self.add_options(rng, algorithm, rate);
        }
        rates
    }

    /// One rate: from a unit in 366 days to 4096 a microsecond, and limits up to 2⁵².
    fn extreme(&self, rng: &mut Rng, algorithm: Algorithm) -> Vec<Numbers> {
        loop {
            let (limit, period) = rng.pick(&RATES);
            let mut rate = Numbers::new(limit, period);
            self.add_options(rng, algorithm, &mut rate);
            let fits = match algorithm {
                Algorithm::Gcra => true,
                Algorithm::FixedWindow => limit <= 1 << 52,
                Algorithm::SlidingWindow => 2 * u128::from(limit) * u128::from(period) < 1 << 63,
                Algorithm::SlidingLog => limit <= 1 << 52 && (rate.cells.is_some() || limit <= self.largest_exact_log),
            };
            if fits {
                return vec![rate];
            }
        }
    }

    fn add_options(&self, rng: &mut Rng, algorithm: Algorithm, rate: &mut Numbers) {
        match algorithm {
            Algorithm::Gcra if rng.one_in(2) => rate.burst = Some(rng.between(1, 3 * rate.limit.min(1 << 40))),
            Algorithm::SlidingLog => {
                let with_cells = self.with_cells.unwrap_or_else(|| rng.one_in(2));
                if (with_cells && !rng.one_in(4)) || (!with_cells && rate.limit > self.largest_exact_log) {
                    rate.cells = Some(rng.pick(&[1, 2, 3, 5, 7, 10, 12]));
                }
            }
            _ => {}
        }
        // A burst too long to drain is refused; the plain rate is not.
        if rate.rate().is_err() {
            rate.burst = None;
        }
    }
}

/// Limits and periods, with factors in common and without.
const RATES: [(u64, u64); 20] = [
    (1, 366 * DAY),
    (2, 366 * DAY),
    (1, 7 * DAY + 1),
    (1_000_000_000, 1_000_000),
    (999_999_937, 1_000_003),
    (4096, 1),
    (4095, 1),
    (4096 * 997, 997),
    (4_294_967_291, 1_048_583),
    (1, 1),
    (3, 1_000_000),
    (7919, 104_729),
    (104_729, 7919),
    (999_983, 1_000_000),
    (65_537, 86_399_999_983),
    (1 << 52, 16_777_216_000_000),
    ((1 << 52) - 1, 1_099_511_627_776),
    (4096 * 33_554_431, 33_554_431),
    (1 << 20, (1 << 42) - 1),
    (9_007_199_254_740_993 >> 1, 2_199_023_255_552),
];

#[derive(Clone, Copy)]
struct Numbers {
    limit: u64,
    period: u64,
    burst: Option<u64>,
    cells: Option<u32>,
}

impl Numbers {
    fn new(limit: u64, period: u64) -> Self {
        Self { limit, period, burst: None, cells: None }
    }

    fn rate(self) -> Result<Rate, QuotaError> {
        let rate = Rate::new(self.limit, Duration::from_micros(self.period))?;
        let rate = self.burst.map_or(Ok(rate), |burst| rate.burst(burst))?;
        self.cells.map_or(Ok(rate), |cells| rate.resolution(cells))
    }
}

fn refused(error: &QuotaError) -> Failure {
    Failure::new(format!("the suite made a quota that is refused: {error}"))
}

/// The time of a run, which jumps about where decisions have their edges.
pub(super) struct Time {
    now: Timestamp,
    /// Whether it steps back, by hours, and to the ends of the range.
    is_wild: bool,
    waits: [Duration; 2],
}

impl Time {
    pub(super) fn new(is_wild: bool) -> Self {
        Self { now: START, is_wild, waits: [Duration::ZERO; 2] }
    }

    /// Learns what a decision says of the instants to come.
    pub(super) fn heard(&mut self, decision: &Decision) {
        self.waits = [decision.reset_after(), decision.retry_after().unwrap_or(Duration::ZERO)];
    }

    /// The next instant, of interest to `quota`.
    pub(super) fn step(&mut self, rng: &mut Rng, quota: &Quota) -> Timestamp {
        let rate = &quota.rates()[rng.index(quota.rates().len())];
        let (period, now, max) = (rate.period_us(), self.now.as_micros(), Timestamp::MAX.as_micros());
        let near = |rng: &mut Rng, instant: u64| instant.saturating_add(rng.below(3)).saturating_sub(1);
        let next = match rng.below(if self.is_wild { 100 } else { 90 }) {
            0..25 => now,
            25..33 => now + 1,
            33..55 => now + rng.below(2 * (period / rate.limit()) + 2),
            55..68 => {
                let wait = u64::try_from(rng.pick(&self.waits).as_micros()).unwrap_or(max);
                near(rng, now.saturating_add(wait))
            }
            68..76 => near(rng, (now / period + 1) * period),
            76..84 => now + rng.below(period + 1),
            84..89 => now + rng.below(3 * period + 1),
            89 => now + rng.below(20 * period.min(1 << 50) + 1),
            90..94 => now.saturating_sub(rng.between(1, period)),
            94 => now.saturating_sub(1),
            95 => now.saturating_sub(rng.below(8 * period + 1)),
            96 => now.saturating_sub(HOUR),
            97 => now + HOUR,
            98 => START.as_micros(),
            _ => {
                let (start, end) = (START.as_micros(), max.saturating_sub(period));
                rng.pick(&[0, 1, max, max - 1, end, period, start, start, start])
            }
        };
        let next = Timestamp::from_micros(next);
        // What does not jump about does not step back from a "near" before now, either.
        self.now = if self.is_wild { next } else { next.max(self.now) };
        self.now
    }
}

//! Random streams of calls, answered by a server and by memory alike, field by field.

use crate::{
    fresh,
    support::{block_on, random::Rng},
};
use limiter_core::{
    Algorithm, Decision, KeyState, MemoryStore, Quota, Rate, RedisStore, Store, Timestamp,
    store::{Adjust, Demand, Scope},
};
use std::{env, time::Duration};

const START: u64 = 1_760_000_000_000_000;
const HOUR: u64 = 3_600_000_000;
const MAX: u64 = Timestamp::MAX.as_micros();

/// A quota of one to three rates, small ones and those at the ends of what can be held.
fn quota(rng: &mut Rng, algorithm: Algorithm) -> Quota {
    loop {
        let period = match rng.below(7) {
            0 => rng.between(1, 20),
            1 => rng.between(20, 2000),
            2 => *rng.pick(&[7, 997, 1_000_003, 59_999_999]),
            3 => 1_000_000,
            4 => rng.between(1, 1_000_000_000),
            5 => rng.between(1, 1 << 49),
            _ => *rng.pick(&[60_000_000, HOUR, 24 * HOUR]),
        };
        let limit = match rng.below(5) {
            0 => rng.between(1, 3),
            1 | 2 => rng.between(1, 20),
            3 => *rng.pick(&[7, 97, 100, 997, 1000]),
            _ => 1 << rng.below(52),
        };
        let mut rates = vec![(limit, period)];
        for _ in 0..*rng.pick(&[0, 0, 0, 1, 1, 2]) {
            let (limit, period) = *rates.last().unwrap();
            let longer = period * rng.between(2, 6) + rng.below(period);
            let most = u64::try_from(u128::from(limit) * u128::from(longer) / u128::from(period)).unwrap();
            rates.push((rng.between(limit + 1, most.max(limit + 1)), longer));
        }
        let rate = |(limit, period): (u64, u64)| {
            let rate = Rate::new(limit, Duration::from_micros(period)).ok()?;
            match algorithm {
                Algorithm::Gcra if rng.one_in(2) => rate.burst(rng.between(1, 3 * limit)).ok(),
                Algorithm::SlidingLog if rng.one_in(3) => {
                    rate.resolution(u32::try_from(rng.between(1, 12)).unwrap()).ok()
                }
                _ => Some(rate),
            }
        };
        let rates: Option<Vec<Rate>> = rates.into_iter().map(rate).collect();
        if let Some(Ok(quota)) = rates.map(|rates| Quota::new(algorithm, rates)) {
            return quota;
        }
    }
}

/// The instant of the next call, where decisions have their edges; it steps back now and then where it is `wild`.
fn next_instant(rng: &mut Rng, now: u64, wild: bool, quota: &Quota, last: Option<&Decision>) -> u64 {
    let rate = *rng.pick(quota.rates());
    let period = micros(rate.period());
    let near = |rng: &mut Rng, at: u64| at.saturating_add(rng.below(3)).saturating_sub(1);
    let next = match rng.below(if wild { 100 } else { 90 }) {
        0..30 => now,
        30..35 => now + 1,
        35..55 => now + rng.below(2 * period / rate.limit() + 2),
        55..68 => {
            let waits = last.map_or([0, 0], |last| [last.retry_after().map_or(0, micros), micros(last.reset_after())]);
            let wait = *rng.pick(&waits);
            near(rng, now.saturating_add(wait))
        }
        68..76 => near(rng, (now / period + 1) * period),
        76..86 => now + rng.below(period + 1),
        86..90 => now + rng.below(3 * period + 1),
        90..94 => now.saturating_sub(rng.between(1, period)),
        94 => now.saturating_sub(1),
        95 => now.saturating_sub(rng.below(8 * period + 1)),
        96 => now.saturating_sub(HOUR),
        97 => now + HOUR,
        98 => START,
        _ => *rng.pick(&[0, MAX, MAX - 1, MAX - period.min(MAX), period, START, START, START]),
    };
    if wild { next } else { next.max(now) }.min(MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap()
}

/// Both stores; every call goes to both.
struct Both {
    server: RedisStore,
    memory: MemoryStore,
}

const KEYS: [&[u8]; 3] = [b"ada", b"{b}}", b"\0\xff{"];

/// What a run is about.
#[derive(Clone, Copy)]
struct About {
    algorithm: Option<Algorithm>,
    wild: bool,
    changes: bool,
    several: bool,
}

impl Both {
    fn new() -> (Self, std::sync::Arc<crate::servers::RedisServer>) {
        let server = fresh::shared();
        (Self { server: fresh::store(&server), memory: MemoryStore::builder().max_keys(1 << 22).build() }, server)
    }

    fn run(&self, about: About, seed: u64, number: u64, steps: u64) {
        let mut rng = Rng::new(seed.wrapping_add(number << 40));
        let scopes = ["a", "b"].map(|name| Scope::new(format!("{seed} {number} {name}")));
        let algorithm = |rng: &mut Rng| about.algorithm.unwrap_or_else(|| *rng.pick(&Algorithm::ALL));
        let mut quotas: [Quota; 2] = [(); 2].map(|()| {
            let algorithm = algorithm(&mut rng);
            quota(&mut rng, algorithm)
        });
        let (mut now, mut last, mut taken) = (START, None::<Decision>, vec![(START, 1)]);
        for step in 0..steps {
            let of = usize::from(rng.one_in(4));
            if about.changes && rng.one_in(8) {
                let algorithm = algorithm(&mut rng);
                quotas[of] = quota(&mut rng, algorithm);
            }
            now = next_instant(&mut rng, now, about.wild, &quotas[of], last.as_ref());
            let at = Timestamp::from_micros(now);
            let cost = rng.cost(quotas[of].capacity());
            let key = *rng.pick(&[KEYS[0], KEYS[0], KEYS[0], KEYS[1], KEYS[2]]);
            let demand = Demand::new(&scopes[of], key, &quotas[of], cost);
            let label = || format!("seed {seed}, run {number}, step {step}: {demand:?} at {now}");
            let mut demands = vec![demand];
            if about.several && rng.one_in(2) {
                let other_cost = rng.cost(quotas[1 - of].capacity());
                let other_key = KEYS[rng.index(KEYS.len())];
                demands.push(Demand::new(&scopes[1 - of], other_key, &quotas[1 - of], other_cost));
                let third = if key == KEYS[1] { KEYS[2] } else { KEYS[1] };
                demands.push(Demand::new(&scopes[of], third, &quotas[of], *rng.pick(&[0, 1, 1, 2])));
            }
            let (before, before_cost) = if rng.one_in(3) { (now, cost) } else { *rng.pick(&taken) };
            let taken_at = Timestamp::from_micros(*rng.pick(&[before, before, before, before.saturating_sub(1)]));
            let back_cost = if rng.one_in(2) { before_cost } else { cost };
            let back = Demand::new(&scopes[of], key, &quotas[of], back_cost);
            let adjust = |demand: Demand<'_>, adjust: Adjust| {
                let answers = (
                    block_on(self.server.adjust(demand, adjust, Some(&at))),
                    block_on(self.memory.adjust(demand, adjust, Some(&at))),
                );
                (answers.0, answers.1, format!("{adjust:?}"))
            };
            let until = Timestamp::from_micros(now.saturating_add(rng.below(3 * HOUR)).saturating_sub(HOUR));
            let (server, memory, what) = match rng.below(100) {
                0..55 => (
                    block_on(self.server.take(&demands, Some(&at))),
                    block_on(self.memory.take(&demands, Some(&at))),
                    format!("take {demands:?}"),
                ),
                55..65 => (
                    block_on(self.server.peek(&demands, Some(&at))),
                    block_on(self.memory.peek(&demands, Some(&at))),
                    format!("peek {demands:?}"),
                ),
                65..73 => adjust(demand, Adjust::Charge),
                73..81 => adjust(back, Adjust::Refund { taken: taken_at }),
                81..86 => adjust(back, Adjust::Restamp { taken: taken_at }),
                86..92 => adjust(demand, Adjust::Reserve),
                92..94 => adjust(demand, Adjust::Block { until }),
                94 => adjust(demand, Adjust::BlockAtLeast { until }),
                95 => adjust(demand, Adjust::Block { until: Timestamp::MIN }),
                96 => {
                    block_on(self.server.reset(&scopes[of], key)).unwrap();
                    block_on(self.memory.reset(&scopes[of], key)).unwrap();
                    continue;
                }
                _ => {
                    let server = block_on(self.server.snapshot(demand, Some(&at)));
                    let memory = block_on(self.memory.snapshot(demand, Some(&at)));
                    self.same_answers(server, memory, demand, at, &label);
                    continue;
                }
            };
            let server = server.unwrap_or_else(|error| panic!("{}: {what}: {error:?}", label()));
            assert_eq!(server, memory.unwrap(), "{}: {what}", label());
            if server.allowed() && cost > 0 {
                taken.push((now, cost));
            }
            last = Some(server);
        }
    }

    /// States may be written differently, but must answer alike.
    fn same_answers(
        &self,
        server: Option<(KeyState, Timestamp)>,
        memory: Option<(KeyState, Timestamp)>,
        demand: Demand<'_>,
        at: Timestamp,
        label: &impl Fn() -> String,
    ) {
        let Some((mut server, time)) = server else { return };
        let (mut memory, _) = memory.unwrap();
        assert_eq!(time, at);
        let [server, memory] =
            [&mut server, &mut memory].map(|state| state.adjust(demand.quota, at, demand.cost, Adjust::Charge));
        assert_eq!(server, memory, "snapshot: {}", label());
    }
}

fn stream(about: About) {
    let steps: u64 = env::var("LIMITER_STEPS").map_or(2000, |steps| steps.parse().unwrap());
    let seeds = env::var("LIMITER_SEED").map_or(vec![1, 2], |seed| vec![seed.parse().unwrap()]);
    let (both, _server) = Both::new();
    for seed in seeds {
        (0..steps.div_ceil(100)).for_each(|number| both.run(about, seed, number, 100));
    }
}

fn of(algorithm: Algorithm) {
    stream(About { algorithm: Some(algorithm), wild: false, changes: false, several: false });
    stream(About { algorithm: Some(algorithm), wild: true, changes: false, several: false });
}

#[test]
fn buckets_answer_as_in_memory() {
    of(Algorithm::Gcra);
}

#[test]
fn fixed_windows_answer_as_in_memory() {
    of(Algorithm::FixedWindow);
}

#[test]
fn sliding_windows_answer_as_in_memory() {
    of(Algorithm::SlidingWindow);
}

#[test]
fn sliding_logs_answer_as_in_memory() {
    of(Algorithm::SlidingLog);
}

#[test]
fn changing_quotas_answer_as_in_memory() {
    stream(About { algorithm: None, wild: true, changes: true, several: false });
}

#[test]
fn several_demands_answer_as_in_memory() {
    stream(About { algorithm: None, wild: true, changes: true, several: true });
}

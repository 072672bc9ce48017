//! Random streams of calls, each answer compared with the reference.

use super::{
    Failure, Harness,
    beside::Beside,
    random::{self, Label, Quotas, Rng, START, Time},
};
use crate::{
    Algorithm, Decision, Quota, Store, Timestamp,
    store::{Adjust, Demand, Scope},
};

/// Steps until a run begins anew with other quotas.
const RUN: u64 = 60;

const KEYS: [&[u8]; 4] = [b"ada", b"bob", b"ada:bob", b"\0\xff"];

/// What a stream is made of.
#[derive(Clone, Copy, Default)]
pub(super) struct Stream {
    pub(super) algorithm: Option<Algorithm>,
    pub(super) with_cells: Option<bool>,
    pub(super) are_extreme: bool,
    /// The clock steps back in every run, not in every other one.
    pub(super) is_wild: bool,
    /// Several demands in most decisions.
    pub(super) are_several: bool,
    /// The quotas of keys change.
    pub(super) changes: bool,
    pub(super) through: Through,
}

/// Which handles the calls go through.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Through {
    #[default]
    One,
    Shared,
    Reopened,
}

impl Stream {
    /// Runs `LIMITER_STEPS` steps under each seed.
    pub(super) async fn run<H: Harness>(self, harness: &H) -> Result<(), Failure> {
        let steps = random::steps()?;
        for seed in random::seeds()? {
            let mut beside = Beside::new(harness.fresh().await);
            let mut others = Vec::new();
            if self.through == Through::Shared {
                for _ in 0..2 {
                    others.push(shared(harness, &beside.store).await?);
                }
            }
            for run in 0..steps.div_ceil(RUN) {
                let label = Label { seed, run };
                beside = Run::new(self, harness, label)?
                    .run(harness, beside, &others)
                    .await
                    .map_err(|failure| failure.at(label))?;
            }
        }
        Ok(())
    }

    fn quotas<H: Harness>(self, harness: &H) -> Quotas {
        Quotas {
            algorithm: self.algorithm,
            with_cells: self.with_cells,
            are_extreme: self.are_extreme,
            largest_exact_log: harness.limits().largest_exact_log,
        }
    }
}

/// One more handle, which the harness must have.
pub(super) async fn shared<H: Harness>(harness: &H, store: &H::Store) -> Result<H::Store, Failure> {
    let shared = harness.share(store).await;
    shared.ok_or_else(|| Failure::new("expected another handle on the store's state, got none from Harness::share"))
}

/// The store opened again, which the harness must do.
pub(super) async fn reopened<H: Harness>(harness: &H, store: H::Store) -> Result<H::Store, Failure> {
    let reopened = harness.reopen(store).await;
    reopened.ok_or_else(|| Failure::new("expected the store opened again, got nothing from Harness::reopen"))
}

struct Run {
    stream: Stream,
    quotas: Quotas,
    rng: Rng,
    time: Time,
    is_wild: bool,
    scopes: [Scope; 2],
    /// The quota of each limiter now.
    current: [Quota; 2],
    /// Limiter, key, cost and instant of what was admitted, the latest last.
    takes: Vec<(usize, usize, u64, Timestamp)>,
}

impl Run {
    fn new<H: Harness>(stream: Stream, harness: &H, label: Label) -> Result<Self, Failure> {
        let (mut rng, quotas) = (Rng::of(label), stream.quotas(harness));
        let is_wild = stream.is_wild || rng.one_in(2);
        let scopes = ["a", "b"].map(|name| Scope::new(format!("{} {} {name}", label.seed, label.run)));
        let current = [quotas.pick(&mut rng)?, quotas.pick(&mut rng)?];
        Ok(Self { stream, quotas, rng, time: Time::new(is_wild), is_wild, scopes, current, takes: Vec::new() })
    }

    async fn run<H: Harness>(
        mut self,
        harness: &H,
        mut beside: Beside<H::Store>,
        others: &[H::Store],
    ) -> Result<Beside<H::Store>, Failure> {
        for _ in 0..RUN {
            match self.stream.through {
                Through::One => {}
                Through::Shared => beside.store = others[self.rng.index(others.len())].clone(),
                Through::Reopened if self.rng.one_in(10) => beside.store = reopened(harness, beside.store).await?,
                Through::Reopened => {}
            }
            self.step(&mut beside).await?;
        }
        Ok(beside)
    }

    async fn step<S: Store>(&mut self, beside: &mut Beside<S>) -> Result<(), Failure> {
        let of = self.rng.index(2);
        let now = self.time.step(&mut self.rng, &self.current[of]);
        if self.stream.changes && self.rng.one_in(6) {
            self.current[of] = self.quotas.pick(&mut self.rng)?;
        }
        if self.rng.one_in(if self.stream.are_several { 2 } else { 16 }) {
            return self.several(beside, now).await;
        }
        let key = self.rng.index(KEYS.len()).min(self.rng.index(KEYS.len())); // the first one mostly
        let (scope, quota) = (self.scopes[of].clone(), self.current[of].clone());
        let cost = self.rng.cost(quota.capacity());
        let demand = Demand::new(&scope, KEYS[key], &quota, cost);
        let decision = match self.rng.below(100) {
            0..40 => {
                let decision = beside.take(&[demand], now).await?;
                self.took(of, key, cost, &decision);
                decision
            }
            40..45 => {
                let decision = beside.take_now(&[demand], now).await?;
                self.took(of, key, cost, &decision);
                decision
            }
            45..53 => beside.peek(&[demand], now).await?,
            53..60 => beside.adjust(demand, Adjust::Charge, now).await?,
            60..69 => {
                let (cost, taken) = self.earlier(of, key, cost, now);
                beside.adjust(Demand { cost, ..demand }, Adjust::Refund { taken }, now).await?
            }
            69..74 => {
                let (cost, taken) = self.earlier(of, key, cost, now);
                beside.adjust(Demand { cost, ..demand }, Adjust::Restamp { taken }, now).await?
            }
            74..80 => {
                let decision = beside.adjust(demand, Adjust::Reserve, now).await?;
                self.took(of, key, cost, &decision);
                decision
            }
            80..84 => {
                let until = self.until(&quota, now);
                beside.adjust(demand, Adjust::Block { until }, now).await?
            }
            84..87 => {
                let until = self.until(&quota, now);
                beside.adjust(demand, Adjust::BlockAtLeast { until }, now).await?
            }
            87..90 => return beside.reset(&scope, KEYS[key]).await,
            // What was idle may be kept or gone, unless the clock may step back to where it is not idle.
            90..92 if !self.is_wild => return beside.sweep(now).await.map(drop),
            _ => return beside.snapshot(demand, now).await,
        };
        self.time.heard(&decision);
        Ok(())
    }

    /// A random choice of both limiters' keys in one decision.
    async fn several<S: Store>(&mut self, beside: &mut Beside<S>, now: Timestamp) -> Result<(), Failure> {
        let rng = &mut self.rng;
        let mut demands: Vec<(usize, usize, u64)> = Vec::new();
        for key in 0..KEYS.len() {
            for of in 0..2 {
                if rng.one_in(2) {
                    // Mostly costs that fit together, else hardly anything would be admitted.
                    let cost = if rng.one_in(8) { rng.cost(self.current[of].capacity()) } else { rng.below(3) };
                    demands.push((of, key, cost));
                }
            }
        }
        if rng.one_in(2) {
            demands.reverse();
        }
        if demands.is_empty() {
            return Ok(());
        }
        let takes = !rng.one_in(4);
        let asked: Vec<Demand<'_>> = demands
            .iter()
            .map(|&(of, key, cost)| Demand::new(&self.scopes[of], KEYS[key], &self.current[of], cost))
            .collect();
        let decision = if takes { beside.take(&asked, now).await? } else { beside.peek(&asked, now).await? };
        drop(asked);
        if takes {
            for (of, key, cost) in demands {
                self.took(of, key, cost, &decision);
            }
        }
        self.time.heard(&decision);
        Ok(())
    }

    fn took(&mut self, of: usize, key: usize, cost: u64, decision: &Decision) {
        if decision.allowed() && cost > 0 {
            self.takes.push((of, key, cost, decision.at()));
        }
    }

    /// The cost and instant of one of the key's latest takes, whole or in part; now and then of one that never was.
    fn earlier(&mut self, of: usize, key: usize, cost: u64, now: Timestamp) -> (u64, Timestamp) {
        let mine: Vec<usize> =
            (0..self.takes.len()).rev().filter(|&i| (self.takes[i].0, self.takes[i].1) == (of, key)).take(6).collect();
        if mine.is_empty() || self.rng.one_in(5) {
            let back = self.rng.below(3 * self.current[of].rates()[0].period_us());
            return (cost, Timestamp::from_micros(now.as_micros().saturating_sub(back)));
        }
        let i = mine[self.rng.index(mine.len())];
        let (cost, taken) = (self.takes[i].2, self.takes[i].3);
        if !self.rng.one_in(3) {
            self.takes.remove(i); // else it is given back once more later
        }
        (if self.rng.one_in(2) { cost } else { self.rng.below(cost.saturating_add(1)) }, taken)
    }

    /// The end of a block: past, now or soon, now and then at an end of time.
    fn until(&mut self, quota: &Quota, now: Timestamp) -> Timestamp {
        let at = now.as_micros();
        let until = match self.rng.below(8) {
            0 => self.rng.below(at.saturating_add(1)),
            1 => at,
            2 => self.rng.pick(&[0, START.as_micros(), Timestamp::MAX.as_micros()]),
            _ => at + self.rng.below(2 * quota.rates()[0].period_us()),
        };
        Timestamp::from_micros(until)
    }
}

//! A store that keeps the contract, or breaks it in one way.

use limiter_core::{
    Algorithm, Clock, Decision, KeyState, MonotonicClock, Quota, Rate, Store, StoreError, StoreErrorKind, Timestamp,
    algorithm::{Mode, View, decide},
    store::{Adjust, Demand, Scope},
};
use std::{
    collections::{HashMap, HashSet},
    future::poll_fn,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

/// How long what should be one step is open in between: longer than other threads need to get there.
const GAP: Duration = Duration::from_millis(2);

/// How the contract is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    None,
    AdmitsDuplicates,
    AdmitsMany,
    AtLeastShortens,
    AwaitsInBetween,
    ChangesUnlockInBetween,
    ChargesAsk,
    ClonesAreApart,
    CountsIn32Bits,
    DenialTakesFromTheFirst,
    DenialsLeaveAChange,
    DenialsCharge,
    DroppedFuturesKeepTheLock,
    EvictsTheOldest,
    ExpiresEarly,
    ExpiresInRealTime,
    Fails,
    ForgetsAtAChange,
    ForgetsBlocksWhenReopened,
    ForgetsWhenReopened,
    FrozenTime,
    HandlesAreApart,
    HoldsTheClock,
    IgnoresResolution,
    JoinsNameAndKey,
    KeepsLooks,
    KeysAreText,
    LooksWriteAChange,
    LosesAUnit(Algorithm),
    Panics,
    PeeksWrite,
    RefundsTwice,
    RefundsUnlockInBetween,
    RefundsWhatHasPassed,
    ResetKeepsTheBlock,
    ScopesByAddress,
    SeveralUnlockInBetween,
    SnapshotsAreNew,
    StaleClock,
    SweepsByAge,
    TakesThenRefunds,
    TimeBeforeTheLock,
    UnlocksInBetween,
}

pub(crate) struct Broken {
    fault: Fault,
    inner: Arc<Inner>,
    /// The same in all clones, also in those that are apart.
    origin: Arc<()>,
}

#[derive(Default)]
struct Inner {
    keys: Mutex<HashMap<Name, Kept>>,
    clock: MonotonicClock,
    /// The instant that a stale or a held clock shows.
    held: Mutex<Option<Timestamp>>,
    is_locked: AtomicBool,
    calls: AtomicU64,
}

type Name = (String, Vec<u8>);

#[derive(Default)]
struct Early {
    now: Option<Timestamp>,
    states: Option<Vec<KeyState>>,
}

#[derive(Clone)]
struct Kept {
    quota: Quota,
    state: KeyState,
    written: Timestamp,
    written_here: Instant,
}

impl Clone for Broken {
    fn clone(&self) -> Self {
        let is_apart = self.fault == Fault::ClonesAreApart;
        let inner = if is_apart { Arc::default() } else { Arc::clone(&self.inner) };
        Self { fault: self.fault, inner, origin: Arc::clone(&self.origin) }
    }
}

impl Broken {
    pub(crate) fn new(fault: Fault) -> Self {
        Self { fault, inner: Arc::default(), origin: Arc::default() }
    }

    pub(crate) fn reopened(self) -> Self {
        match self.fault {
            Fault::ForgetsWhenReopened => return Self::new(self.fault),
            Fault::ForgetsBlocksWhenReopened => {
                for kept in self.inner.keys.lock().unwrap().values_mut() {
                    kept.state.block(Timestamp::MIN);
                }
            }
            _ => {}
        }
        self
    }

    pub(crate) fn shared(&self) -> Self {
        match self.fault {
            Fault::HandlesAreApart => Self::new(self.fault),
            _ => self.clone(),
        }
    }

    fn name(&self, scope: &Scope, key: &[u8]) -> Name {
        let name = format!("{}\0{}", scope.hash(), scope.name());
        match self.fault {
            Fault::KeysAreText => (name, String::from_utf8_lossy(key).into_owned().into_bytes()),
            Fault::JoinsNameAndKey => (String::new(), [scope.name().as_bytes(), b":", key].concat()),
            Fault::ScopesByAddress => (format!("{scope:p}"), key.to_vec()),
            _ => (name, key.to_vec()),
        }
    }

    fn time(&self, clock: Option<&dyn Clock>) -> Timestamp {
        let now = clock.map_or_else(|| self.inner.clock.now(), Clock::now);
        let mut held = self.inner.held.lock().unwrap();
        match self.fault {
            Fault::HoldsTheClock => {
                let latest = held.map_or(now, |held| held.max(now));
                *held.insert(latest)
            }
            Fault::StaleClock if clock.is_some() => *held.get_or_insert(now),
            Fault::FrozenTime if clock.is_none() => *held.get_or_insert(now),
            _ => now,
        }
    }

    /// The quota as it counts.
    fn quota(&self, quota: &Quota) -> Quota {
        let without = |rate: &Rate| Rate::new(rate.limit(), rate.period()).unwrap();
        match self.fault {
            Fault::IgnoresResolution if quota.algorithm() == Algorithm::SlidingLog => {
                Quota::sliding_log(quota.rates().iter().map(without)).unwrap()
            }
            _ => quota.clone(),
        }
    }

    /// The cost as it counts.
    fn cost(&self, demand: &Demand<'_>) -> u64 {
        match self.fault {
            Fault::CountsIn32Bits => demand.cost & u64::from(u32::MAX),
            Fault::LosesAUnit(of) if of == demand.quota.algorithm() && demand.cost > 1 => demand.cost - 1,
            _ => demand.cost,
        }
    }

    fn load(&self, keys: &HashMap<Name, Kept>, demand: &Demand<'_>, now: Timestamp) -> KeyState {
        let Some(kept) = keys.get(&self.name(demand.scope, demand.key)) else { return KeyState::default() };
        let period = kept.quota.longest_period();
        let is_gone = match self.fault {
            Fault::ExpiresEarly => now.saturating_since(kept.written) > period * 9 / 10,
            Fault::ExpiresInRealTime => kept.written_here.elapsed() > period,
            _ => false,
        };
        let quota = self.quota(demand.quota);
        match kept.quota == quota {
            _ if is_gone => KeyState::default(),
            true => kept.state.clone(),
            false if self.fault == Fault::ForgetsAtAChange => KeyState::default(),
            false => kept.state.carried_over(&kept.quota, &quota, now),
        }
    }

    fn keep(&self, keys: &mut HashMap<Name, Kept>, demand: &Demand<'_>, state: KeyState, now: Timestamp) {
        let kept = Kept { quota: self.quota(demand.quota), state, written: now, written_here: Instant::now() };
        keys.insert(self.name(demand.scope, demand.key), kept);
        if self.fault == Fault::EvictsTheOldest && keys.len() > 1000 {
            let oldest = keys.iter().min_by_key(|(_, kept)| kept.written_here).map(|(name, _)| name.clone());
            keys.remove(&oldest.unwrap());
        }
    }

    fn refuse(&self, demands: &[Demand<'_>]) -> Result<(), StoreError> {
        let names: HashSet<Name> = demands.iter().map(|demand| self.name(demand.scope, demand.key)).collect();
        if demands.len() > 64 && self.fault != Fault::AdmitsMany {
            return Err(StoreError::new(StoreErrorKind::TooManyDemands));
        }
        if names.len() < demands.len() && self.fault != Fault::AdmitsDuplicates {
            return Err(StoreError::new(StoreErrorKind::DuplicateKey));
        }
        match self.fault {
            Fault::Panics => panic!("out of order"),
            Fault::Fails => {
                Err(StoreError::new(StoreErrorKind::Unavailable).with_source(io::Error::other("no route to host")))
            }
            _ => Ok(()),
        }
    }

    async fn decide(
        &self,
        demands: &[Demand<'_>],
        clock: Option<&dyn Clock>,
        mode: Mode,
    ) -> Result<Decision, StoreError> {
        self.refuse(demands)?;
        if self.fault == Fault::DroppedFuturesKeepTheLock {
            if self.inner.is_locked.swap(true, Ordering::SeqCst) {
                let locked = io::Error::other("locked by a call that got lost");
                return Err(StoreError::new(StoreErrorKind::Other).with_source(locked));
            }
            pause().await;
            self.inner.is_locked.store(false, Ordering::SeqCst);
        }
        if self.fault == Fault::TakesThenRefunds && demands.len() > 1 && mode == Mode::Take {
            return self.one_by_one(demands, clock);
        }
        let early = self.too_early(demands, clock);
        if self.fault == Fault::AwaitsInBetween {
            pause().await;
        }
        Ok(self.step(demands, clock, mode, early))
    }

    /// What faults read before the step they then take.
    fn too_early(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Early {
        let keys = self.inner.keys.lock().unwrap();
        let reads_states = match self.fault {
            Fault::UnlocksInBetween | Fault::AwaitsInBetween => true,
            Fault::SeveralUnlockInBetween => demands.len() > 1,
            Fault::ChangesUnlockInBetween => demands.iter().any(|demand| self.is_changed(&keys, demand)),
            _ => false,
        };
        if self.fault == Fault::TimeBeforeTheLock {
            let now = self.time(clock);
            drop(keys);
            let calls = self.inner.calls.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(calls % 3));
            return Early { now: Some(now), states: None };
        }
        if !reads_states {
            return Early::default();
        }
        let now = self.time(clock);
        let states = demands.iter().map(|demand| self.load(&keys, demand, now)).collect();
        drop(keys);
        if self.fault != Fault::AwaitsInBetween {
            thread::sleep(GAP);
        }
        Early { now: Some(now), states: Some(states) }
    }

    fn is_changed(&self, keys: &HashMap<Name, Kept>, demand: &Demand<'_>) -> bool {
        let kept = keys.get(&self.name(demand.scope, demand.key));
        kept.is_some_and(|kept| kept.quota != self.quota(demand.quota))
    }

    /// The atomic step.
    fn step(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>, mode: Mode, early: Early) -> Decision {
        let mut keys = self.inner.keys.lock().unwrap();
        let now = early.now.unwrap_or_else(|| self.time(clock));
        let load = || demands.iter().map(|demand| self.load(&keys, demand, now)).collect();
        let mut states: Vec<KeyState> = early.states.unwrap_or_else(load);
        let changed: Vec<bool> = demands.iter().map(|demand| self.is_changed(&keys, demand)).collect();
        let quotas: Vec<Quota> = demands.iter().map(|demand| self.quota(demand.quota)).collect();
        let before = states.clone();
        let mut views: Vec<View<'_>> = demands
            .iter()
            .zip(&quotas)
            .zip(&mut states)
            .map(|((demand, quota), state)| View { quota, state, cost: self.cost(demand) })
            .collect();
        let writes_peeks = self.fault == Fault::PeeksWrite;
        let decision = decide(&mut views, now, if writes_peeks { Mode::Take } else { mode });
        if !decision.allowed() && mode == Mode::Take {
            match (self.fault, &mut states[..]) {
                (Fault::DenialTakesFromTheFirst, [first, _, ..]) => first.charge(&quotas[0], now, demands[0].cost),
                (Fault::DenialsCharge, [only]) => only.charge(&quotas[0], now, demands[0].cost),
                _ => {}
            }
        }
        for (i, demand) in demands.iter().enumerate() {
            let asks = mode == Mode::Take && decision.retry_after().is_some() && demand.cost > 0;
            let carries = asks && changed[i] && self.fault != Fault::DenialsLeaveAChange;
            let takes = asks && decision.allowed();
            let writes = takes || carries || (states[i] != before[i] && !changed[i]) || self.fault == Fault::KeepsLooks;
            if writes || (self.fault == Fault::LooksWriteAChange && changed[i]) {
                self.keep(&mut keys, demand, states[i].clone(), now);
            }
        }
        decision
    }

    /// Takes from each in turn, and gives it back once one denies.
    fn one_by_one(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        let take = |demand: &Demand<'_>| {
            let mut keys = self.inner.keys.lock().unwrap();
            let now = self.time(clock);
            let mut state = self.load(&keys, demand, now);
            let decision =
                decide(&mut [View { quota: demand.quota, state: &mut state, cost: demand.cost }], now, Mode::Take);
            self.keep(&mut keys, demand, state, now);
            decision
        };
        for (i, demand) in demands.iter().enumerate() {
            let decision = take(demand);
            thread::sleep(GAP);
            if !decision.allowed() {
                for earlier in &demands[..i] {
                    let refund = Adjust::Refund { taken: decision.at() };
                    self.change(*earlier, refund, clock);
                }
                return Ok(decision);
            }
        }
        let mut first = demands[0];
        first.cost = 0;
        Ok(take(&first))
    }

    fn change(&self, demand: Demand<'_>, adjust: Adjust, clock: Option<&dyn Clock>) -> Decision {
        let mut keys = self.inner.keys.lock().unwrap();
        let now = self.time(clock);
        let mut state = self.load(&keys, &demand, now);
        let (quota, cost) = (self.quota(demand.quota), self.cost(&demand));
        if self.fault == Fault::RefundsUnlockInBetween {
            drop(keys);
            thread::sleep(GAP);
            keys = self.inner.keys.lock().unwrap();
        }
        let adjust = match adjust {
            Adjust::Refund { .. } if self.fault == Fault::RefundsWhatHasPassed => Adjust::Refund { taken: now },
            Adjust::BlockAtLeast { until } if self.fault == Fault::AtLeastShortens => Adjust::Block { until },
            other => other,
        };
        let decision = match (adjust, self.fault) {
            (Adjust::Charge, Fault::ChargesAsk) => {
                decide(&mut [View { quota: &quota, state: &mut state, cost }], now, Mode::Take)
            }
            (Adjust::Refund { .. }, Fault::RefundsTwice) => {
                state.adjust(&quota, now, cost, adjust);
                state.adjust(&quota, now, cost, adjust)
            }
            _ => state.adjust(&quota, now, cost, adjust),
        };
        self.keep(&mut keys, &demand, state, now);
        decision
    }
}

impl Store for Broken {
    async fn take(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.decide(demands, clock, Mode::Take).await
    }

    async fn peek(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.decide(demands, clock, Mode::Peek).await
    }

    async fn adjust(
        &self,
        demand: Demand<'_>,
        adjust: Adjust,
        clock: Option<&dyn Clock>,
    ) -> Result<Decision, StoreError> {
        self.refuse(&[demand])?;
        Ok(self.change(demand, adjust, clock))
    }

    async fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError> {
        let name = self.name(scope, key);
        let mut keys = self.inner.keys.lock().unwrap();
        let Some(kept) = keys.remove(&name) else { return Ok(()) };
        if self.fault == Fault::ResetKeepsTheBlock {
            let blocked = decide(
                &mut [View { quota: &kept.quota, state: &mut kept.state.clone(), cost: 1 }],
                kept.written,
                Mode::Peek,
            );
            let mut state = KeyState::default();
            state.block(kept.written.saturating_add(blocked.blocked_for()));
            keys.insert(name, Kept { state, ..kept });
        }
        Ok(())
    }

    async fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError> {
        let mut keys = self.inner.keys.lock().unwrap();
        let (now, before) = (self.time(clock), keys.len());
        keys.retain(|_, kept| match self.fault {
            Fault::SweepsByAge => now.saturating_since(kept.written) < Duration::from_secs(3600),
            _ => !kept.state.is_idle(&kept.quota, now),
        });
        Ok(before - keys.len())
    }

    async fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
        Ok(self.time(clock))
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.origin, &other.origin)
    }

    async fn snapshot(&self, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
        let keys = self.inner.keys.lock().unwrap();
        let now = self.time(clock);
        let is_new = self.fault == Fault::SnapshotsAreNew;
        Some((if is_new { KeyState::default() } else { self.load(&keys, &demand, now) }, now))
    }
}

/// Pending once.
async fn pause() {
    let mut is_over = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

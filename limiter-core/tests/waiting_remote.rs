//! Waiting on a store that is not in this process, in virtual time: who asks it, how often, and what it costs the others.
//!
//! The store is memory behind a wire: each call leaves the caller's task once before it is carried out, and is counted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use limiter_core::{
    Clock, Decision, Error, Limiter, ManualClock, MemoryStore, Store, StoreError, StoreErrorKind, Timestamp,
    store::{Adjust, Demand, Scope},
};
use std::{
    future::{Future, IntoFuture},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

#[derive(Clone, Default)]
struct Remote {
    memory: MemoryStore,
    calls: Arc<AtomicUsize>,
    is_down: Arc<AtomicBool>,
}

impl Remote {
    async fn call<T>(&self, answer: impl FnOnce(&MemoryStore) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let wire = tokio::spawn(async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        });
        wire.await.unwrap();
        if self.is_down.load(Ordering::SeqCst) {
            return Err(StoreError::new(StoreErrorKind::Unavailable));
        }
        answer(&self.memory)
    }

    fn calls(&self) -> usize {
        self.calls.swap(0, Ordering::SeqCst)
    }
}

impl Store for Remote {
    async fn take(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.call(|memory| limiter_core::LocalStore::take(memory, demands, clock)).await
    }

    async fn peek(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.call(|memory| limiter_core::LocalStore::peek(memory, demands, clock)).await
    }

    async fn adjust(
        &self,
        demand: Demand<'_>,
        adjust: Adjust,
        clock: Option<&dyn Clock>,
    ) -> Result<Decision, StoreError> {
        self.call(|memory| limiter_core::LocalStore::adjust(memory, demand, adjust, clock)).await
    }

    async fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError> {
        self.call(|memory| limiter_core::LocalStore::reset(memory, scope, key)).await
    }

    async fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError> {
        self.call(|memory| limiter_core::LocalStore::sweep(memory, clock)).await
    }

    async fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
        match clock {
            Some(clock) => Ok(clock.now()),
            None => self.call(|memory| limiter_core::LocalStore::now(memory, None)).await,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        Store::is_same(&self.memory, &other.memory)
    }

    async fn snapshot(
        &self,
        demand: Demand<'_>,
        clock: Option<&dyn Clock>,
    ) -> Option<(limiter_core::KeyState, Timestamp)> {
        self.call(|memory| Ok(limiter_core::LocalStore::snapshot(memory, demand, clock))).await.ok()?
    }
}

const START: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);

fn limiter(quota: &str) -> (Limiter<Remote>, Remote, ManualClock) {
    let (store, clock) = (Remote::default(), ManualClock::new(START));
    let builder = Limiter::builder(quota.parse().unwrap()).store(store.clone());
    (builder.clock(clock.clone()).sleep(clock.clone()).build(), store, clock)
}

/// Lets every task do what it can without time passing.
async fn settle() {
    for _ in 0..2000 {
        tokio::task::yield_now().await;
    }
}

/// Lets `callers` wait for a unit each, and time pass until nobody does; who was granted when, in the order of grants, and
/// the errors.
async fn crowd(
    limiter: &Limiter<Remote>,
    clock: &ManualClock,
    callers: usize,
    timeout: Option<Duration>,
) -> (Vec<(usize, Duration)>, Vec<Error>) {
    let granted = Arc::new(Mutex::new(Vec::new()));
    let failed = Arc::new(Mutex::new(Vec::new()));
    for caller in 0..callers {
        let (granted, failed) = (Arc::clone(&granted), Arc::clone(&failed));
        let request = limiter.acquire("ada");
        let request = match timeout {
            Some(limit) => request.timeout(limit),
            None => request,
        };
        tokio::spawn(async move {
            match request.await {
                Ok(permit) => {
                    let after = permit.decision().at().saturating_since(START);
                    assert_eq!(permit.waited(), after, "all ask at the start");
                    granted.lock().unwrap().push((caller, after));
                }
                Err(error) => failed.lock().unwrap().push(error),
            }
        });
    }
    settle().await;
    while let Some(due) = clock.next_wake() {
        clock.advance(due.saturating_since(clock.now()));
        settle().await;
    }
    let failed = std::mem::take(&mut *failed.lock().unwrap());
    (std::mem::take(&mut *granted.lock().unwrap()), failed)
}

#[tokio::test]
async fn a_grant_costs_one_call_and_comes_at_its_instant() {
    let (limiter, store, clock) = limiter("10/s burst 1");
    let (granted, failed) = crowd(&limiter, &clock, 100, None).await;
    let expected: Vec<_> = (0..100).map(|n| (n, Duration::from_millis(100) * u32::try_from(n).unwrap())).collect();
    assert_eq!(granted, expected);
    assert!(failed.is_empty());
    assert_eq!(store.calls(), 100);
}

#[tokio::test]
async fn slack_is_added_to_waits_and_nobody_waits_whose_units_are_there() {
    let (store, clock) = (Remote::default(), ManualClock::new(START));
    let builder = Limiter::builder("10/s burst 1".parse().unwrap()).store(store).buffer(Duration::from_millis(7));
    let limiter = builder.clock(clock.clone()).sleep(clock.clone()).build();
    let (granted, _) = crowd(&limiter, &clock, 3, None).await;
    assert_eq!(granted, [(0, Duration::ZERO), (1, Duration::from_millis(107)), (2, Duration::from_millis(214))]);
}

#[tokio::test]
async fn what_is_there_is_taken_for_everybody_at_once() {
    let (limiter, store, clock) = limiter("sliding_log 60/s");
    let (granted, _) = crowd(&limiter, &clock, 100, None).await;
    let order: Vec<usize> = granted.iter().map(|&(caller, _)| caller).collect();
    assert_eq!(order, (0..100).collect::<Vec<_>>());
    assert_eq!(granted.iter().filter(|(_, at)| at.is_zero()).count(), 60);
    let calls = store.calls();
    assert!(calls <= 4, "{calls} calls"); // one, the other 59, and one and 39 more a second later
    assert_eq!(limiter.peek_async("ada").await.unwrap().remaining(), 20);
}

#[tokio::test]
async fn who_cannot_be_served_in_time_is_told_at_once_and_costs_no_call() {
    let (limiter, store, clock) = limiter("10/s burst 1");
    let (granted, failed) = crowd(&limiter, &clock, 100, Some(Duration::from_millis(5_000))).await;
    assert_eq!((granted.len(), failed.len()), (51, 49));
    assert!(
        failed
            .iter()
            .all(|error| matches!(error, Error::WaitTooLong { needed, .. } if *needed > Duration::from_secs(5)))
    );
    let calls = store.calls();
    assert!(calls * 10 <= 51 * 11, "{calls} calls for 51 grants");
}

#[tokio::test]
async fn a_check_is_not_refused_for_those_who_are_only_on_their_way_to_the_store() {
    let (limiter, _, clock) = limiter("10/s");
    let acquired = tokio::spawn(limiter.acquire("ada").into_future());
    tokio::task::yield_now().await; // on its way
    assert_eq!(limiter.waiting(), 1);
    assert!(limiter.check_async("ada").await.unwrap().allowed());
    assert!(acquired.await.unwrap().is_ok());
    limiter.check_n_async("ada", 8).await.unwrap();
    let waits = tokio::spawn(limiter.acquire("ada").cost(2).into_future());
    settle().await;
    clock.advance(Duration::from_millis(100)); // one unit is there, but not for whoever comes last
    let denied = limiter.check_async("ada").await.unwrap();
    assert!(!denied.allowed() && denied.behind_waiters());
    waits.abort();
}

#[tokio::test]
async fn when_the_store_fails_everybody_in_line_is_told_at_once() {
    let (limiter, store, clock) = limiter("1/s burst 1");
    limiter.check_async("ada").await.unwrap();
    let waiters: Vec<_> = (0..10).map(|_| tokio::spawn(limiter.acquire("ada").into_future())).collect();
    settle().await;
    store.is_down.store(true, Ordering::SeqCst);
    store.calls();
    clock.advance(Duration::from_secs(1));
    for waiter in waiters {
        let error = waiter.await.unwrap().unwrap_err();
        assert!(matches!(&error, Error::Store(error) if error.kind() == StoreErrorKind::Unavailable), "{error}");
    }
    assert_eq!((store.calls(), limiter.waiting()), (1, 0));
    store.is_down.store(false, Ordering::SeqCst);
    assert!(limiter.check_async("ada").await.unwrap().allowed()); // and the next one finds it well
}

#[tokio::test]
async fn whoever_leaves_while_the_store_is_asked_for_it_gets_its_unit_returned() {
    let (limiter, store, _) = limiter("sliding_log 60/s");
    let waiters: Vec<_> = (0..20).map(|_| tokio::spawn(limiter.acquire("ada").into_future())).collect();
    while store.calls.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await; // the second call asks for all but the first
    }
    waiters[5..15].iter().for_each(tokio::task::JoinHandle::abort);
    settle().await;
    assert_eq!(limiter.waiting(), 0);
    assert_eq!(limiter.peek_async("ada").await.unwrap().remaining(), 50);
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics: expected by this test");
    }
}

#[tokio::test]
async fn whoever_asks_for_the_stores_time_and_is_never_polled_again_delays_nobody() {
    let store = Remote::default();
    let limiter = Limiter::builder("1000/s".parse().unwrap()).store(store.clone()).build();
    let acquire = || Box::pin(limiter.acquire("ada").timeout(Duration::from_secs(60)).into_future());
    let mut parked = acquire();
    assert!(parked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let mut harmed = acquire();
    assert!(harmed.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::new(Panics)))).is_pending());
    let next = tokio::time::timeout(Duration::from_secs(30), acquire()).await;
    assert!(next.expect("it waits for one who is not polled").is_ok());
    assert_eq!(store.calls(), 2, "the time, for all of them, and a unit");
    drop((parked, harmed));
}

#[tokio::test]
async fn the_stores_own_time_is_asked_for_once_not_for_every_deadline() {
    let store = Remote::default();
    let limiter = Limiter::builder("1000/s".parse().unwrap()).store(store.clone()).build();
    drop(limiter.acquire("ada").timeout(Duration::from_secs(1)).await.unwrap());
    store.calls();
    for _ in 0..50 {
        drop(limiter.acquire("ada").timeout(Duration::from_secs(1)).await.unwrap());
    }
    assert_eq!(store.calls(), 50);
}

//! A handle for one key is the limiter's key: the same answers, the same line, whatever the limiter is put through.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/alloc.rs"]
mod alloc;
mod support;

use limiter_core::{
    Clock, Decision, DynStore, Error, KeyLimiter, Limiter, ManualClock, MemoryStore, Quota, Store, Timestamp,
};
use std::{
    future::{Future, IntoFuture},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use support::{block_on, random::Rng};

const START: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);

/// A bucket with ticks finer than a microsecond, several buckets, and every other algorithm.
const QUOTAS: [&str; 6] =
    ["7/ms burst 20", "20/s, 40/min", "fixed_window 9/s", "sliding_window 9/s", "sliding_log 9/s", "1/10s burst 30"];

struct World {
    limiter: Limiter,
    clock: ManualClock,
}

impl World {
    /// Room for few keys: idle ones are soon gone, and the others move.
    fn new(quota: &str) -> Self {
        let clock = ManualClock::new(START);
        let store = MemoryStore::builder().max_keys(64).build();
        let builder = Limiter::builder(quota.parse().unwrap()).store(store);
        Self { limiter: builder.clock(clock.clone()).sleep(clock.clone()).build(), clock }
    }
}

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing is waited for here"),
    }
}

/// What can be told of an acquisition, and what then becomes of its units.
type Taken = Result<(Timestamp, Option<Decision>), String>;

/// What becomes of a permit's units: the two kinds of permits have the same calls, and no trait.
macro_rules! adjusted {
    ($permit:expr, $cost:expr, $then:expr) => {
        match $then {
            0 => Some(now($permit.refund()).unwrap()),
            1 => Some(now($permit.settle($cost / 2)).unwrap()),
            2 => Some(now($permit.settle($cost + 3)).unwrap()),
            3 => Some(now($permit.restamp()).unwrap()),
            _ => None,
        }
    };
}

fn by_limiter(limiter: &Limiter, cost: u64, then: u64) -> Taken {
    let permit = now(limiter.acquire("ada").cost(cost).timeout(Duration::ZERO).into_future());
    let permit = permit.map_err(|error| error.to_string())?;
    let at = permit.decision().at();
    Ok((at, adjusted!(permit, cost, then)))
}

fn by_handle<S: Store>(handle: &KeyLimiter<S>, cost: u64, then: u64) -> Taken {
    let permit = now(handle.acquire().cost(cost).timeout(Duration::ZERO).into_future());
    let permit = permit.map_err(|error| error.to_string())?;
    assert_eq!((permit.cost(), permit.waited()), (cost, Duration::ZERO));
    let at = permit.at();
    Ok((at, adjusted!(permit, cost, then)))
}

#[test]
fn a_handle_answers_as_its_limiter_does() {
    let (mut granted, mut denied) = (0, 0);
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let quota = QUOTAS[rng.index(QUOTAS.len())];
        let worlds = [World::new(quota), World::new(quota)];
        let handle = worlds[1].limiter.for_key("ada");
        let changes = rng.one_in(3);
        for step in 0..400 {
            let (kind, cost, then) = (rng.below(40), rng.cost(20), rng.below(8));
            let most_micros = 1 << rng.below(22);
            let micros = rng.below(most_micros);
            let key = rng.below(80);
            let new = QUOTAS[rng.index(QUOTAS.len())];
            let all = worlds.each_ref().map(|World { limiter, clock }| {
                match kind {
                    0 if changes => limiter.set_quota(new.parse().unwrap()),
                    1 if changes => limiter.restart(new.parse().unwrap()),
                    2 => limiter.reset("ada").unwrap(),
                    3 => drop(limiter.block("ada", Duration::from_micros(micros)).unwrap()),
                    4 => drop(limiter.charge("ada", cost).unwrap()),
                    5 => drop(limiter.sweep().unwrap()),
                    6..=9 => drop(limiter.check(key).unwrap()), // which moves others
                    10 => clock.set(Timestamp::from_micros(clock.now().as_micros() - micros)),
                    _ => clock.advance(Duration::from_micros(micros)),
                }
                limiter.with_quota_of("ada", Quota::capacity)
            });
            let said = format!("{quota}, seed {seed}, step {step}: {cost} of {}", all[0]);
            if rng.one_in(3) {
                let [left, right] = [worlds[0].limiter.check_n("ada", cost), handle.check_n(cost)]
                    .map(|it| it.map_err(|e| e.to_string()));
                assert_eq!(left, right, "{said}");
            } else {
                let (left, right) = (by_limiter(&worlds[0].limiter, cost, then), by_handle(&handle, cost, then));
                assert_eq!(left, right, "{said}");
                *(if left.is_ok() { &mut granted } else { &mut denied }) += 1;
            }
        }
        assert_eq!(worlds[0].limiter.peek("ada").unwrap(), worlds[1].limiter.peek("ada").unwrap());
    }
    assert!(granted > 5_000 && denied > 3_000, "{granted} granted, {denied} denied");
}

/// When units were granted, and how long that took.
type Boxed<'a> = Pin<Box<dyn Future<Output = (Timestamp, Duration)> + 'a>>;

#[test]
fn handles_and_limiter_stand_in_one_line() {
    let World { limiter, clock } = World::new("1/10ms");
    let handle = limiter.for_key("ada");
    drop(now(handle.acquire().into_future()).unwrap());
    let mut served = Vec::new();
    let mut waiting: Vec<Boxed<'_>> = Vec::new();
    for number in 0..6 {
        let mut future: Boxed<'_> = if number % 2 == 0 {
            Box::pin(async { handle.acquire().await.map(|permit| (permit.at(), permit.waited())).unwrap() })
        } else {
            Box::pin(async { limiter.acquire("ada").await.map(|it| (it.decision().at(), it.waited())).unwrap() })
        };
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        waiting.push(future);
    }
    assert!(!handle.check().unwrap().allowed(), "a check overtakes nobody");
    while let Some(due) = clock.next_wake() {
        clock.set(due);
        let mut context = Context::from_waker(Waker::noop());
        waiting.retain_mut(|future| match future.as_mut().poll(&mut context) {
            Poll::Ready(answer) => {
                served.push(answer);
                false
            }
            Poll::Pending => true,
        });
    }
    let waits = (1..=6).map(|number| Duration::from_millis(10 * number));
    let expected: Vec<_> = waits.map(|wait| (START.saturating_add(wait), wait)).collect();
    assert_eq!(served, expected);
}

#[test]
fn a_handle_overtakes_nobody_even_where_units_are_there_for_it() {
    let World { limiter, clock } = World::new("1/10ms burst 10");
    let handle = limiter.for_key("ada");
    drop(now(handle.acquire().cost(5).into_future()).unwrap());
    let mut large = pin!(limiter.acquire("ada").cost(10).into_future());
    let mut context = Context::from_waker(Waker::noop());
    assert!(large.as_mut().poll(&mut context).is_pending());
    let small = handle.acquire().timeout(Duration::from_millis(50)).into_future();
    assert!(matches!(now(small), Err(Error::WaitTooLong { .. })));
    clock.advance(Duration::from_millis(50));
    assert!(large.as_mut().poll(&mut context).is_ready());
}

#[test]
fn a_future_that_is_polled_after_its_end_takes_nothing_more() {
    let World { limiter, .. } = World::new("9/s");
    let handle = limiter.for_key("ada");
    let mut context = Context::from_waker(Waker::noop());
    for left in [8, 7] {
        let mut future = handle.acquire().into_future(); // the first by the long way, the second by the short one
        assert!(Pin::new(&mut future).poll(&mut context).is_ready());
        assert!(Pin::new(&mut future).poll(&mut context).is_pending());
        assert_eq!(limiter.peek("ada").unwrap().remaining(), left);
    }
}

#[test]
fn a_handle_goes_into_tasks_and_threads_by_clone_or_in_an_arc() {
    fn is_sent<T: Send>(it: T) -> T {
        it
    }
    fn is_shared<T: Send + Sync + 'static>(_: &T) {}

    let World { limiter, .. } = World::new("1000/s");
    let shared = Arc::new(limiter.for_key("ada"));
    is_shared(&shared);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let tasks = (0..8).map(|_| {
        let (shared, own) = (Arc::clone(&shared), shared.as_ref().clone());
        runtime.spawn(async move {
            let permits = (shared.acquire().await.unwrap(), own.acquire().cost(2).await.unwrap());
            tokio::task::yield_now().await; // held over an await
            permits.0.refund().await.unwrap();
            permits.1.cost()
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let taken: u64 = tasks.into_iter().map(|task| runtime.block_on(task).unwrap()).sum();
    assert_eq!((taken, limiter.peek("ada").unwrap().remaining()), (16, 1000 - 16));
    std::thread::scope(|scope| {
        let future = is_sent(shared.acquire().into_future());
        let permit = scope.spawn(move || block_on(future).unwrap());
        assert_eq!(is_sent(permit.join().unwrap()).cost(), 1);
    });
}

#[test]
fn a_closed_limiter_is_closed_to_its_handles() {
    let World { limiter, .. } = World::new("9/s");
    let handle = limiter.for_key("ada");
    drop(now(handle.acquire().into_future()).unwrap());
    now(limiter.close());
    assert!(matches!(now(handle.acquire().into_future()), Err(Error::Closed)));
}

#[test]
fn a_place_among_those_at_once_is_held_until_the_permit_is_dropped() {
    let limiter = Limiter::builder("1000/s".parse().unwrap()).at_once(2).build();
    let handle = limiter.for_key("ada");
    let first = block_on(handle.acquire().into_future()).unwrap();
    let second = block_on(limiter.acquire("ada").into_future()).unwrap();
    let mut third = pin!(handle.acquire().into_future());
    assert!(third.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(first);
    let third = block_on(third).unwrap();
    assert!(third.waited() < Duration::from_secs(60));
    drop(second);
}

#[test]
fn an_erased_store_answers_by_the_short_way_too() {
    let clock = ManualClock::new(START);
    let store = DynStore::new(MemoryStore::new());
    let limiter = Limiter::builder("3/day".parse().unwrap()).store(store).clock(clock).build();
    let handle = limiter.for_key("ada");
    for _ in 0..3 {
        by_handle(&handle, 1, 9).unwrap();
    }
    by_handle(&handle, 1, 9).unwrap_err();
    assert_eq!(limiter.blocking().peek("ada").unwrap().remaining(), 0);
}

#[test]
fn clones_in_many_threads_take_what_was_promised_and_no_more() {
    let World { limiter, .. } = World::new("1/s burst 30000");
    let taken: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|number| {
                let (limiter, handle) = (&limiter, limiter.for_key("ada"));
                scope.spawn(move || {
                    let mut taken = 0;
                    for turn in 0..10_000 {
                        if turn % 100 == 0 {
                            limiter.check((number, turn)).unwrap(); // which moves others
                        }
                        taken += usize::from(by_handle(&handle, 1, 9).is_ok());
                    }
                    taken
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(taken, 30_000);
}

#[test]
fn an_acquisition_that_finds_its_units_allocates_nothing_under_any_algorithm() {
    for quota in ["1000000/s", "1000000/s, 2000000/min", "fixed_window 1000/s", "sliding_window 1000/s"] {
        let handle = Limiter::parse(quota).unwrap().for_key("ada");
        let acquire = || drop(now(handle.acquire().into_future()).unwrap());
        acquire();
        let ((), allocations) = alloc::watch(|| (0..100).for_each(|_| acquire()));
        assert_eq!(allocations.count, 0, "{quota}");
    }
}

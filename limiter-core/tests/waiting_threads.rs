//! Waiting under threads: no lost wake-up, no ghost in a line, nobody locked out by somebody else's panic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use limiter_core::{AcquireFuture, Limiter, MemoryStore, block_on};
use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

/// Far longer than anything here takes, far shorter than what a lost wake-up would.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `work` on a thread of its own; fails if it does not end.
fn ends<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(PATIENCE).expect("it never ended")
}

#[test]
fn units_given_back_between_a_denial_and_the_line_are_not_missed() {
    let limiter = Limiter::parse("fixed_window 1/week").unwrap();
    let grants = ends(move || {
        let (granted, resets) = mpsc::sync_channel::<()>(0);
        let resetting = limiter.clone();
        let resetter = thread::spawn(move || resets.iter().for_each(|()| resetting.reset("k").unwrap()));
        let grants = (0..5000).filter(|_| {
            let permit = limiter.acquire("k").blocking().unwrap();
            granted.send(()).unwrap();
            permit.cost() == 1
        });
        let grants = grants.count();
        drop(granted);
        resetter.join().unwrap();
        grants
    });
    assert_eq!(grants, 5000);
}

#[test]
fn callers_that_leave_at_any_moment_are_not_counted_as_waiting() {
    let limiter = Limiter::builder("1/ms".parse().unwrap()).max_waiters(64).build();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let until = Instant::now() + Duration::from_millis(500);
                while Instant::now() < until {
                    let mut future = Box::pin(limiter.acquire("k").into_future());
                    let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                }
            });
        }
    });
    assert_eq!(limiter.waiting(), 0);
    let limiter = limiter.clone();
    ends(move || limiter.acquire("k").blocking().unwrap().cost());
}

#[test]
fn a_lone_caller_is_not_told_that_it_stands_behind_itself() {
    let limiter = Limiter::parse("10/ms").unwrap();
    ends(move || {
        for _ in 0..300 {
            limiter.charge("k", 10).unwrap();
            let _permit = limiter.acquire("k").blocking().unwrap();
            assert!(!limiter.check("k").unwrap().behind_waiters());
        }
    });
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics: expected by this test");
    }
}

#[test]
fn a_waker_that_panics_harms_its_own_task_only() {
    let limiter = Limiter::parse("sliding_log 1/s").unwrap(); // longer than a busy machine takes to the next line
    limiter.check("k").unwrap();
    let mut harmed = Box::pin(limiter.acquire("k").into_future());
    assert!(harmed.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::new(Panics)))).is_pending());
    let next = limiter.clone();
    ends(move || next.acquire("k").blocking().unwrap().cost());
    assert!(harmed.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready(), "its grant was kept for it");
    assert_eq!(limiter.waiting(), 0);
}

#[test]
fn a_waker_that_panics_keeps_nobody_else_from_hearing_that_a_limiter_is_closed() {
    let limiter = Limiter::parse("sliding_log 1/50ms").unwrap();
    limiter.check("k").unwrap();
    let waiting = limiter.clone();
    let waiting = thread::spawn(move || waiting.acquire("k").blocking().unwrap().cost());
    while limiter.waiting() == 0 {
        thread::yield_now();
    }
    let mut harmed = Box::pin(limiter.close());
    assert!(harmed.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::new(Panics)))).is_pending());
    let closing = limiter.clone();
    ends(move || block_on(closing.close()));
    assert!(harmed.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(waiting.join().unwrap(), 1);
}

/// A task that is gone once nobody can wake it, and what it waited for with it.
struct Owns(#[allow(dead_code)] Mutex<Option<AcquireFuture<MemoryStore>>>);

impl Wake for Owns {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_waker_may_be_the_last_to_hold_another_who_waits_in_the_line() {
    let limiter = Limiter::parse("1/h").unwrap();
    limiter.check("k").unwrap();
    ends(move || {
        for is_polled_again in [true, false] {
            let mut cx = Context::from_waker(Waker::noop());
            let [mut head, mut next] = [0; 2].map(|_| limiter.acquire("k").into_future());
            assert!(Pin::new(&mut head).poll(&mut cx).is_pending());
            let owner = Waker::from(Arc::new(Owns(Mutex::new(Some(head)))));
            assert!(Pin::new(&mut next).poll(&mut Context::from_waker(&owner)).is_pending());
            drop(owner);
            if is_polled_again {
                assert!(Pin::new(&mut next).poll(&mut cx).is_pending());
            }
            drop(next);
            assert_eq!(limiter.waiting(), 0);
        }
    });
}

#[test]
fn a_runtimes_timer_is_not_needed_where_there_is_no_runtime() {
    let limiter = Limiter::builder("sliding_log 1/50ms".parse().unwrap()).sleep(tokio::time::sleep).build();
    limiter.check("k").unwrap();
    let blocking = limiter.clone();
    ends(move || blocking.acquire("k").blocking().unwrap().cost());

    // A task waits on the runtime's timer; a thread outside it changes the line; then the runtime goes away.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    limiter.block("k", Duration::from_secs(3600)).unwrap();
    let task = runtime.spawn(limiter.acquire("k").into_future());
    while limiter.waiting() == 0 {
        thread::yield_now();
    }
    limiter.block("k", Duration::from_millis(50)).unwrap();
    let behind = limiter.clone();
    let behind = thread::spawn(move || ends(move || behind.acquire("k").blocking().unwrap().cost()));
    runtime.shutdown_background();
    drop(task);
    assert_eq!(behind.join().unwrap(), 1);
}

#[test]
fn clones_that_go_while_others_wait_take_nothing_along() {
    let limiter = Limiter::parse("sliding_log 1/20ms").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..4_u64)
        .map(|key| {
            let (limiter, stop) = (limiter.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                let mut grants = 0;
                while !stop.load(Ordering::Relaxed) {
                    let clone = limiter.clone();
                    let waiting = clone.acquire(key % 2);
                    drop(clone);
                    grants += waiting.blocking().unwrap().cost();
                }
                grants
            })
        })
        .collect();
    drop(limiter);
    thread::sleep(Duration::from_millis(300));
    stop.store(true, Ordering::Relaxed);
    let grants: u64 = ends(move || threads.into_iter().map(|thread| thread.join().unwrap()).sum());
    assert!(grants >= 4, "{grants}");
}

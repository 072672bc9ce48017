//! Callers with and without a runtime, and futures that are dropped half-way.

use crate::{
    folder::Folder,
    support::block_on,
    worker::{Task, Worker},
};
use limiter_core::{DynStore, Limiter, SqliteStore, Store};
use std::{
    future::{Future, IntoFuture},
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

fn limiter(store: SqliteStore, quota: &str) -> Limiter<SqliteStore> {
    Limiter::builder(quota.parse().unwrap()).name("takes").store(store).build()
}

fn locked(folder: &Folder) -> Worker {
    block_on(folder.store().ready()).unwrap();
    let mut other = Worker::start(Task::Lock, &folder.file(), "1/s", 0);
    assert_eq!(other.line(), "locked");
    other
}

#[tokio::test(flavor = "current_thread")]
async fn a_runtime_goes_on_while_the_file_is_locked() {
    let folder = Folder::new();
    let (limiter, other) = (limiter(folder.store(), "sliding_log 5/day"), locked(&folder));
    let mut take = pin!(limiter.check_async("ada"));
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    for _ in 0..40 {
        tokio::select! {
            biased;
            taken = &mut take => panic!("the file is locked, and yet {taken:?}"),
            _ = ticks.tick() => {}
        }
    }
    drop(other);
    assert!(take.await.unwrap().allowed());
}

#[test]
fn it_works_without_a_runtime_in_any_and_after_the_end_of_one() {
    let folder = Folder::new();
    let limiter = limiter(folder.store(), "sliding_log 5/day");
    assert_eq!(block_on(limiter.check_async("ada")).unwrap().remaining(), 4);
    for (left, runtime) in [
        (3, tokio::runtime::Builder::new_current_thread().build().unwrap()),
        (2, tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()),
    ] {
        assert_eq!(runtime.block_on(limiter.check_async("ada")).unwrap().remaining(), left);
    }
    assert_eq!(limiter.blocking().check("ada").unwrap().remaining(), 1);
    let erased = Limiter::builder("sliding_log 5/day".parse().unwrap()).name("takes");
    let erased = erased.store(DynStore::new(folder.store())).build();
    assert_eq!(erased.blocking().check("ada").unwrap().remaining(), 0);
}

/// Polls a future once and drops it.
fn poll_once<F: Future>(future: F) {
    assert!(matches!(pin!(future).poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
}

#[test]
fn a_take_dropped_before_it_began_takes_nothing_and_a_charge_is_carried_through() {
    let folder = Folder::new();
    let (limiter, other) = (limiter(folder.store(), "sliding_log 100/day"), locked(&folder));
    for _ in 0..20 {
        poll_once(limiter.check_async("ada"));
    }
    poll_once(limiter.charge_async("ada", 7));
    drop(other);
    assert_eq!(limiter.blocking().peek("ada").unwrap().remaining(), 93);
}

#[test]
fn futures_dropped_at_any_moment_leave_nothing_behind() {
    let folder = Folder::new();
    let limiter = limiter(folder.store(), "sliding_log 100000/day");
    let mut answered = 0;
    for i in 0..2000_u32 {
        let mut take = pin!(limiter.check_async("ada"));
        for _ in 0..=i % 50 {
            if take.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                answered += 1;
                break;
            }
            thread::yield_now();
        }
    }
    let used = 100_000 - limiter.blocking().peek("ada").unwrap().remaining();
    assert!((answered..=2000).contains(&used), "{used} in use, {answered} answered");
    let other = rusqlite::Connection::open(folder.file()).unwrap();
    other.busy_timeout(Duration::ZERO).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; COMMIT").expect("no lock is left behind");
}

#[test]
fn callers_that_ask_at_once_are_each_decided_on() {
    let folder = Folder::new();
    let limiter = limiter(folder.store(), "sliding_log 500/day");
    let takers = (0..8).map(|_| {
        let limiter = limiter.clone();
        thread::spawn(move || (0..100).filter(|_| limiter.blocking().check("ada").unwrap().allowed()).count())
    });
    let takers: Vec<_> = takers.collect();
    assert_eq!(takers.into_iter().map(|taker| taker.join().unwrap()).sum::<usize>(), 500);
}

#[tokio::test]
async fn waiting_works_over_it() {
    let folder = Folder::new();
    let limiter = limiter(folder.store(), "10/s burst 1");
    let waiters = (0..4).map(|_| tokio::spawn(limiter.acquire("ada").timeout(Duration::from_secs(20)).into_future()));
    for waiter in waiters.collect::<Vec<_>>() {
        assert_eq!(waiter.await.unwrap().unwrap().cost(), 1);
    }
    let permit = limiter.acquire("ada").timeout(Duration::from_secs(20)).await.unwrap();
    permit.refund().await.unwrap();
}

#[test]
fn clones_are_one_store_and_two_stores_on_one_path_are_not() {
    let folder = Folder::new();
    let store = folder.store();
    assert!(Store::is_same(&store, &store.clone()));
    assert!(!Store::is_same(&store, &folder.store()));
}

//! From any runtime and from none.

use crate::fixture::{hundred, on_tables, unique};
use limiter_core::{Limiter, Store};
use std::{
    future::{Future, IntoFuture},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

#[test]
fn threads_without_a_runtime_and_runtimes_of_both_kinds_share_a_store() {
    let limiter = hundred(&on_tables(&unique()));
    limiter.blocking().check("ada").unwrap();
    for mut runtime in [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()] {
        // Without I/O and timers of its own; and gone before the next call.
        let runtime = runtime.build().unwrap();
        let decision = runtime.block_on(limiter.check_async("ada")).unwrap();
        assert!(decision.allowed());
        let clone = limiter.clone();
        runtime.block_on(runtime.spawn(async move { clone.check_async("ada").await })).unwrap().unwrap();
    }
    assert_eq!(limiter.blocking().check("ada").unwrap().remaining(), 94);
}

#[test]
fn a_future_polled_by_hand_is_woken() {
    let limiter = hundred(&on_tables(&unique()));
    limiter.blocking().check("ada").unwrap();
    // Whoever polls may be held up for as long as the answer takes; not a hundred times.
    let is_woken = (1..100).any(|nth| {
        let mut check = pin!(limiter.check_async("ada"));
        let first = check.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let is_pending = first.is_pending();
        let decision = match first {
            Poll::Ready(decision) => decision,
            Poll::Pending => crate::support::block_on(check),
        };
        assert_eq!(decision.unwrap().remaining(), 99 - nth);
        is_pending
    });
    assert!(is_woken);
}

#[tokio::test]
async fn waiters_are_granted_in_turn() {
    let store = on_tables(&unique());
    let limiter = Limiter::builder("20/s burst 1".parse().unwrap()).store(store.clone()).build();
    let start = Store::now(&store, None).await.unwrap();
    for _ in 0..4 {
        let permit = limiter.acquire("ada").timeout(Duration::from_secs(60)).into_future().await.unwrap();
        assert_eq!(permit.cost(), 1);
    }
    let end = Store::now(&store, None).await.unwrap();
    assert!(end.saturating_since(start) >= Duration::from_millis(150), "{start:?} {end:?}");
}

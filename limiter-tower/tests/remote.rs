//! Stores that are not in this process: the layer asks them without blocking, and calls the service it polled.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Ready, Remote, request};
use http::StatusCode;
use limiter_core::{Limiter, ManualClock, MemoryStore, Store, store::DynStore};
use limiter_tower::RateLimitLayer;
use std::{
    pin::pin,
    task::{Context, Waker},
};
use tower::{Layer, Service, ServiceExt};

fn layer<S: Store>(store: S) -> RateLimitLayer<S> {
    RateLimitLayer::new(Limiter::builder("3/h".parse().unwrap()).store(store).clock(ManualClock::default()).build())
}

#[tokio::test]
async fn the_service_that_was_polled_ready_is_the_one_called() {
    let inner = Ready::default();
    let mut service = layer(Remote::default()).layer(inner.clone());
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(service.ready().await.unwrap().call(request()).await.unwrap().status());
    }
    assert_eq!(statuses[..3], [StatusCode::OK; 3]);
    assert_eq!(statuses[3..], [StatusCode::TOO_MANY_REQUESTS; 2]);
    assert_eq!(inner.calls(), 3);
}

#[tokio::test]
async fn nothing_reaches_the_service_before_the_store_has_answered() {
    let inner = Ready::default();
    let mut service = layer(Remote::default()).layer(inner.clone());
    let mut first = pin!(service.ready().await.unwrap().call(request()));
    assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(inner.calls(), 0);
    assert!(format!("{first:?}").contains("Asking"));
    // The next request need not wait for it.
    assert_eq!(service.ready().await.unwrap().call(request()).await.unwrap().status(), StatusCode::OK);
    let response = first.await.unwrap();
    assert_eq!(response.headers()["ratelimit"], r#""default";r=1;t=2400"#);
    assert_eq!(inner.calls(), 2);
}

#[tokio::test]
async fn a_store_that_is_down_is_a_503_and_never_a_429() {
    let inner = Ready::default();
    let service = layer(Remote::down()).layer(inner.clone());
    assert_eq!(service.oneshot(request()).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn a_store_chosen_at_run_time_limits_the_same() {
    for store in [DynStore::new(MemoryStore::new()), DynStore::new(Remote::default())] {
        let inner = Ready::default();
        let service = layer(store).layer(inner.clone());
        for expected in [StatusCode::OK, StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
            assert_eq!(service.clone().oneshot(request()).await.unwrap().status(), expected);
        }
        assert_eq!(inner.calls(), 3);
    }
}

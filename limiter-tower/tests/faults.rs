//! Faults that other limiters of HTTP services have had, each a test of ours.
//!
//! | fault | test |
//! | --- | --- |
//! | `Retry-After: 0` for waits under a second | `answers`: retry_after_is_never_zero_and_obeying_it_succeeds |
//! | a prefix to `X-Forwarded-For` buys a fresh quota | `spoofing` |
//! | a denial costs hundreds of times an admission, for a clock is built each time | here |
//! | behind a buffer, or under a framework that clones, nothing is limited | here, and `throttle::tower_faults` |
//! | a clone is called that was never polled ready | `service`, `remote`: the_service_that_was_polled_ready_is_the_one_called |
//! | what is left counts up | here |
//! | several limits: the first are charged when a later one denies | `policies` |
//! | the store is down: a hang, then a false 429 | here, and `remote`: a_store_that_is_down_is_a_503_and_never_a_429 |
//! | a time-out turns denials into admissions | here |

#![allow(clippy::unwrap_used)]

mod common;

use common::{Ready, Remote, request};
use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use limiter_core::{Limiter, ManualClock};
use limiter_tower::{Generation, RateLimitLayer};
use std::{
    convert::Infallible,
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, buffer::BufferLayer, service_fn, timeout::TimeoutLayer};

fn limit(quota: &str) -> RateLimitLayer {
    RateLimitLayer::new(Limiter::builder(quota.parse().unwrap()).clock(ManualClock::default()).build())
}

/// The least time of many turns: what others do to the machine meanwhile is in the others.
fn least_time(
    service: &mut impl Service<Request<String>, Response = Response<String>>,
    expected: StatusCode,
) -> Duration {
    let mut cx = Context::from_waker(Waker::noop());
    let mut turn = || {
        let start = Instant::now();
        for _ in 0..100 {
            assert!(service.poll_ready(&mut cx).is_ready());
            let Poll::Ready(Ok(response)) = pin!(service.call(request())).poll(&mut cx) else {
                unreachable!("memory answers at once")
            };
            assert_eq!(response.status(), expected);
        }
        start.elapsed()
    };
    (0..50).map(|_| turn()).min().unwrap()
}

#[tokio::test]
async fn a_denial_costs_about_what_an_admission_costs() {
    let inner = Ready::default();
    let mut denying = limit("1/day").layer(inner.clone());
    denying.ready().await.unwrap().call(request()).await.unwrap();
    let denied = least_time(&mut denying, StatusCode::TOO_MANY_REQUESTS);
    let admitted = least_time(&mut limit("1000000000/s").layer(inner), StatusCode::OK);
    assert!(denied < 4 * admitted, "denied {denied:?}, admitted {admitted:?}");
}

#[tokio::test]
async fn behind_a_buffer_and_for_each_clone_the_limit_is_one() {
    let inner = Ready::default();
    let service = ServiceBuilder::new().layer(BufferLayer::new(64)).layer(limit("5/day")).service(inner.clone());
    let mut denied = 0;
    for _ in 0..150 {
        let response = service.clone().oneshot(request()).await.unwrap();
        denied += usize::from(response.status() == StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!((inner.calls(), denied), (5, 145));
}

#[tokio::test]
async fn what_is_left_counts_down_in_every_generation() {
    let fields = [Generation::Structured, Generation::DraftA, Generation::Legacy];
    let service = limit("5/day").fields(fields).layer(Ready::default());
    for left in (0..5_u64).rev() {
        let response = service.clone().oneshot(request()).await.unwrap();
        for name in ["ratelimit-remaining", "x-ratelimit-remaining"] {
            assert_eq!(response.headers()[name], left.to_string());
        }
        let structured = response.headers()["ratelimit"].to_str().unwrap();
        assert!(structured.contains(&format!(";r={left};")), "{structured}");
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_told_at_once_and_nobody_is_said_to_be_too_fast() {
    let limiter = Limiter::builder("5/day".parse().unwrap()).store(Remote::down()).build();
    let service = RateLimitLayer::new(limiter).layer(Ready::default());
    for _ in 0..10 {
        let answer = tokio::time::timeout(Duration::from_secs(20), service.clone().oneshot(request())).await;
        let answer = answer.expect("no hang").unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!answer.headers().contains_key("ratelimit"));
        // Nobody can say, until the store has failed so often that it is left alone for a second.
        assert!(answer.headers().get(RETRY_AFTER).is_none_or(|wait| wait == "1"));
    }
}

#[tokio::test]
async fn a_time_out_around_or_inside_turns_no_denial_into_an_admission() {
    let never = || service_fn(|_: Request<String>| std::future::pending::<Result<Response<String>, Infallible>>());
    let soon = Duration::from_millis(20);
    let around = ServiceBuilder::new().layer(TimeoutLayer::new(soon)).layer(limit("2/day")).service(never());
    let inside = ServiceBuilder::new().layer(limit("2/day")).layer(TimeoutLayer::new(soon)).service(never());
    for _ in 0..2 {
        assert!(around.clone().oneshot(request()).await.is_err(), "admitted, and cut off");
        assert!(inside.clone().oneshot(request()).await.is_err(), "admitted, and cut off");
    }
    for _ in 0..3 {
        assert_eq!(around.clone().oneshot(request()).await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(inside.clone().oneshot(request()).await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    }
}

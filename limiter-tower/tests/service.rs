//! The service contract: readiness, denials that stop, shared state, types that stay.

#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{Ready, field, request};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use limiter_core::Limiter;
use limiter_tower::{RateLimitLayer, Verdict};
use std::{
    convert::Infallible,
    future::Ready as Immediate,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};

#[tokio::test]
async fn the_service_that_was_polled_ready_is_the_one_called() {
    let inner = Ready::default();
    let service = RateLimitLayer::new(Limiter::parse("3/h").unwrap()).layer(inner.clone());
    for _ in 0..5 {
        let mut clone = service.clone(); // as axum and hyper do for each request
        clone.ready().await.unwrap().call(request()).await.unwrap();
        clone.ready().await.unwrap().call(request()).await.unwrap();
    }
    assert_eq!(inner.calls(), 3);
}

#[tokio::test]
#[should_panic = "called without being polled ready"]
async fn the_mock_notices_a_call_that_nobody_polled_for() {
    let mut service = RateLimitLayer::new(Limiter::parse("3/h").unwrap()).layer(Ready::default());
    let _ = service.call(request()).await;
}

#[tokio::test]
async fn an_inner_service_that_is_busy_makes_the_layer_busy() {
    let limited = RateLimitLayer::new(Limiter::parse("9/h").unwrap());
    let pending = service_fn(|_: Request<String>| std::future::pending::<Result<Response<String>, Infallible>>());
    let mut service = limited.layer(ConcurrencyLimitLayer::new(1).layer(pending));
    let under_way = service.ready().await.unwrap().call(request());
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(service.poll_ready(&mut cx).is_pending());
    drop(under_way);
    assert!(service.poll_ready(&mut cx).is_ready());
}

#[tokio::test]
async fn a_denial_never_reaches_the_inner_service_and_keeps_it_ready() {
    let inner = Ready::default();
    let mut service = RateLimitLayer::new(Limiter::parse("1/h").unwrap()).layer(inner.clone());
    for expected in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS, StatusCode::TOO_MANY_REQUESTS] {
        assert_eq!(service.ready().await.unwrap().call(request()).await.unwrap().status(), expected);
    }
    assert_eq!(inner.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_clones_admit_exactly_the_limit() {
    let inner = Ready::default();
    let service = RateLimitLayer::new(Limiter::parse("sliding_log 100/h").unwrap()).layer(inner.clone());
    let admitted = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..400)
        .map(|_| {
            let (mut service, admitted) = (service.clone(), Arc::clone(&admitted));
            tokio::spawn(async move {
                let response = service.ready().await.unwrap().call(request()).await.unwrap();
                if response.status() == StatusCode::OK {
                    admitted.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(admitted.load(Ordering::Relaxed), 100);
    assert_eq!(inner.calls(), 100);
}

#[tokio::test]
async fn services_of_one_layer_share_its_state() {
    let layer = RateLimitLayer::new(Limiter::parse("1/h").unwrap());
    assert_eq!(layer.layer(Ready::default()).oneshot(request()).await.unwrap().status(), StatusCode::OK);
    let second = layer.clone().layer(Ready::default()).oneshot(request()).await.unwrap();
    assert_eq!(second.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn the_decision_is_in_the_requests_extensions() {
    let left = service_fn(|request: Request<String>| async move {
        let left = request.extensions().get::<Verdict>().map(|verdict| verdict.remaining());
        Ok::<_, Infallible>(Response::new(format!("{left:?}")))
    });
    let service = RateLimitLayer::new(Limiter::parse("3/h").unwrap()).layer(left);
    assert_eq!(service.clone().oneshot(request()).await.unwrap().into_body(), "Some(2)");
    assert_eq!(service.oneshot(request()).await.unwrap().into_body(), "Some(1)");
}

#[tokio::test]
async fn without_a_verdict_the_extensions_stay_as_they_are_and_the_fields_are_told() {
    let has_verdict = service_fn(|request: Request<String>| async move {
        Ok::<_, Infallible>(Response::new(request.extensions().get::<Verdict>().is_some().to_string()))
    });
    let layer = RateLimitLayer::new(Limiter::parse("3/h").unwrap()).without_verdict();
    let response = layer.clone().layer(has_verdict).oneshot(request()).await.unwrap();
    assert_eq!(
        (field(&response, "ratelimit").as_str(), response.body().as_str()),
        (r#""default";r=2;t=1200"#, "false")
    );
    let skipped = layer.skip(|_| true).layer(has_verdict).oneshot(request()).await.unwrap();
    assert_eq!(skipped.body(), "false");
}

#[tokio::test]
async fn the_request_passes_through_whole() {
    let echo = service_fn(|request: Request<String>| async move {
        let (head, body) = request.into_parts();
        let seen = format!("{} {} {:?} {:?} {body}", head.method, head.uri, head.version, head.headers["x-a"]);
        Ok::<_, Infallible>(Response::new(seen))
    });
    let service = RateLimitLayer::new(Limiter::parse("3/h").unwrap()).layer(echo);
    let request = Request::put("http://host/path?q").version(http::Version::HTTP_2).header("x-a", "b");
    let response = service.oneshot(request.body("body".to_owned()).unwrap()).await.unwrap();
    assert_eq!(response.into_body(), r#"PUT http://host/path?q HTTP/2.0 "b" body"#);
}

/// A service whose error is not even an error type.
#[derive(Clone)]
struct Failing;

#[derive(Debug, PartialEq)]
struct Mishap(u8);

impl Service<Request<()>> for Failing {
    type Response = Response<Full<Bytes>>;
    type Error = Mishap;
    type Future = Immediate<Result<Self::Response, Mishap>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Mishap>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        std::future::ready(Err(Mishap(7)))
    }
}

#[tokio::test]
async fn the_error_and_the_body_keep_their_types() {
    let service = RateLimitLayer::new(Limiter::parse("1/h").unwrap()).layer(Failing);
    let failed: Result<Response<Full<Bytes>>, Mishap> = service.clone().oneshot(Request::new(())).await;
    assert_eq!(failed.unwrap_err(), Mishap(7));
    let denied: Result<Response<Full<Bytes>>, Mishap> = service.oneshot(Request::new(())).await;
    assert_eq!(denied.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
}

#[test]
fn layer_and_service_can_be_shared_whatever_their_closures() {
    fn shared<T: Clone + Send + Sync + 'static>(value: T) -> T {
        value
    }
    let layer = shared(RateLimitLayer::new(Limiter::parse("1/h").unwrap()).key(|_: &http::request::Parts| 7_u64));
    shared(layer.layer(Ready::default()));
}

#[tokio::test]
async fn debug_shows_the_quota_and_no_key() {
    let layer = RateLimitLayer::new(Limiter::parse("1/h").unwrap()).key(|_: &http::request::Parts| "secret");
    let mut service = layer.layer(Ready::default());
    let future = service.ready().await.unwrap().call(request());
    let shown = format!("{layer:?} {service:?} {future:?}");
    assert!(shown.contains("1/h") && !shown.contains("secret"), "{shown}");
}

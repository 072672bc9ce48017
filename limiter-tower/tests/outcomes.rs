//! What requests cost once their response is known: charged by outcome, refunded, settled at their true cost.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Remote, World, field, policy, request};
use http::{Request, Response, StatusCode};
use limiter_core::{Limiter, MemoryStore, Store};
use limiter_tower::{RateLimit, RateLimitLayer, TrueCost};
use std::{convert::Infallible, future::Ready, pin::pin, task::Context, time::Duration};
use tower::{Layer, Service, ServiceExt, service_fn};

/// Answers with the status that the request's body names, or fails, and notes the cost in its `x-cost`.
#[derive(Clone)]
struct Told;

#[derive(Debug, PartialEq)]
struct Broken;

impl Service<Request<String>> for Told {
    type Response = Response<String>;
    type Error = Broken;
    type Future = Ready<Result<Response<String>, Broken>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> std::task::Poll<Result<(), Broken>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let Ok(status) = request.body().parse::<u16>() else { return std::future::ready(Err(Broken)) };
        let mut response = Response::new("x".to_owned());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(cost) = request.headers().get("x-cost") {
            response.extensions_mut().insert(TrueCost(cost.to_str().unwrap().parse().unwrap()));
        }
        std::future::ready(Ok(response))
    }
}

fn answered(status: &str) -> Request<String> {
    Request::new(status.to_owned())
}

fn costing(cost: u64) -> Request<String> {
    Request::builder().header("x-cost", cost).body("200".to_owned()).unwrap()
}

async fn send<S: Store>(service: &RateLimit<Told, S>, request: Request<String>) -> Response<String> {
    service.clone().oneshot(request).await.unwrap()
}

async fn left<S: Store>(limiter: &Limiter<S>) -> u64 {
    limiter.peek_n_async((), 0).await.unwrap().remaining()
}

async fn failures_only<S: Store>(store: S) {
    let world = World::over(store);
    let limiter = world.limiter("log-in", "sliding_log 3/h");
    let failures = policy(&limiter).charge_only_if(|response| response.status == StatusCode::UNAUTHORIZED);
    let service = RateLimitLayer::new(failures).layer(Told);
    for _ in 0..10 {
        let success = send(&service, answered("200")).await;
        assert_eq!(field(&success, "ratelimit"), r#""log-in";r=3;t=0"#); // given back already
        assert_eq!(left(&limiter).await, 3);
    }
    for failed in 1..=3 {
        assert_eq!(send(&service, answered("401")).await.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(left(&limiter).await, 3 - failed);
    }
    assert_eq!(send(&service, answered("200")).await.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn log_in_protection_counts_failures_only() {
    failures_only(MemoryStore::new()).await;
    failures_only(Remote::default()).await;
}

#[tokio::test]
async fn server_errors_are_refunded_and_so_are_errors_of_the_inner_service() {
    let world = World::over(MemoryStore::new());
    let limiter = world.limiter("api", "5/h");
    let service = RateLimitLayer::new(policy(&limiter).refund_server_errors()).layer(Told);
    send(&service, answered("404")).await;
    assert_eq!(left(&limiter).await, 4);
    send(&service, answered("502")).await;
    assert_eq!(left(&limiter).await, 4);
    assert_eq!(service.clone().oneshot(answered("an error")).await.unwrap_err(), Broken);
    assert_eq!(left(&limiter).await, 4);
}

#[tokio::test]
async fn an_error_of_the_inner_service_is_charged_where_only_successes_are_free() {
    let world = World::over(MemoryStore::new());
    let limiter = world.limiter("log-in", "5/h");
    let failures = policy(&limiter).charge_only_if(|response| !response.status.is_success());
    let service = RateLimitLayer::new(failures).layer(Told);
    assert_eq!(service.oneshot(answered("an error")).await.unwrap_err(), Broken);
    assert_eq!(left(&limiter).await, 4);
}

async fn true_costs<S: Store>(store: S) {
    let world = World::over(store);
    let limiter = world.limiter("tokens", "sliding_log 1000/h");
    let service = RateLimitLayer::new(policy(&limiter).cost(|_| 100).true_cost(TrueCost::of)).layer(Told);
    let more = send(&service, costing(320)).await;
    assert!(field(&more, "ratelimit").starts_with(r#""tokens";r=680;"#)); // what is left now, not before
    assert_eq!(left(&limiter).await, 680);
    send(&service, costing(20)).await;
    assert_eq!(left(&limiter).await, 660);
    send(&service, answered("200")).await; // nothing noted: as taken
    assert_eq!(left(&limiter).await, 560);
    send(&service, costing(5_000)).await; // more than there is: debt, at most one quota of it
    assert_eq!(left(&limiter).await, 0);
    let denied = send(&service, answered("200")).await;
    assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
    world.clock.advance(Duration::from_secs(denied.headers()["retry-after"].to_str().unwrap().parse().unwrap()));
    assert_eq!(send(&service, answered("200")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_true_cost_is_settled_before_the_response_is_handed_on() {
    true_costs(MemoryStore::new()).await;
    true_costs(Remote::default()).await;
}

async fn each_by_its_own_rules<S: Store>(store: S) {
    let world = World::over(store);
    let (requests, tokens, failures) =
        (world.limiter("requests", "9/h"), world.limiter("tokens", "1000/h"), world.limiter("failures", "5/h"));
    let layer = RateLimitLayer::new(policy(&requests))
        .policy(policy(&tokens).cost(|_| 100).true_cost(TrueCost::of).refund_server_errors())
        .unwrap()
        .policy(policy(&failures).charge_only_if(|response| response.status.is_client_error()))
        .unwrap();
    let service = layer.layer(Told);
    let told = field(&send(&service, costing(250)).await, "ratelimit");
    assert_eq!(told, r#""requests";r=8;t=400,"tokens";r=750;t=900,"failures";r=5;t=0"#);
    send(&service, answered("404")).await;
    send(&service, answered("500")).await;
    assert_eq!((left(&requests).await, left(&tokens).await, left(&failures).await), (6, 650, 4));
}

#[tokio::test]
async fn each_of_several_policies_settles_by_its_own_rules() {
    each_by_its_own_rules(MemoryStore::new()).await;
    each_by_its_own_rules(Remote::default()).await;
}

#[tokio::test]
async fn a_refund_gives_back_only_what_the_take_still_holds() {
    let world = World::over(MemoryStore::new());
    let limiter = world.limiter("bucket", "10/s burst 10");
    let clock = world.clock.clone();
    let slow = service_fn(move |_: Request<String>| {
        clock.advance(Duration::from_millis(500)); // five of the ten have drained meanwhile
        std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
    });
    let layer = RateLimitLayer::new(policy(&limiter).cost(|_| 10).refund_if(|_| true));
    layer.layer(slow).oneshot(request()).await.unwrap();
    assert_eq!(left(&limiter).await, 10); // full, and no more than full
    limiter.check_n((), 10).unwrap();
    assert!(!limiter.check(()).unwrap().allowed());
}

#[tokio::test]
async fn nothing_comes_back_of_a_limiter_that_started_anew_meanwhile() {
    let world = World::over(MemoryStore::new());
    let limiter = world.limiter("api", "sliding_log 10/h");
    let again = limiter.clone();
    let restarting = service_fn(move |_: Request<String>| {
        again.restart("sliding_log 10/h".parse().unwrap());
        again.check_n((), 7).unwrap();
        std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
    });
    let layer = RateLimitLayer::new(policy(&limiter).cost(|_| 5).refund_if(|_| true));
    layer.layer(restarting).oneshot(request()).await.unwrap();
    assert_eq!(left(&limiter).await, 3); // others' seven units are still theirs
}

#[tokio::test]
async fn a_request_that_is_dropped_stays_charged() {
    let world = World::over(MemoryStore::new());
    let limiter = world.limiter("api", "5/h");
    let layer = RateLimitLayer::new(policy(&limiter).refund_if(|_| true));
    let hangs = service_fn(|_: Request<String>| std::future::pending::<Result<Response<String>, Infallible>>());
    let mut service = layer.layer(hangs);
    {
        let mut call = pin!(service.ready().await.unwrap().call(request()));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(call.as_mut().poll(&mut cx).is_pending());
    }
    assert_eq!(left(&limiter).await, 4);
}

#[tokio::test]
async fn a_store_that_fails_after_the_response_leaves_the_response_alone() {
    let store = Remote::default();
    let world = World::over(store.clone());
    let limiter = world.limiter("api", "5/h");
    let fails = service_fn(move |_: Request<String>| {
        store.go_down();
        std::future::ready(Ok::<_, Infallible>(Response::new("done".to_owned())))
    });
    let layer = RateLimitLayer::new(policy(&limiter).refund_if(|_| true));
    let response = layer.layer(fails).oneshot(request()).await.unwrap();
    assert_eq!((response.status(), response.body().as_str()), (StatusCode::OK, "done"));
    assert_eq!(field(&response, "ratelimit"), r#""api";r=4;t=720"#);
}

/// Panics where it is called, as a handler that parses before its first `await` does.
#[derive(Clone)]
struct Panics;

impl Service<Request<String>> for Panics {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        panic!("on purpose");
    }
}

#[tokio::test]
async fn a_request_that_makes_the_inner_service_panic_stays_charged() {
    let world = World::over(MemoryStore::new());
    let limiter = world.limiter("log-in", "5/h");
    let layer = RateLimitLayer::new(policy(&limiter).charge_only_if(|response| !response.status.is_success()));
    let attempt = tokio::spawn(layer.layer(Panics).oneshot(request()));
    assert!(attempt.await.unwrap_err().is_panic());
    assert_eq!(left(&limiter).await, 4);
}

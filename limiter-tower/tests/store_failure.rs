//! Stores that fail: no false 429, no hanging, no silent opening, and a way back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "../../limiter-core/tests/servers/mod.rs"]
mod servers;

use common::{Ready, Remote, field, problem, request};
use http::{Request, Response, StatusCode};
use limiter_core::{Limiter, MemoryStore, RedisStore, Store};
use limiter_tower::{Breaker, Format, Policy, PolicyName, RateLimit, RateLimitLayer, StoreFailure};
use servers::RedisServer;
use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tower::{Layer, Service, ServiceExt, buffer::Buffer, service_fn};

/// What a noisy machine keeps, and a hanging request does not.
const SOON: Duration = Duration::from_secs(20);
/// What a store that is well needs no more than, even there, once it is connected.
const BUDGET: Duration = Duration::from_secs(1);

/// A store whose own time budget is no help, connected.
async fn redis(server: &RedisServer) -> RedisStore {
    let store = RedisStore::builder(&server.url()).timeout(Duration::from_secs(60)).build().unwrap();
    store.ready().await.unwrap();
    store
}

fn policy<S: Store>(store: &S, name: &str, quota: &str) -> Policy<S> {
    let limiter = Limiter::builder(quota.parse().unwrap()).name(name).store(store.clone()).build();
    Policy::new(PolicyName::new(name).unwrap(), limiter)
}

fn layer<S: Store>(store: &S, quota: &str) -> RateLimitLayer<S> {
    RateLimitLayer::new(policy(store, "api", quota)).time_budget(BUDGET).breaker(Breaker::OFF)
}

async fn send<S: Store>(service: &RateLimit<Ready, S>) -> Response<String> {
    let since = Instant::now();
    let response = service.clone().oneshot(request()).await.unwrap();
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    response
}

/// Sends until the store answers again.
async fn back<S: Store>(service: &RateLimit<Ready, S>, expected: StatusCode) -> Response<String> {
    let since = Instant::now();
    loop {
        let response = send(service).await;
        if response.status() == expected {
            return response;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "{response:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_refused_for_the_store(response: &Response<String>) {
    assert_eq!(field(response, "retry-after"), ""); // nobody knows
    is_refused_without_a_quota(response);
}

fn is_refused_during_a_pause(response: &Response<String>, seconds: std::ops::RangeInclusive<u64>) {
    let told = field(response, "retry-after").parse().unwrap();
    assert!(seconds.contains(&told), "{told}");
    is_refused_without_a_quota(response);
}

fn is_refused_without_a_quota(response: &Response<String>) {
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let kind = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
    assert_eq!(problem(response)["type"], kind);
    for name in ["ratelimit", "ratelimit-policy"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
}

/// firecrawl#3728: Redis down, requests hang for 30 s, and then a 429 that nobody deserved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firecrawl_3728_a_dead_or_stalled_redis_is_a_quick_503_and_never_a_429() {
    let server = RedisServer::start();
    let service = layer(&redis(&server).await, "100/h").layer(Ready::default());
    assert_eq!(send(&service).await.status(), StatusCode::OK);

    server.pause();
    for _ in 0..3 {
        is_refused_for_the_store(&send(&service).await);
    }
    server.resume();
    back(&service, StatusCode::OK).await;

    server.kill();
    for _ in 0..3 {
        is_refused_for_the_store(&send(&service).await);
    }
    server.restart();
    back(&service, StatusCode::OK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_redis_holds_no_request_that_would_wait_for_its_turn() {
    let server = RedisServer::start();
    let layer = layer(&redis(&server).await, "100/h").wait_up_to(Duration::from_millis(300));
    let service = layer.layer(Ready::default());
    assert_eq!(send(&service).await.status(), StatusCode::OK);
    server.pause();
    is_refused_for_the_store(&send(&service).await);
    server.resume();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stalls_while_a_response_is_under_way_holds_it_no_longer_than_the_budget() {
    let server = Arc::new(RedisServer::start());
    let stalls = Arc::clone(&server);
    let inner = service_fn(move |_: Request<String>| {
        stalls.pause();
        std::future::ready(Ok::<_, Infallible>(Response::new("done".to_owned())))
    });
    let refunds = policy(&redis(&server).await, "api", "100/h").refund_if(|_| true);
    let service = RateLimitLayer::new(refunds).time_budget(BUDGET).layer(inner);
    let since = Instant::now();
    let response = service.oneshot(request()).await.unwrap();
    assert!(since.elapsed() < SOON);
    assert_eq!((response.status(), response.body().as_str()), (StatusCode::OK, "done"));
    server.resume();
}

/// tower-redis-cell cannot be told to let requests pass while Redis is down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tower_redis_cell_a_layer_can_let_requests_pass_while_redis_is_down() {
    let server = RedisServer::start();
    let service = layer(&redis(&server).await, "2/h").on_store_failure(StoreFailure::Allow).layer(Ready::default());
    send(&service).await;
    server.kill();
    for _ in 0..5 {
        let passed = send(&service).await;
        assert_eq!(passed.status(), StatusCode::OK);
        assert!(passed.headers().is_empty()); // what is left is not known, so nothing is said
    }
    server.restart(); // with nothing kept
    back(&service, StatusCode::TOO_MANY_REQUESTS).await;
}

/// throttle-kit lets everything pass whenever its store fails, asked or not.
#[tokio::test]
async fn throttle_kit_nothing_passes_unlimited_unless_that_was_asked_for() {
    let inner = Ready::default();
    let service = RateLimitLayer::new(policy(&Remote::down(), "api", "9/h")).layer(inner.clone());
    for _ in 0..20 {
        is_refused_without_a_quota(&send(&service).await);
    }
    assert_eq!(inner.calls(), 0);
}

/// rate-limiter-flexible#337: a wrapper that bounds the store's time took denials for failures, and let them in.
#[tokio::test]
async fn rate_limiter_flexible_337_a_denial_within_the_budget_stays_a_denial() {
    let store = Remote::slow(Duration::from_millis(5));
    let layer = RateLimitLayer::new(policy(&store, "api", "1/h"));
    let service = layer.time_budget(SOON).on_store_failure(StoreFailure::Allow).layer(Ready::default());
    assert_eq!(send(&service).await.status(), StatusCode::OK);
    for _ in 0..3 {
        let denied = send(&service).await;
        assert_eq!(
            (denied.status(), denied.headers().contains_key("ratelimit")),
            (StatusCode::TOO_MANY_REQUESTS, true)
        );
    }
}

#[tokio::test]
async fn a_call_that_took_too_long_is_not_made_again() {
    let store = Remote::slow(Duration::from_secs(3600));
    let service = layer(&store, "9/h").layer(Ready::default());
    is_refused_for_the_store(&send(&service).await);
    assert_eq!(store.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_down_this_process_keeps_the_local_quotas() {
    let server = RedisServer::persistent();
    let store = redis(&server).await;
    let user = policy(&store, "user", "100/h").local_quota("sliding_log 2/h".parse().unwrap());
    let layer = RateLimitLayer::new(user).policy(policy(&store, "all", "sliding_log 3/h")).unwrap();
    let layer = layer.time_budget(BUDGET).breaker(Breaker::OFF).on_store_failure(StoreFailure::DecideLocally);
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    let layer = layer.on_decision(move |event| {
        lines.lock().unwrap().push((event.outcome().name(), event.error().is_some()));
    });
    let service = layer.layer(Ready::default());
    assert_eq!(field(&send(&service).await, "ratelimit-policy"), r#""user";q=100;w=3600,"all";q=3;w=3600"#);

    server.kill();
    for _ in 0..2 {
        let admitted = send(&service).await;
        assert_eq!(admitted.status(), StatusCode::OK);
        assert_eq!(field(&admitted, "ratelimit-policy"), r#""user";q=2;w=3600,"all";q=3;w=3600"#); // what is in force
    }
    let denied = send(&service).await;
    assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(problem(&denied)["violated-policies"], serde_json::json!(["user"]));
    assert_eq!(*log.lock().unwrap(), [("admitted", false), ("admitted", true), ("admitted", true), ("denied", true)]);

    server.restart();
    let since = Instant::now();
    loop {
        let response = send(&service).await; // from the local quota until the store is found again
        if field(&response, "ratelimit-policy").starts_with(r#""user";q=100"#) {
            assert_eq!(response.status(), StatusCode::OK);
            assert!(field(&response, "ratelimit").contains(r#""all";r=1;"#)); // it has counted on
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(30));
    }
}

#[tokio::test]
async fn local_decisions_settle_by_the_same_rules() {
    let refunds = policy(&Remote::down(), "api", "1/h").refund_if(|_| true);
    let layer = RateLimitLayer::new(refunds).on_store_failure(StoreFailure::DecideLocally);
    let service = layer.layer(Ready::default());
    for _ in 0..3 {
        let response = send(&service).await;
        assert_eq!((response.status(), field(&response, "ratelimit")), (StatusCode::OK, r#""api";r=1;t=0"#.to_owned()));
    }
}

#[tokio::test]
async fn a_store_that_fails_again_and_again_is_left_alone_and_asked_by_one_after_a_pause() {
    let store = Remote::down();
    let pause = Duration::from_secs(3);
    let layer = RateLimitLayer::new(policy(&store, "api", "99/h")).breaker(Breaker::new(3, pause));
    let service = layer.layer(Ready::default());
    let since = Instant::now();
    for _ in 0..3 {
        is_refused_for_the_store(&send(&service).await);
    }
    for _ in 0..7 {
        is_refused_during_a_pause(&send(&service).await, 1..=3);
    }
    assert!(since.elapsed() < pause, "too slow a machine for this test");
    assert_eq!(store.calls(), 3);

    tokio::time::sleep(pause).await;
    let all = futures_of(&service, 10);
    for refused in all.await {
        is_refused_without_a_quota(&refused);
    }
    assert_eq!(store.calls(), 4); // one for all, and it failed

    store.come_up();
    is_refused_during_a_pause(&send(&service).await, 1..=3); // not yet asked again
    tokio::time::sleep(pause).await;
    for _ in 0..5 {
        assert_eq!(send(&service).await.status(), StatusCode::OK);
    }
    assert_eq!(store.calls(), 9);
}

#[tokio::test]
async fn who_is_refused_during_a_pause_is_told_what_is_left_of_it() {
    let paused = |layer: RateLimitLayer<Remote>| async move {
        let service = layer.breaker(Breaker::new(1, Duration::from_secs(600))).layer(Ready::default());
        assert_eq!(field(&send(&service).await, "retry-after"), "");
        send(&service).await
    };
    let layer = || RateLimitLayer::new(policy(&Remote::down(), "api", "99/h"));
    let refused = paused(layer()).await;
    is_refused_during_a_pause(&refused, 590..=600);
    is_refused_during_a_pause(&paused(layer().retry_jitter(Duration::from_secs(9))).await, 590..=609);

    let told = paused(layer().answer(Format::Text)).await.into_body();
    assert!(told.starts_with("Requests cannot be counted at the moment; try again in "), "{told}");
    let grpc = paused(layer().answer(Format::Grpc)).await;
    assert_eq!(field(&grpc, "grpc-status"), "14"); // UNAVAILABLE
    assert!((590_000..=600_000).contains(&field(&grpc, "grpc-retry-pushback-ms").parse().unwrap()));
}

#[tokio::test]
async fn a_pause_without_an_end_is_one() {
    let store = Remote::down();
    let layer = RateLimitLayer::new(policy(&store, "api", "99/h")).breaker(Breaker::new(2, Duration::MAX));
    let service = layer.layer(Ready::default());
    for _ in 0..2 {
        is_refused_for_the_store(&send(&service).await);
    }
    store.come_up();
    is_refused_during_a_pause(&send(&service).await, u64::MAX / 2..=u64::MAX);
    assert_eq!(store.calls(), 2);
}

async fn futures_of<S: Store>(service: &RateLimit<Ready, S>, count: usize) -> Vec<Response<String>> {
    let tasks: Vec<_> = (0..count).map(|_| tokio::spawn(service.clone().oneshot(request()))).collect();
    let mut responses = Vec::new();
    for task in tasks {
        responses.push(task.await.unwrap().unwrap());
    }
    responses
}

#[tokio::test]
async fn a_success_in_between_keeps_the_breaker_closed() {
    let store = Remote::default();
    let layer = RateLimitLayer::new(policy(&store, "api", "99/h")).breaker(Breaker::new(2, SOON));
    let service = layer.layer(Ready::default());
    for _ in 0..3 {
        store.go_down();
        is_refused_for_the_store(&send(&service).await);
        store.come_up();
        assert_eq!(send(&service).await.status(), StatusCode::OK);
    }
    assert_eq!(store.calls(), 6);
}

/// axum#3682: tower's own RateLimit behind a Buffer let 1500 of 1500 requests pass at 5 a second under axum, as each
/// connection, or each clone, had a limit of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axum_3682_of_1500_requests_behind_a_buffer_five_pass() {
    let passed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&passed);
    let inner = service_fn(move |_: Request<String>| {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
    });
    // A log of an hour, so that the machine's pace is no matter.
    let layer = RateLimitLayer::new(policy(&MemoryStore::new(), "api", "sliding_log 5/h"));
    let inside = Buffer::new(layer.layer(inner.clone()), 64);
    let outside = layer.layer(Buffer::new(inner, 64));
    let mut tasks = Vec::new();
    for n in 0..1500 {
        let (mut inside, mut outside) = (inside.clone(), outside.clone());
        tasks.push(tokio::spawn(async move {
            match n % 2 {
                0 => inside.ready().await.unwrap().call(request()).await.unwrap().status(),
                _ => outside.ready().await.unwrap().call(request()).await.unwrap().status(),
            }
        }));
    }
    let mut admitted = 0;
    for task in tasks {
        admitted += usize::from(task.await.unwrap() == StatusCode::OK);
    }
    assert_eq!((admitted, passed.load(Ordering::Relaxed)), (5, 5));
}

/// What is refused without asking the store says nothing of it.
#[tokio::test]
async fn a_cost_that_can_never_fit_keeps_no_breaker_closed() {
    let store = Remote::down();
    let layer = RateLimitLayer::new(policy(&store, "api", "9/h")).breaker(Breaker::new(2, Duration::from_secs(600)));
    let service = layer.cost(|request| if request.uri.path() == "/big" { 99 } else { 1 }).layer(Ready::default());
    for _ in 0..5 {
        let big = Request::get("/big").body(String::new()).unwrap();
        let refused = service.clone().oneshot(big).await.unwrap().status();
        assert!([StatusCode::PAYLOAD_TOO_LARGE, StatusCode::SERVICE_UNAVAILABLE].contains(&refused));
        is_refused_without_a_quota(&send(&service).await);
    }
    assert_eq!(store.calls(), 2);
}

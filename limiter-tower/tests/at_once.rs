//! A limiter that bounds how many are at work at once: so many requests of a key, and no more.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Remote, field, problem, with_header};
use http::{HeaderName, Request, Response, StatusCode};
use limiter_core::{Limiter, MemoryStore, Store};
use limiter_tower::{Breaker, Format, HeaderKey, Policy, PolicyName, RateLimit, RateLimitLayer, StoreFailure};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Semaphore;
use tower::{Layer, Service, ServiceExt};

/// A service whose requests end when they are let go.
#[derive(Clone)]
struct Work(Arc<Semaphore>);

impl Work {
    fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets so many requests end.
    fn end(&self, requests: usize) {
        self.0.add_permits(requests);
    }
}

impl Service<Request<String>> for Work {
    type Response = Response<String>;
    type Error = &'static str;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<String>, &'static str>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), &'static str>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let work = Arc::clone(&self.0);
        Box::pin(async move {
            work.acquire().await.unwrap().forget();
            if request.headers().contains_key("x-fails") { Err("failed") } else { Ok(Response::new(String::new())) }
        })
    }
}

fn policy<S: Store>(store: &S, name: &str, at_once: usize) -> Policy<S> {
    let builder = Limiter::builder("100/h".parse().unwrap()).name(name).store(store.clone());
    let key = HeaderKey::new(HeaderName::from_static("x-user"));
    Policy::new(PolicyName::new(name).unwrap(), builder.at_once(at_once).build()).key(key)
}

fn by(user: &str) -> Request<String> {
    with_header("x-user", user)
}

type Call = tokio::task::JoinHandle<Result<Response<String>, &'static str>>;

/// A request that is at work, or refused, when this returns.
async fn begin<S: Store>(service: &RateLimit<Work, S>, request: Request<String>) -> Call {
    let call = tokio::spawn(service.clone().oneshot(request));
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    call
}

async fn is_refused<S: Store>(service: &RateLimit<Work, S>, user: &str) -> Response<String> {
    let refused = begin(service, by(user)).await;
    assert!(refused.is_finished(), "it is at work");
    let refused = refused.await.unwrap().unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&refused, "retry-after"), "", "nobody can say");
    refused
}

async fn so_many_of_a_key<S: Store>(store: S) {
    let work = Work::new();
    let policy = policy(&store, "api", 2);
    let limiter = policy.limiter().clone();
    let service = RateLimitLayer::new(policy).layer(work.clone());
    let first = [begin(&service, by("ada")).await, begin(&service, by("ada")).await];
    let refused = is_refused(&service, "ada").await;
    let detail = "2 requests are at work already, as many as may be at once; try again when one of them has ended.";
    assert_eq!(problem(&refused)["detail"], detail);
    assert_eq!(field(&refused, "ratelimit-policy"), r#""api";q=100;w=3600"#);
    assert_eq!(limiter.peek_async("ada").await.unwrap().remaining(), 98, "what is refused takes nothing");
    assert!(!begin(&service, by("bob")).await.is_finished(), "another key has places of its own");

    work.end(3);
    for done in first {
        assert_eq!(done.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert!(!begin(&service, by("ada")).await.is_finished());
    assert!(!begin(&service, by("ada")).await.is_finished());
    is_refused(&service, "ada").await;
}

#[tokio::test]
async fn so_many_requests_of_a_key_are_at_work_at_once_and_one_more_is_refused() {
    so_many_of_a_key(MemoryStore::new()).await;
    so_many_of_a_key(Remote::default()).await;
}

#[tokio::test]
async fn a_request_that_is_dropped_or_fails_or_is_denied_leaves_its_place() {
    let work = Work::new();
    let store = MemoryStore::new();
    let limiter = Limiter::builder("sliding_log 5/h".parse().unwrap()).store(store).at_once(1).build();
    let service = RateLimitLayer::new(limiter.clone()).layer(work.clone());
    let dropped = begin(&service, by("ada")).await;
    is_refused(&service, "ada").await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());

    let fails = begin(&service, with_header("x-fails", "")).await;
    is_refused(&service, "ada").await;
    work.end(1);
    assert_eq!(fails.await.unwrap().unwrap_err(), "failed");

    limiter.check_n((), 3).unwrap();
    for _ in 0..3 {
        let denied = service.clone().oneshot(by("ada")).await.unwrap();
        assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(!field(&denied, "retry-after").is_empty(), "for want of units, not of a place");
    }
}

#[tokio::test]
async fn each_policy_has_its_places_and_a_refusal_names_the_one_that_has_none() {
    let store = MemoryStore::new();
    let layer = RateLimitLayer::new(policy(&store, "many", 9)).policy(policy(&store, "few", 1)).unwrap();
    let service = layer.clone().layer(Work::new());
    let at_work = begin(&service, by("ada")).await;
    for _ in 0..20 {
        let refused = is_refused(&service, "ada").await;
        let detail = problem(&refused)["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with(r#"1 requests are at work already under "few","#), "{detail}");
    }
    let json = is_refused(&layer.clone().answer(Format::Json).layer(Work::new()), "ada").await.into_body();
    assert!(json.starts_with(r#"{"error":"too_many_at_once","message":""#), "{json}");
    let grpc = is_refused_by_grpc(&layer.answer(Format::Grpc).layer(Work::new())).await;
    assert_eq!(field(&grpc, "grpc-status"), "8"); // RESOURCE_EXHAUSTED
    drop(at_work);
}

async fn is_refused_by_grpc(service: &RateLimit<Work>) -> Response<String> {
    begin(service, by("ada")).await.await.unwrap().unwrap()
}

async fn waits<S: Store>(store: S) {
    let work = Work::new();
    let layer = RateLimitLayer::new(policy(&store, "api", 1));
    let patient = layer.wait_up_to(Duration::from_secs(60)).layer(work.clone());
    let at_work = begin(&patient, by("ada")).await;
    let next = begin(&patient, by("ada")).await;
    assert!(!next.is_finished());
    work.end(1);
    assert_eq!(at_work.await.unwrap().unwrap().status(), StatusCode::OK);
    assert!(!next.is_finished(), "it is at work, or still waits");
    work.end(1);
    assert_eq!(next.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn where_requests_wait_they_wait_for_a_place_too() {
    waits(MemoryStore::new()).await;
    waits(Remote::default()).await;
}

#[tokio::test]
async fn who_waits_for_a_place_in_vain_is_told_that_others_are_at_work() {
    let work = Work::new();
    let layer = RateLimitLayer::new(policy(&MemoryStore::new(), "api", 1));
    let service = layer.wait_up_to(Duration::from_millis(50)).layer(work.clone());
    let _at_work = begin(&service, by("ada")).await;
    let refused = begin(&service, by("ada")).await.await.unwrap().unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(problem(&refused)["detail"].as_str().unwrap().starts_with("1 requests are at work already"));
}

#[tokio::test]
async fn a_shadow_tells_what_would_be_refused_for_want_of_a_place() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    let layer = RateLimitLayer::new(policy(&MemoryStore::new(), "api", 1).shadow());
    let layer = layer.on_decision(move |event| lines.lock().unwrap().push(event.outcome().name()));
    let service = layer.layer(Work::new());
    for _ in 0..2 {
        assert!(!begin(&service, by("ada")).await.is_finished(), "nobody is refused");
    }
    assert_eq!(*log.lock().unwrap(), ["would admit", "would deny"]);
}

#[tokio::test]
async fn places_are_bounded_while_the_store_fails_too() {
    let paused = Breaker::new(1, Duration::from_secs(600));
    let cases = [StoreFailure::Allow, StoreFailure::DecideLocally].map(|then| [(then, Breaker::OFF), (then, paused)]);
    for (then, breaker) in cases.into_iter().flatten() {
        let layer = RateLimitLayer::new(policy(&Remote::down(), "api", 1)).on_store_failure(then);
        let service = layer.breaker(breaker).layer(Work::new());
        let at_work = begin(&service, by("ada")).await;
        assert!(!at_work.is_finished());
        is_refused(&service, "ada").await;
    }
}

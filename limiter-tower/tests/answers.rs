//! What clients are told: header fields, `Retry-After`, problem bodies.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Ready, field, problem, request};
use http::{HeaderMap, Response, StatusCode, request::Parts};
use limiter_core::{
    Clock, Decision, KeyState, Limiter, LimiterBuilder, LocalStore, ManualClock, Quota, StoreError, StoreErrorKind,
    Timestamp,
    http::{read_advice, retry_after_seconds},
    store::{Adjust, Demand, Scope},
};
use limiter_tower::{FieldSet, Generation, KeyError, PolicyName, RateLimitLayer};
use std::time::{Duration, SystemTime};
use tower::{Layer, ServiceExt};

type Service = limiter_tower::RateLimit<Ready>;

fn builder(quota: &str, clock: &ManualClock) -> LimiterBuilder {
    Limiter::builder(quota.parse().unwrap()).clock(clock.clone())
}

fn layer(quota: &str) -> RateLimitLayer {
    RateLimitLayer::new(builder(quota, &ManualClock::default()).build())
}

async fn send(service: &Service) -> Response<String> {
    service.clone().oneshot(request()).await.unwrap()
}

#[tokio::test]
async fn admissions_say_what_is_left() {
    let service = layer("3/h").layer(Ready::default());
    // Until all units are back; where none is left, until one is.
    for left in [r#""default";r=2;t=1200"#, r#""default";r=1;t=2400"#, r#""default";r=0;t=1200"#] {
        let response = send(&service).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.body(), "hello");
        assert_eq!(field(&response, "ratelimit-policy"), r#""default";q=3;w=3600"#);
        assert_eq!(field(&response, "ratelimit"), left);
        assert!(!response.headers().contains_key("retry-after"));
    }
}

#[tokio::test]
async fn a_denial_says_when_and_why() {
    let service = layer("1/h").policy_name(PolicyName::new("search").unwrap()).layer(Ready::default());
    send(&service).await;
    let denied = send(&service).await;
    assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&denied, "retry-after"), "3600");
    assert_eq!(field(&denied, "ratelimit-policy"), r#""search";q=1;w=3600"#);
    assert_eq!(field(&denied, "ratelimit"), r#""search";r=0;t=3600"#);
    let body = problem(&denied);
    assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(body["violated-policies"], serde_json::json!(["search"]));
}

#[tokio::test]
async fn only_the_rates_that_refuse_are_named() {
    let clock = ManualClock::default();
    let limiter = builder("sliding_log 2/s, 3/h", &clock).build();
    let service = RateLimitLayer::new(limiter).layer(Ready::default());
    let policies = r#""default-1s";q=2;w=1,"default-1h";q=3;w=3600"#;

    let admitted = send(&service).await;
    assert_eq!(field(&admitted, "ratelimit-policy"), policies);
    assert_eq!(field(&admitted, "ratelimit"), r#""default-1s";r=1;t=2,"default-1h";r=2;t=3601"#);
    send(&service).await;
    let short = send(&service).await;
    assert_eq!(field(&short, "ratelimit-policy"), policies);
    assert_eq!(field(&short, "ratelimit"), r#""default-1s";r=0;t=2"#);
    assert_eq!(problem(&short)["violated-policies"], serde_json::json!(["default-1s"]));

    clock.advance(Duration::from_secs(2));
    send(&service).await;
    let long = send(&service).await;
    assert_eq!(field(&long, "ratelimit"), r#""default-1h";r=0;t=3599"#);
    assert_eq!(problem(&long)["violated-policies"], serde_json::json!(["default-1h"]));
}

#[tokio::test]
async fn retry_after_is_never_zero_and_obeying_it_succeeds() {
    for quota in ["1/us", "1000/s burst 1", "3/s burst 1", "sliding_log 1/10ms", "fixed_window 1/1500ms", "1/2s"] {
        let clock = ManualClock::new(Timestamp::from_micros(1_234_567));
        let service = RateLimitLayer::new(builder(quota, &clock).build()).layer(Ready::default());
        send(&service).await;
        let denied = send(&service).await;
        assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS, "{quota}");
        let seconds: u64 = field(&denied, "retry-after").parse().unwrap();
        assert!(seconds >= 1, "{quota}");
        clock.advance(Duration::from_secs(seconds));
        assert_eq!(send(&service).await.status(), StatusCode::OK, "{quota}");
    }
}

#[tokio::test]
async fn fields_of_every_generation_agree_with_the_decision() {
    for generation in [Generation::Legacy, Generation::DraftA, Generation::DraftB, Generation::Structured] {
        let clock = ManualClock::default();
        let limiter = builder("sliding_log 2/h", &clock).build();
        let service = RateLimitLayer::new(limiter.clone()).fields(generation).layer(Ready::default());
        for _ in 0..3 {
            let before = limiter.peek(()).unwrap();
            let response = send(&service).await;
            assert_eq!(response.status() == StatusCode::OK, before.allowed());
            let after = limiter.peek_n((), 0).unwrap();
            let [advice] = &read_advice(SystemTime::now(), lines(response.headers()))[..] else {
                panic!("{generation:?}: one policy was sent, not {:?}", response.headers());
            };
            assert_eq!(advice.remaining, Some(after.remaining()), "{generation:?}");
            let reset = if before.allowed() { after.reset_after() } else { before.retry_after().unwrap() };
            assert_eq!(advice.reset_after, Some(Duration::from_secs(retry_after_seconds(reset))), "{generation:?}");
        }
    }
}

fn lines<'a>(headers: &'a HeaderMap) -> impl Fn(&'static str) -> Vec<&'a [u8]> {
    move |name| headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect()
}

#[tokio::test]
async fn without_fields_a_denial_still_says_when() {
    let service = layer("1/h").fields(FieldSet::NONE).layer(Ready::default());
    assert_eq!(send(&service).await.headers().len(), 0);
    let denied = send(&service).await;
    assert_eq!(field(&denied, "retry-after"), "3600");
    assert!(!denied.headers().contains_key("ratelimit") && !denied.headers().contains_key("ratelimit-policy"));
}

#[tokio::test]
async fn layers_around_one_another_all_have_their_say() {
    let named = |quota: &str, name: &str| layer(quota).policy_name(PolicyName::new(name).unwrap());
    let inner = named("1/h", "inner").layer(Ready::default());
    let service = named("9/h", "outer").layer(inner);
    let admitted = service.clone().oneshot(request()).await.unwrap();
    assert_eq!(field(&admitted, "ratelimit-policy"), r#""inner";q=1;w=3600,"outer";q=9;w=3600"#);
    assert_eq!(field(&admitted, "ratelimit"), r#""inner";r=0;t=3600,"outer";r=8;t=400"#);
    let denied = service.oneshot(request()).await.unwrap();
    assert_eq!(field(&denied, "ratelimit"), r#""inner";r=0;t=3600"#);
    assert_eq!(field(&denied, "retry-after"), "3600");
}

#[tokio::test]
async fn fields_with_room_for_one_policy_stay_single() {
    let inner = layer("1/h").fields([Generation::DraftA, Generation::Legacy]).layer(Ready::default());
    let service = layer("9/h").fields([Generation::DraftA, Generation::Legacy]).layer(inner);
    let response = service.oneshot(request()).await.unwrap();
    for (name, value) in [("ratelimit-limit", "1"), ("ratelimit-policy", "1;w=3600"), ("x-ratelimit-remaining", "0")] {
        assert_eq!(field(&response, name), value);
    }
}

#[tokio::test]
async fn a_cost_that_can_never_fit_is_413_without_retry_after() {
    let inner = Ready::default();
    let service = layer("3/h").cost(|_| 4).layer(inner.clone());
    let refused = send(&service).await;
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(!refused.headers().contains_key("retry-after"));
    assert_eq!(field(&refused, "ratelimit-policy"), r#""default";q=3;w=3600"#);
    let detail = problem(&refused)["detail"].to_string();
    assert!(detail.contains("cost of 4") && detail.contains("at most 3"), "{detail}");
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn a_cost_counts_in_the_quotas_units() {
    let service = layer("5/h").cost(|request| if request.method == "POST" { 3 } else { 0 }).layer(Ready::default());
    let post = || http::Request::post("/").body(String::new()).unwrap();
    assert_eq!(field(&service.clone().oneshot(post()).await.unwrap(), "ratelimit"), r#""default";r=2;t=2160"#);
    let denied = service.clone().oneshot(post()).await.unwrap();
    assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&denied, "ratelimit"), r#""default";r=2;t=720"#);
    assert_eq!(field(&send(&service).await, "ratelimit"), r#""default";r=2;t=2160"#);
}

#[tokio::test]
async fn a_blocked_key_is_denied_until_the_block_ends() {
    let limiter = builder("3/h", &ManualClock::default()).build();
    let service = RateLimitLayer::new(limiter.clone()).layer(Ready::default());
    limiter.block((), Duration::from_millis(90_500)).unwrap();
    let denied = send(&service).await;
    assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&denied, "retry-after"), "91");
    assert_eq!(field(&denied, "ratelimit"), r#""default";r=0;t=91"#);
    assert_eq!(problem(&denied)["violated-policies"], serde_json::json!(["default"]));
}

#[tokio::test]
async fn a_store_that_fails_is_503_and_never_429() {
    let inner = Ready::default();
    let limiter = Limiter::builder("3/h".parse().unwrap()).store(Broken).build();
    let response = RateLimitLayer::new(limiter).layer(inner.clone()).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let kind = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
    assert_eq!(problem(&response)["type"], kind);
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn a_key_that_cannot_be_had_is_answered_and_never_unlimited() {
    let inner = Ready::default();
    let no_session = |_: &Parts| Err::<u64, _>(KeyError::new("no \"session\" here"));
    let response = send(&layer("3/h").key(no_session).layer(inner.clone())).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(problem(&response)["detail"], "no \"session\" here");
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn a_quota_that_depends_on_the_key_is_announced_as_that_keys() {
    let (free, paid): (Quota, Quota) = ("2/h".parse().unwrap(), "100/min".parse().unwrap());
    let limiter = Limiter::by_key(move |key| if key == b"paid" { paid.clone() } else { free.clone() }).build();
    let service = RateLimitLayer::new(limiter)
        .key(|request: &Parts| request.uri.path().trim_start_matches('/').to_owned())
        .layer(Ready::default());
    for (path, policy) in [("/free", "q=2;w=3600"), ("/paid", "q=100;w=60"), ("/free", "q=2;w=3600")] {
        let mut request = request();
        *request.uri_mut() = path.parse().unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(field(&response, "ratelimit-policy"), format!(r#""default";{policy}"#));
    }
}

#[tokio::test]
async fn a_quota_changed_while_running_is_announced_at_once() {
    let limiter = Limiter::parse("5/h").unwrap();
    let service = RateLimitLayer::new(limiter.clone()).layer(Ready::default());
    assert_eq!(field(&send(&service).await, "ratelimit-policy"), r#""default";q=5;w=3600"#);
    limiter.set_quota("9/h".parse().unwrap());
    let response = send(&service).await;
    assert_eq!(field(&response, "ratelimit-policy"), r#""default";q=9;w=3600"#);
    assert!(field(&response, "ratelimit").starts_with(r#""default";r=7;"#), "what was in use stays in use");
}

/// A store whose disk is gone.
#[derive(Clone)]
struct Broken;

impl Broken {
    fn fail<T>() -> Result<T, StoreError> {
        Err(StoreError::new(StoreErrorKind::Unavailable))
    }
}

impl LocalStore for Broken {
    fn take(&self, _: &[Demand<'_>], _: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        Self::fail()
    }

    fn peek(&self, _: &[Demand<'_>], _: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        Self::fail()
    }

    fn adjust(&self, _: Demand<'_>, _: Adjust, _: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        Self::fail()
    }

    fn reset(&self, _: &Scope, _: &[u8]) -> Result<(), StoreError> {
        Self::fail()
    }

    fn sweep(&self, _: Option<&dyn Clock>) -> Result<usize, StoreError> {
        Self::fail()
    }

    fn now(&self, _: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
        Self::fail()
    }

    fn is_same(&self, _: &Self) -> bool {
        true
    }

    fn snapshot(&self, _: Demand<'_>, _: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
        None
    }
}

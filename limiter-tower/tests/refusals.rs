//! How requests that are not let through are answered: the ready-made formats, and hooks.

#![allow(clippy::unwrap_used)]

mod common;
mod support;

use common::{Ready, Remote, request};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, request::Parts};
use limiter_core::{Limiter, ManualClock, MemoryStore, Store};
use limiter_tower::{FieldSet, Format, Generation, KeyError, Policy, PolicyName, RateLimitLayer, Reason, Refusal};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use support::fields::{integer, strings};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::{Layer, ServiceExt};

/// A policy `search` of one request an hour, on virtual time.
fn search() -> RateLimitLayer {
    let limiter = Limiter::builder("1/h".parse().unwrap()).clock(ManualClock::default()).build();
    RateLimitLayer::new(limiter).policy_name(PolicyName::new("search").unwrap())
}

async fn send<S: Store>(layer: &RateLimitLayer<S>, request: Request<String>) -> Response<String> {
    layer.layer(Ready::default()).oneshot(request).await.unwrap()
}

/// The first refusal of each kind that the layer makes of its answers.
struct Refused {
    over: Response<String>,
    blocked: Response<String>,
    too_large: Response<String>,
    failed: Response<String>,
    no_key: Response<String>,
    forbidden: Response<String>,
}

impl Refused {
    async fn new(format: Format) -> Self {
        Self::by(|| format, request).await
    }

    async fn by<A: limiter_tower::Answer>(answer: impl Fn() -> A, request: fn() -> Request<String>) -> Self {
        let layer = search().answer(answer());
        send(&layer, request()).await;
        let over = send(&layer, request()).await;

        let limiter = Limiter::parse("1/h").unwrap();
        limiter.block((), Duration::from_secs(90)).unwrap();
        let blocked = send(&RateLimitLayer::new(limiter).answer(answer()), request()).await;

        let too_large = send(&search().cost(|_| 4).answer(answer()), request()).await;
        let down = Limiter::builder("1/h".parse().unwrap()).store(Remote::down()).build();
        let failed = send(&RateLimitLayer::new(down).answer(answer()), request()).await;
        let nobody =
            |_: &Parts| Err::<u64, _>(KeyError::new("no \"tenant\"\r\n100%").with_status(StatusCode::FORBIDDEN));
        let no_key = send(&search().key(nobody).answer(answer()), request()).await;
        let forbidden = send(&search().block(|_| true).answer(answer()), request()).await;
        Self { over, blocked, too_large, failed, no_key, forbidden }
    }

    fn all(&self) -> [&Response<String>; 6] {
        [&self.over, &self.blocked, &self.too_large, &self.failed, &self.no_key, &self.forbidden]
    }
}

#[tokio::test]
async fn every_format_has_the_same_status_and_header_fields() {
    let problems = Refused::new(Format::Problem).await;
    assert_eq!(problems.all().map(|answer| answer.status().as_u16()), [429, 429, 413, 503, 403, 403]);
    for format in [Format::Text, Format::Json, Format::Grpc, Format::ByRequest] {
        let refused = Refused::new(format).await;
        for (answer, problem) in refused.all().into_iter().zip(problems.all()) {
            assert!(answer.status() == problem.status() || format == Format::Grpc);
            for name in ["retry-after", "ratelimit", "ratelimit-policy", "cache-control"] {
                assert_eq!(answer.headers().get(name).is_some(), problem.headers().get(name).is_some(), "{name}");
            }
        }
        for (answer, problem) in [(&refused.over, &problems.over), (&refused.too_large, &problems.too_large)] {
            for name in ["retry-after", "ratelimit", "ratelimit-policy", "cache-control"] {
                assert_eq!(answer.headers().get(name), problem.headers().get(name), "{format:?}");
            }
        }
    }
}

#[tokio::test]
async fn plain_text_is_a_sentence() {
    let refused = Refused::new(Format::Text).await;
    assert!(refused.all().iter().all(|answer| answer.headers()["content-type"] == "text/plain; charset=utf-8"));
    assert_eq!(refused.over.body(), "Quota \"search\" is exceeded; try again in 3600 s.\n");
    assert_eq!(refused.blocked.body(), "Requests like this one are blocked; try again in 90 s.\n");
    let too_large = refused.too_large.body();
    assert!(too_large.contains("cost of 4") && too_large.contains("at most 1"), "{too_large}");
    assert_eq!(refused.failed.body(), "Requests cannot be counted at the moment.\n");
    assert_eq!(refused.no_key.body(), "no \"tenant\"\r\n100%\n");
    assert_eq!(refused.forbidden.body(), "Requests like this one are blocked.\n");
}

#[tokio::test]
async fn json_has_what_a_program_needs() {
    let refused = Refused::new(Format::Json).await;
    assert!(refused.all().iter().all(|answer| answer.headers()["content-type"] == "application/json"));
    let body = |answer: &Response<String>| serde_json::from_str::<Value>(answer.body()).unwrap();
    let message = "Quota \"search\" is exceeded; try again in 3600 s.";
    let over =
        json!({ "error": "quota_exceeded", "message": message, "retry_after": 3600, "violated_policies": ["search"] });
    assert_eq!(body(&refused.over), over);
    assert_eq!(
        (&body(&refused.blocked)["error"], &body(&refused.blocked)["retry_after"]),
        (&json!("blocked"), &json!(90))
    );
    assert_eq!(body(&refused.too_large)["error"], "cost_too_large");
    let failed =
        json!({ "error": "temporary_reduced_capacity", "message": "Requests cannot be counted at the moment." });
    assert_eq!(body(&refused.failed), failed);
    assert_eq!(body(&refused.forbidden)["error"], "forbidden");
    assert_eq!(body(&refused.no_key), json!({ "error": "no_key", "message": "no \"tenant\"\r\n100%" }));
}

/// The status as tonic reads it.
fn status(answer: &Response<String>) -> Status {
    assert_eq!((answer.status(), answer.body().as_str()), (StatusCode::OK, ""), "trailers only");
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    Status::from_header_map(answer.headers()).unwrap()
}

#[tokio::test]
async fn grpc_is_a_status_that_tonic_reads() {
    let refused = Refused::new(Format::Grpc).await;
    let over = status(&refused.over);
    assert_eq!(over.code(), Code::ResourceExhausted);
    assert_eq!(over.message(), "Quota \"search\" is exceeded; try again in 3600 s.");
    assert_eq!(over.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(3600)));
    assert_eq!(refused.over.headers()["grpc-retry-pushback-ms"], "3600000");

    let blocked = status(&refused.blocked);
    assert_eq!(blocked.code(), Code::ResourceExhausted);
    assert_eq!(blocked.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(90)));

    let too_large = status(&refused.too_large);
    assert_eq!(too_large.code(), Code::ResourceExhausted);
    assert!(too_large.get_details_retry_info().is_none());
    assert_eq!(refused.too_large.headers()["grpc-retry-pushback-ms"], "-1", "waiting is no use");

    assert_eq!(status(&refused.failed).code(), Code::Unavailable);
    assert_eq!(status(&refused.forbidden).code(), Code::PermissionDenied);
    let no_key = status(&refused.no_key);
    assert_eq!((no_key.code(), no_key.message()), (Code::PermissionDenied, "no \"tenant\"\r\n100%"));
    assert_eq!(refused.no_key.headers()["grpc-message"], "no \"tenant\"%0D%0A100%25", "nothing ends a header");
}

#[tokio::test]
async fn grpc_answers_in_the_content_type_it_was_asked_in() {
    for content in ["application/grpc+proto", "application/grpc-web", "application/grpc-web+proto"] {
        let layer = search().answer(Format::ByRequest);
        let ask = || Request::post("/").header("content-type", content).body(String::new()).unwrap();
        send(&layer, ask()).await;
        let denied = send(&layer, ask()).await;
        assert_eq!((denied.status(), &denied.headers()["content-type"]), (StatusCode::OK, &content.parse().unwrap()));
        assert_eq!(denied.headers()["grpc-status"], "8");
    }
}

#[tokio::test]
async fn a_request_chooses_its_answer_where_it_may() {
    for (accept, content_type) in [
        ("*/*", "application/problem+json"),
        ("application/json", "application/json"),
        ("text/plain, application/json;q=0.5", "text/plain; charset=utf-8"),
        ("text/html, */*;q=0.1", "application/problem+json"),
    ] {
        for (format, expected) in [(Format::ByRequest, content_type), (Format::Problem, "application/problem+json")] {
            let layer = search().answer(format);
            let ask = || Request::get("/").header("accept", accept).body(String::new()).unwrap();
            send(&layer, ask()).await;
            let denied = send(&layer, ask()).await;
            assert_eq!(denied.headers()["content-type"], expected, "{accept}");
            assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
        }
    }
}

#[tokio::test]
async fn a_hook_is_told_everything_and_makes_any_response() {
    let hook = |refusal: Refusal<'_>| {
        let reason = match refusal.reason() {
            Reason::Denied(verdict) => format!("denied, {} left", verdict.remaining()),
            Reason::Blocked(verdict) => format!("blocked for {} s", verdict.blocked_for().as_secs_f64().ceil()),
            Reason::CostTooLarge { cost, capacity, .. } => format!("{cost} of {capacity}"),
            Reason::StoreFailed(error) => format!("failed: {error}"),
            Reason::NoKey(error) => format!("no key: {}", error.status()),
            Reason::Forbidden => "forbidden".to_owned(),
            _ => unreachable!("no other reason"),
        };
        let violated: Vec<_> = refusal.violated().map(PolicyName::as_str).collect();
        let path = refusal.request().uri.path();
        let text = format!(
            "{path} {} {reason} {violated:?} {:?}",
            refusal.status().as_u16(),
            refusal.retry_after().map(|wait| wait.as_secs())
        );
        Response::builder().status(StatusCode::IM_A_TEAPOT).header("x-own", "1").body(text).unwrap()
    };
    let refused = Refused::by(|| hook, || Request::get("/path").body(String::new()).unwrap()).await;
    for answer in refused.all() {
        assert_eq!((answer.status(), answer.headers().len()), (StatusCode::IM_A_TEAPOT, 1), "nothing but the hook's");
    }
    assert_eq!(refused.over.body(), "/path 429 denied, 0 left [\"search\"] Some(3600)");
    assert_eq!(refused.blocked.body(), "/path 429 blocked for 90 s [\"default\"] Some(90)");
    assert_eq!(refused.too_large.body(), "/path 413 4 of 1 [] None");
    assert!(refused.failed.body().starts_with("/path 503 failed: "), "{}", refused.failed.body());
    assert_eq!(refused.forbidden.body(), "/path 403 forbidden [] None");
    assert_eq!(refused.no_key.body(), "/path 403 no key: 403 Forbidden [] None");
}

#[tokio::test]
async fn a_hook_keeps_or_replaces_what_was_computed() {
    let hook = |refusal: Refusal<'_>| match refusal.reason() {
        Reason::Denied(_) => {
            let mut response = refusal.respond(HeaderValue::from_static("text/html"), "<p>Slow down.");
            response.headers_mut().remove("ratelimit-policy");
            response
        }
        _ => Response::new("other"),
    };
    let layer = search().answer(hook);
    send(&layer, request()).await;
    let denied = send(&layer, request()).await;
    assert_eq!((denied.status(), denied.body().as_str()), (StatusCode::TOO_MANY_REQUESTS, "<p>Slow down."));
    let mut names: Vec<_> = denied.headers().keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["cache-control", "content-type", "ratelimit", "retry-after"]);
}

#[tokio::test]
async fn the_policy_whose_quota_is_too_small_is_named() {
    let store = MemoryStore::new();
    let limiter = |name: &str, quota: &str| {
        Limiter::builder(quota.parse().unwrap()).name(name).store(store.clone()).clock(ManualClock::default()).build()
    };
    let policy = |name: &str, quota: &str| Policy::new(PolicyName::new(name).unwrap(), limiter(name, quota));
    let hook = |refusal: Refusal<'_>| match refusal.reason() {
        Reason::CostTooLarge { policy, cost, capacity } => Response::new(format!("{policy:?} {cost} {capacity}")),
        _ => refusal.respond_as(Format::Text),
    };
    let layer = RateLimitLayer::new(policy("a", "9/h")).policy(policy("b", "2/h").cost(|_| 3)).unwrap();
    let refused = send(&layer.clone().answer(hook), request()).await;
    assert!(refused.body().contains("\"b\"") && refused.body().ends_with("3 2"), "{}", refused.body());
    let refused = send(&layer.answer(Format::Text), request()).await;
    assert!(refused.body().starts_with("policy \"b\": "), "{}", refused.body());
}

#[tokio::test]
async fn policies_that_denied_are_all_named() {
    let store = MemoryStore::new();
    let policy = |name: &str, quota: &str| {
        let limiter = Limiter::builder(quota.parse().unwrap()).name(name).store(store.clone());
        Policy::new(PolicyName::new(name).unwrap(), limiter.clock(ManualClock::default()).build())
    };
    let layer = RateLimitLayer::new(policy("a", "1/h")).policy(policy("b", "9/h")).unwrap();
    let layer = layer.policy(policy("c", "1/day")).unwrap().answer(Format::Text);
    send(&layer, request()).await;
    let denied = send(&layer, request()).await;
    assert_eq!(denied.body(), "Quotas \"a\", \"c\" are exceeded; try again in 86400 s.\n");
    assert_eq!(integer(denied.headers(), "retry-after"), 86_400);
}

#[tokio::test]
async fn fields_can_be_kept_for_denials() {
    let all: FieldSet = [Generation::Structured, Generation::DraftA, Generation::Legacy].into();
    let layer = search().fields(all).fields_on_denials_only();
    assert_eq!(send(&layer, request()).await.headers(), &HeaderMap::new());
    let denied = send(&layer, request()).await;
    for name in ["retry-after", "ratelimit", "ratelimit-policy", "ratelimit-reset", "x-ratelimit-remaining"] {
        assert!(denied.headers().contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn jitter_only_ever_adds_and_who_obeys_is_admitted() {
    let clock = ManualClock::default();
    let limiter = Limiter::builder("1/10s".parse().unwrap()).clock(clock.clone()).build();
    let layer = RateLimitLayer::new(limiter).retry_jitter(Duration::from_secs(20));
    let mut told = BTreeSet::new();
    for _ in 0..200 {
        assert_eq!(send(&layer, request()).await.status(), StatusCode::OK, "who waits as told is admitted");
        let denied = send(&layer, request()).await;
        let seconds = integer(denied.headers(), "retry-after");
        assert!((10..=30).contains(&seconds), "{seconds}");
        assert_eq!(strings(denied.headers(), "ratelimit")[0].parameters["t"], 10, "the window is what it is");
        told.insert(seconds);
        clock.advance(Duration::from_secs(seconds));
    }
    assert!(told.len() > 12, "{told:?}");
}

#[tokio::test]
async fn jitter_beyond_all_bounds_is_no_trouble() {
    let layer = search().retry_jitter(Duration::MAX);
    send(&layer, request()).await;
    let denied = send(&layer, request()).await;
    let seconds: u64 = denied.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(seconds >= 3_600, "{seconds}");
}

//! A client that learns how fast it may ask hosts that no rule is for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{client, closed};
use limiter_core::{Error, Limiter};
use limiter_reqwest::{Limits, MaxWait, RateLimitError, RateLimitMiddleware, learn::Learning};
use std::time::{Duration, Instant};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

async fn server(answers: &[ResponseTemplate]) -> MockServer {
    let server = MockServer::start().await;
    for answer in answers {
        Mock::given(any()).respond_with(answer.clone()).up_to_n_times(1).mount(&server).await;
    }
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    server
}

fn refusal() -> ResponseTemplate {
    ResponseTemplate::new(429)
}

fn limits(learning: Learning) -> RateLimitMiddleware {
    Limits::new(Limiter::parse("1000/s").unwrap()).learn(learning)
}

async fn learned(limits: &RateLimitMiddleware, server: &MockServer) -> limiter_reqwest::learn::Learned {
    limits.status(&server.uri().parse().unwrap()).await.unwrap().unwrap().learned.expect("a learned pace")
}

#[tokio::test]
async fn requests_are_paced_and_a_host_that_refuses_none_is_asked_faster() {
    let server = server(&[]).await;
    let limits = limits(Learning::default().start(20.0));
    let client = client(limits.clone());
    let begun = Instant::now();
    for _ in 0..10 {
        assert_eq!(client.get(server.uri()).send().await.unwrap().status(), 200);
    }
    // Had each waited no longer than the last, that was a quarter faster than the one before.
    assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
    let learned = learned(&limits, &server).await;
    assert!(learned.rate > 20.0 && learned.limit.is_none() && !learned.stopped, "{learned:?}");
}

#[tokio::test]
async fn what_a_rule_tells_is_not_learned_and_the_quota_holds_as_well() {
    let server = server(&[]).await;
    let told = Limits::new(Limiter::parse("1000/s").unwrap())
        .host("127.0.0.1", Limiter::parse("100/s").unwrap())
        .learn(Learning::default());
    client(told.clone()).get(server.uri()).send().await.unwrap();
    assert!(told.status(&server.uri().parse().unwrap()).await.unwrap().unwrap().learned.is_none());

    let capped = Limits::new(Limiter::parse("sliding_log 2/min").unwrap()).learn(Learning::default().start(1000.0));
    let client = client(capped.clone().max_wait(Duration::from_secs(5)));
    for _ in 0..2 {
        client.get(server.uri()).send().await.unwrap();
    }
    let error = client.get(server.uri()).send().await.unwrap_err();
    assert!(RateLimitError::find(&error).unwrap().needed() > Some(Duration::from_secs(5)), "{error}");
    assert!(!learned(&capped, &server).await.stopped);
}

#[tokio::test]
async fn a_refusal_that_names_no_pause_stops_the_host_until_one_is_admitted() {
    for status in [429, 503] {
        let server = server(&[ResponseTemplate::new(status), ResponseTemplate::new(status)]).await;
        let limits = limits(Learning::default().start(5.0));
        let client = client(limits.clone());
        let begun = Instant::now();
        assert_eq!(client.get(server.uri()).send().await.unwrap().status(), status);
        assert!(learned(&limits, &server).await.stopped, "{status}");
        assert_eq!(client.get(server.uri()).send().await.unwrap().status(), status);
        assert_eq!(client.get(server.uri()).send().await.unwrap().status(), 200);
        // 1/5 of a second, and twice that.
        assert!(begun.elapsed() >= Duration::from_millis(600), "{:?}", begun.elapsed());
        let learned = learned(&limits, &server).await;
        assert!(!learned.stopped && learned.rate < 5.0 && learned.limit.is_some(), "{learned:?}");
    }
}

#[tokio::test]
async fn a_pause_that_is_named_is_kept() {
    let server = server(&[refusal().insert_header("retry-after", "2")]).await;
    let limits = limits(Learning::default().start(100.0));
    let client = client(limits.clone());
    let begun = Instant::now();
    assert_eq!(client.get(server.uri()).send().await.unwrap().status(), 429);
    let impatient = client.get(server.uri()).with_extension(MaxWait(Duration::from_secs(1))).send().await.unwrap_err();
    let reason = RateLimitError::find(&impatient).unwrap().reason();
    assert!(matches!(reason, Error::WaitTooLong { .. }), "{reason}");
    assert_eq!(client.get(server.uri()).send().await.unwrap().status(), 200);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_was_refused_is_sent_again_at_the_learned_pace() {
    let server = server(&[refusal(), refusal()]).await;
    let client = client(limits(Learning::default().start(10.0)).resend(2));
    let begun = Instant::now();
    assert_eq!(client.get(server.uri()).send().await.unwrap().status(), 200);
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_request_that_is_given_up_or_finds_nobody_holds_no_other() {
    let slow = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_delay(Duration::from_secs(60));
    Mock::given(any()).respond_with(refusal()).up_to_n_times(1).mount(&slow).await;
    Mock::given(any()).respond_with(answer).up_to_n_times(1).mount(&slow).await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&slow).await;
    let limits = limits(Learning::default().start(10.0));
    let client = client(limits.clone());
    assert_eq!(client.get(slow.uri()).send().await.unwrap().status(), 429);
    let trial = tokio::time::timeout(Duration::from_millis(500), client.get(slow.uri()).send()).await;
    assert!(trial.is_err(), "an answer");
    assert_eq!(client.get(slow.uri()).send().await.unwrap().status(), 200);

    let (_port, closed) = closed();
    let closed = format!("http://{closed}");
    for _ in 0..3 {
        assert!(client.get(&closed).send().await.unwrap_err().is_connect());
    }
    let status = limits.status(&closed.parse().unwrap()).await.unwrap().unwrap();
    assert!(!status.learned.unwrap().stopped && status.in_flight == 0 && status.waiting == 0);
}

//! What is refused is sent again after the pause, as often as was asked for and where it can be.
#![allow(clippy::unwrap_used)]

mod common;

use common::{client, eventually, plain_client, virtual_limiter, waiting};
use limiter_core::{Limiter, ManualClock};
use limiter_reqwest::{Limits, MaxWait, RateLimitError, host_key};
use reqwest::{Body, StatusCode};
use reqwest_middleware::ClientBuilder;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

const SECOND: Duration = Duration::from_secs(1);

fn refusal(status: u16) -> ResponseTemplate {
    ResponseTemplate::new(status).insert_header("retry-after", "5")
}

/// A server that refuses its first `times` requests with `answer`.
async fn server(answer: ResponseTemplate, times: u64) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).up_to_n_times(times).mount(&server).await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    server
}

struct World {
    limits: Limits,
    limiter: Limiter,
    clock: ManualClock,
    server: MockServer,
}

impl World {
    async fn new(set: impl FnOnce(Limits) -> Limits, answer: ResponseTemplate, times: u64) -> Self {
        let (limiter, clock) = virtual_limiter("sliding_log 100/h");
        let limits = set(Limits::new(limiter.clone()).max_wait(Duration::from_secs(3600)));
        Self { limits, limiter, clock, server: server(answer, times).await }
    }

    /// The status that `request` ends with, while each wait passes at once.
    async fn answer(&self, request: reqwest_middleware::RequestBuilder) -> u16 {
        let task = tokio::spawn(request.send());
        loop {
            if task.is_finished() {
                return task.await.unwrap().unwrap().status().as_u16();
            }
            if waiting(&self.limits, &self.server.uri()).await > 0 {
                self.clock.advance(SECOND);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn post(&self) -> reqwest_middleware::RequestBuilder {
        client(self.limits.clone()).post(self.server.uri()).body("body")
    }

    async fn bodies(&self) -> Vec<String> {
        let requests = self.server.received_requests().await.unwrap();
        requests.iter().map(|request| String::from_utf8(request.body.clone()).unwrap()).collect()
    }

    fn used(&self) -> u64 {
        100 - self.limiter.peek(host_key(&self.server.uri().parse().unwrap())).unwrap().rates()[0].remaining()
    }
}

#[tokio::test]
async fn what_is_refused_is_sent_again_after_the_pause_and_charged_again() {
    for status in [429, 503, 413] {
        let world = World::new(|limits| limits.resend(1), refusal(status), 1).await;
        assert_eq!(world.answer(world.post()).await, 200, "{status}");
        assert_eq!(world.bodies().await, ["body"; 2], "{status}");
        assert_eq!(world.used(), 2, "{status}");
    }
}

#[tokio::test]
async fn after_so_many_times_the_answer_is_passed_on() {
    let world = World::new(|limits| limits.resend(2), refusal(429), 5).await;
    assert_eq!(world.answer(world.post()).await, 429);
    assert_eq!((world.bodies().await.len(), world.used()), (3, 3));
}

#[tokio::test]
async fn without_being_asked_nothing_is_sent_again() {
    let world = World::new(|limits| limits, refusal(429), 5).await;
    assert_eq!(world.answer(world.post()).await, 429);
    assert_eq!(world.bodies().await.len(), 1);
}

#[tokio::test]
async fn what_was_not_refused_is_not_sent_again() {
    let used_up = ResponseTemplate::new(200).insert_header("ratelimit", r#""default";r=0;t=5"#);
    for answer in [used_up, ResponseTemplate::new(503), ResponseTemplate::new(500).insert_header("retry-after", "5")] {
        let world = World::new(|limits| limits.resend(3), answer, 1).await;
        world.answer(world.post()).await;
        assert_eq!(world.bodies().await.len(), 1);
    }
}

#[tokio::test]
async fn a_pause_that_is_longer_than_the_longest_wait_passes_the_answer_on_at_once() {
    let world = World::new(|limits| limits.resend(3).max_wait(4 * SECOND), refusal(429), 1).await;
    assert_eq!(world.answer(world.post()).await, 429);
    assert_eq!((world.bodies().await.len(), world.used()), (1, 1));
    // As a request that comes now is told.
    let error = world.post().with_extension(MaxWait(SECOND)).send().await.unwrap_err();
    assert!(RateLimitError::find(&error).unwrap().needed() >= Some(5 * SECOND));
}

#[tokio::test]
async fn with_pauses_ignored_the_answer_is_passed_on() {
    let world = World::new(|limits| limits.resend(3).max_pause(Duration::ZERO), refusal(429), 1).await;
    assert_eq!(world.answer(world.post()).await, 429);
    assert_eq!(world.bodies().await.len(), 1);
}

/// One piece, and the end.
struct Piece(Option<&'static [u8]>);

impl futures_core::Stream for Piece {
    type Item = Result<&'static [u8], Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}

#[tokio::test]
async fn a_streamed_body_is_sent_once_and_its_refusal_passed_on() {
    let world = World::new(|limits| limits.resend(3), refusal(429), 1).await;
    let streamed =
        || client(world.limits.clone()).post(world.server.uri()).body(Body::wrap_stream(Piece(Some(b"piece"))));
    assert_eq!(world.answer(streamed()).await, 429);
    assert_eq!(world.answer(streamed()).await, 200);
    assert_eq!((world.bodies().await, world.used()), (vec!["piece".to_owned(); 2], 2));
}

#[tokio::test]
async fn a_request_dropped_before_it_is_sent_again_takes_nothing_more() {
    let world = World::new(|limits| limits.resend(1), refusal(429), 1).await;
    let task = tokio::spawn(world.post().send());
    eventually("it waits to be sent again", || {
        world.limiter.peek(host_key(&world.server.uri().parse().unwrap())).unwrap().blocked_for() > Duration::ZERO
    })
    .await;
    while waiting(&world.limits, &world.server.uri()).await == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    world.clock.advance(60 * SECOND);
    assert_eq!((world.bodies().await.len(), world.used()), (1, 1));
    assert_eq!(waiting(&world.limits, &world.server.uri()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_network_in_real_time_too() {
    let server = server(ResponseTemplate::new(429).insert_header("retry-after", "1"), 1).await;
    let limits = Limits::new(Limiter::parse("sliding_log 100/s").unwrap()).resend(1);
    let client = ClientBuilder::new(plain_client()).with(limits).build();
    let started = Instant::now();
    assert_eq!(client.get(server.uri()).send().await.unwrap().status(), StatusCode::OK);
    assert!(started.elapsed() > Duration::from_millis(950));
}

//! Of what reqwest follows by itself, the first host and the last are charged; followed by the limits, or by hand, each
//! hop is.
#![allow(clippy::unwrap_used)]

mod common;

use common::{closed, plain_client, virtual_limiter};
use limiter_core::Limiter;
use limiter_reqwest::{Limits, RateLimitError, host_key};
use reqwest::{Body, Client, redirect::Policy};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use std::time::Duration;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{any, path},
};

/// A server that sends everybody on to another, which asks for a pause.
async fn servers() -> (MockServer, MockServer) {
    let (from, to) = (MockServer::start().await, MockServer::start().await);
    let moved = ResponseTemplate::new(302).insert_header("location", to.uri().as_str());
    Mock::given(any()).respond_with(moved).mount(&from).await;
    let busy = ResponseTemplate::new(503).insert_header("retry-after", "5");
    Mock::given(any()).respond_with(busy).mount(&to).await;
    (from, to)
}

fn limited(client: Client) -> (ClientWithMiddleware, Limiter) {
    let (limiter, _) = virtual_limiter("sliding_log 10/min");
    (ClientBuilder::new(client).with(Limits::new(limiter.clone())).build(), limiter)
}

/// A client that leaves redirects to the limits.
fn following(times: u32) -> (ClientWithMiddleware, Limiter) {
    let (limiter, _) = virtual_limiter("sliding_log 10/min");
    let client = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
    let limits = Limits::new(limiter.clone()).follow_redirects(times).max_wait(Duration::ZERO);
    (ClientBuilder::new(client).with(limits).build(), limiter)
}

async fn sent_on(status: u16, to: &str) -> MockServer {
    let server = MockServer::start().await;
    let moved = ResponseTemplate::new(status).insert_header("location", to);
    Mock::given(any()).respond_with(moved).mount(&server).await;
    server
}

async fn welcoming() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    server
}

/// Units in use of a host, and its pause.
fn standing(limiter: &Limiter, server: &MockServer) -> (u64, Duration) {
    let decision = limiter.peek(host_key(&server.uri().parse().unwrap())).unwrap();
    (10 - decision.rates()[0].remaining(), decision.blocked_for())
}

#[tokio::test]
async fn followed_by_reqwest_the_first_host_waits_and_the_last_is_charged_and_paused() {
    let (from, to) = servers().await;
    let (client, limiter) = limited(plain_client());
    assert_eq!(client.get(from.uri()).send().await.unwrap().status(), 503);
    assert_eq!(standing(&limiter, &from), (1, Duration::ZERO));
    assert_eq!(standing(&limiter, &to), (1, Duration::from_secs(5)));
}

#[tokio::test]
async fn what_another_host_refused_is_not_sent_to_the_first_again() {
    let (from, to) = servers().await;
    let (limiter, _) = virtual_limiter("sliding_log 10/min");
    let client = ClientBuilder::new(plain_client()).with(Limits::new(limiter).resend(3)).build();
    assert_eq!(client.get(from.uri()).send().await.unwrap().status(), 503);
    assert_eq!(to.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn who_is_sent_on_to_a_host_that_is_down_has_still_asked_the_first() {
    let server = MockServer::start().await;
    let (_port, closed) = closed();
    let moved = ResponseTemplate::new(302).insert_header("location", format!("http://{closed}/"));
    Mock::given(any()).respond_with(moved).mount(&server).await;
    let (client, limiter) = limited(plain_client());
    for _ in 0..3 {
        assert!(client.get(server.uri()).send().await.unwrap_err().is_connect());
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 3);
    assert_eq!(standing(&limiter, &server), (3, Duration::ZERO));
}

#[tokio::test]
async fn a_hop_within_one_host_is_another_request_there() {
    let server = MockServer::start().await;
    let moved = ResponseTemplate::new(302).insert_header("location", "/new");
    Mock::given(path("/old")).respond_with(moved).mount(&server).await;
    Mock::given(path("/new")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let (client, limiter) = limited(plain_client());
    assert_eq!(client.get(format!("{}/old", server.uri())).send().await.unwrap().status(), 200);
    assert_eq!(standing(&limiter, &server), (2, Duration::ZERO));
    // Neither of these is a hop.
    assert_eq!(client.get(format!("{}/new?a=|#b", server.uri())).send().await.unwrap().status(), 200);
    assert_eq!(standing(&limiter, &server), (3, Duration::ZERO));
}

#[tokio::test]
async fn a_hop_to_a_host_with_a_limiter_of_its_own_is_charged_there_whatever_the_key() {
    let (from, _to) = servers().await;
    let (limiter, _) = virtual_limiter("sliding_log 10/min");
    let (of_one, _) = virtual_limiter("sliding_log 10/min");
    let limits = Limits::new(limiter.clone()).host(from.address().to_string(), of_one.clone()).shared();
    let client = ClientBuilder::new(plain_client()).with(limits).build();
    assert_eq!(client.get(from.uri()).send().await.unwrap().status(), 503);
    let (first, last) = (of_one.peek(()).unwrap(), limiter.peek(()).unwrap());
    assert_eq!((first.remaining(), first.blocked_for()), (9, Duration::ZERO));
    assert_eq!((last.rates()[0].remaining(), last.blocked_for()), (9, Duration::from_secs(5)));
}

#[tokio::test]
async fn followed_by_hand_each_host_is_charged_and_paused_for_itself() {
    let (from, to) = servers().await;
    let (client, limiter) = limited(Client::builder().no_proxy().redirect(Policy::none()).build().unwrap());
    let moved = client.get(from.uri()).send().await.unwrap();
    let next = moved.url().join(moved.headers()["location"].to_str().unwrap()).unwrap();
    assert_eq!(client.get(next).send().await.unwrap().status(), 503);
    assert_eq!(standing(&limiter, &from), (1, Duration::ZERO));
    assert_eq!(standing(&limiter, &to), (1, Duration::from_secs(5)));
}

#[tokio::test]
async fn followed_by_the_limits_each_host_on_the_way_is_charged_and_paused_for_itself() {
    let (from, to) = servers().await;
    let first = sent_on(302, &from.uri()).await;
    let (client, limiter) = following(5);
    let answer = client.get(first.uri()).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.url().port()), (503, Some(to.address().port())));
    assert_eq!(standing(&limiter, &first), (1, Duration::ZERO));
    assert_eq!(standing(&limiter, &from), (1, Duration::ZERO));
    assert_eq!(standing(&limiter, &to), (1, Duration::from_secs(5)));
}

#[tokio::test]
async fn a_hop_that_would_have_to_wait_too_long_is_not_sent_and_the_error_names_its_host() {
    let busy = welcoming().await;
    let first = sent_on(302, &busy.uri()).await;
    let (client, limiter) = following(5);
    for _ in 0..10 {
        assert!(limiter.check(host_key(&busy.uri().parse().unwrap())).unwrap().allowed());
    }
    let error = client.get(first.uri()).send().await.unwrap_err();
    let limited = RateLimitError::find(&error).unwrap();
    assert_eq!(limited.host(), busy.address().to_string());
    assert!(limited.needed() > Some(Duration::from_secs(50)), "{limited}");
    assert!(busy.received_requests().await.unwrap().is_empty());
    assert_eq!(standing(&limiter, &first), (1, Duration::ZERO));
}

#[tokio::test]
async fn a_body_goes_along_where_it_may_and_can() {
    let (client, _) = following(5);
    let stream = || Body::wrap_stream(futures_of(["a", "b"]));
    for (status, body, expected) in [
        (307, Body::from("ab"), Some(("POST", "ab"))),
        (308, Body::from("ab"), Some(("POST", "ab"))),
        (302, Body::from("ab"), Some(("GET", ""))),
        (303, stream(), Some(("GET", ""))),
        (307, stream(), None), // it is gone
    ] {
        let to = welcoming().await;
        let from = sent_on(status, &to.uri()).await;
        let post = client.post(from.uri()).header("content-type", "text/plain").body(body);
        let answer = post.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), if expected.is_some() { 200 } else { status });
        let received = to.received_requests().await.unwrap();
        let seen =
            received.first().map(|request| (request.method.as_str(), std::str::from_utf8(&request.body).unwrap()));
        assert_eq!(seen, expected, "{status}");
        let typed = received.first().is_some_and(|request| request.headers.contains_key("content-type"));
        assert_eq!(typed, expected.is_some_and(|(method, _)| method == "POST"), "{status}");
    }
}

fn futures_of(parts: [&'static str; 2]) -> impl futures_core::Stream<Item = Result<&'static str, std::io::Error>> {
    struct Parts(std::array::IntoIter<&'static str, 2>);
    impl futures_core::Stream for Parts {
        type Item = Result<&'static str, std::io::Error>;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            std::task::Poll::Ready(self.0.next().map(Ok))
        }
    }
    Parts(parts.into_iter())
}

#[tokio::test]
async fn what_is_meant_for_one_host_is_told_no_other() {
    let (client, _) = following(5);
    let elsewhere = welcoming().await;
    let server = MockServer::start().await;
    let moved = |to: &str| ResponseTemplate::new(302).insert_header("location", to);
    Mock::given(path("/here")).respond_with(moved("/there")).mount(&server).await;
    Mock::given(path("/there")).respond_with(moved(&elsewhere.uri())).mount(&server).await;
    let get = client.get(format!("{}/here", server.uri())).bearer_auth("secret").header("cookie", "a=b");
    assert_eq!(get.header("accept", "text/plain").send().await.unwrap().status(), 200);
    for (request, is_told) in server.received_requests().await.unwrap().iter().zip([true, true]) {
        assert_eq!(request.headers.contains_key("authorization") && request.headers.contains_key("cookie"), is_told);
    }
    let told = &elsewhere.received_requests().await.unwrap()[0].headers;
    assert!(!told.contains_key("authorization") && !told.contains_key("cookie") && !told.contains_key("referer"));
    assert_eq!(
        (&told["accept"], told["host"].to_str().unwrap()),
        (&"text/plain".parse().unwrap(), elsewhere.address().to_string().as_str())
    );
}

#[tokio::test]
async fn a_loop_ends_and_its_last_answer_is_passed_on() {
    let round = sent_on(302, "/again").await;
    for (times, sent) in [(0, 1), (1, 2), (4, 5)] {
        let (client, limiter) = following(times);
        assert_eq!(client.get(round.uri()).send().await.unwrap().status(), 302);
        assert_eq!(standing(&limiter, &round), (sent, Duration::ZERO));
    }
    let nowhere = sent_on(302, "mailto:ada@a.example").await;
    assert_eq!(following(5).0.get(nowhere.uri()).send().await.unwrap().status(), 302);
}

#[tokio::test]
async fn a_refused_hop_is_sent_again_and_then_followed() {
    let to = welcoming().await;
    let server = MockServer::start().await;
    let refused = ResponseTemplate::new(429).insert_header("retry-after", "0");
    Mock::given(any()).respond_with(refused).up_to_n_times(1).mount(&server).await;
    let moved = ResponseTemplate::new(302).insert_header("location", to.uri().as_str());
    Mock::given(any()).respond_with(moved).mount(&server).await;
    let limiter = Limiter::parse("sliding_log 100/s").unwrap();
    let client = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
    let client = limiter_reqwest::Client::new(client, Limits::new(limiter).resend(1).follow_redirects(1));
    assert_eq!(client.get(server.uri()).send().await.unwrap().status(), 200);
    assert_eq!(server.received_requests().await.unwrap().len(), 2);
}

#[cfg(feature = "blocking")]
#[tokio::test(flavor = "multi_thread")]
async fn without_a_runtime_hops_are_followed_just_so() {
    let to = welcoming().await;
    let between = sent_on(307, &to.uri()).await;
    let from = sent_on(308, &between.uri()).await;
    let (url, (limiter, _)) = (from.uri(), virtual_limiter("sliding_log 10/min"));
    let limits = Limits::new(limiter.clone()).follow_redirects(5);
    let status = tokio::task::spawn_blocking(move || {
        let client = reqwest::blocking::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
        let client = limiter_reqwest::blocking::Client::new(client, limits);
        client.post(url).body("ab").send().unwrap().status()
    });
    assert_eq!(status.await.unwrap(), 200);
    assert_eq!(to.received_requests().await.unwrap()[0].body, b"ab");
    for server in [&from, &between, &to] {
        assert_eq!(standing(&limiter, server), (1, Duration::ZERO));
    }
}

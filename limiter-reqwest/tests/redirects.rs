//! Of what reqwest follows by itself, the first host and the last are charged; followed by hand, each hop is.
#![allow(clippy::unwrap_used)]

mod common;

use common::{closed, plain_client, virtual_limiter};
use limiter_core::Limiter;
use limiter_reqwest::{Limits, host_key};
use reqwest::{Client, redirect::Policy};
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

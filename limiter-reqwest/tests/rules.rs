//! Which quota a request is under: by host, name, pattern, path, and what it says itself.
#![allow(clippy::unwrap_used)]

mod common;

use common::virtual_limiter;
use limiter_core::{Error, Limiter};
use limiter_reqwest::{Cost, Limits, MaxWait, PlanError, RateLimitError};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use std::{net::SocketAddr, time::Duration};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

const HOSTS: [&str; 5] = ["shop.example", "eu.shop.example", "a.api.example", "b.api.example", "other.example"];

/// A server that all of [`HOSTS`] are names of, on one port.
struct World {
    server: MockServer,
    client: ClientWithMiddleware,
}

impl World {
    async fn new(limits: Limits) -> Self {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        let address: SocketAddr = *server.address();
        let client =
            HOSTS.iter().fold(reqwest::Client::builder().no_proxy(), |client, host| client.resolve(host, address));
        let client = ClientBuilder::new(client.build().unwrap()).with(limits.max_wait(Duration::ZERO)).build();
        Self { server, client }
    }

    fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.server.address().port())
    }

    /// Sends `GET`s until one would have to wait, and says how many were sent.
    async fn sent(&self, host: &str, path: &str) -> usize {
        for n in 0..100 {
            if self.client.get(self.url(host, path)).send().await.is_err() {
                return n;
            }
        }
        100
    }
}

fn quota(text: &str) -> Limiter {
    virtual_limiter(text).0
}

#[tokio::test]
async fn a_domain_shares_a_quota_and_a_pattern_gives_each_host_its_own() {
    let limits = Limits::new(quota("sliding_log 1/min"))
        .domain("shop.example", quota("sliding_log 3/min"))
        .host("*.api.example", quota("sliding_log 2/min"));
    let world = World::new(limits).await;
    assert_eq!(world.sent("eu.shop.example", "/").await, 3);
    assert_eq!(world.sent("shop.example", "/").await, 0);
    assert_eq!(world.sent("a.api.example", "/").await, 2);
    assert_eq!(world.sent("b.api.example", "/").await, 2);
    assert_eq!(world.sent("other.example", "/").await, 1);
}

#[tokio::test]
async fn the_longest_path_prefix_is_charged_alone() {
    let limits = Limits::new(quota("sliding_log 1/min"))
        .host("other.example", quota("sliding_log 2/min"))
        .path("other.example", "/v2", quota("sliding_log 3/min"))
        .path("other.example", "/v2/search", quota("sliding_log 4/min"));
    let world = World::new(limits).await;
    assert_eq!(world.sent("other.example", "/v2/search?q=1").await, 4);
    assert_eq!(world.sent("other.example", "/v2/search/all").await, 0);
    assert_eq!(world.sent("other.example", "/v2/searching").await, 3);
    assert_eq!(world.sent("other.example", "/v1").await, 2);
}

#[tokio::test]
async fn one_limiter_in_two_rules_counts_for_each() {
    let both = quota("sliding_log 2/min");
    let limits = Limits::new(quota("sliding_log 1/min"))
        .path("other.example", "/a", both.clone())
        .path("other.example", "/b", both.clone())
        .host("shop.example", both);
    let world = World::new(limits).await;
    for (host, path) in [("other.example", "/a"), ("other.example", "/b"), ("shop.example", "/")] {
        assert_eq!(world.sent(host, path).await, 2, "{host}{path}");
    }
}

#[tokio::test]
async fn a_request_says_what_it_costs_and_how_long_it_waits() {
    let world = World::new(Limits::new(quota("sliding_log 10/min")).cost(|_| 3)).await;
    let get = || world.client.get(world.url("other.example", "/"));
    assert!(get().with_extension(Cost(7)).send().await.is_ok());
    assert!(get().send().await.is_ok());
    let error =
        get().with_extension(Cost(1)).with_extension(MaxWait(Duration::from_secs(30))).send().await.unwrap_err();
    let reason = RateLimitError::find(&error).unwrap().reason();
    let allowed = Duration::from_secs(30);
    assert!(
        matches!(reason, Error::WaitTooLong { allowed: a, needed } if *a == allowed && *needed > allowed),
        "{reason}"
    );
    assert!(get().with_extension(Cost(0)).send().await.is_ok());
}

#[tokio::test]
async fn a_rule_that_is_none_is_told_when_it_is_checked_or_by_the_first_request() {
    let limits = Limits::new(quota("sliding_log 1/min")).path("other.example", "v2", quota("sliding_log 1/min"));
    let expected = "`v2` is no path prefix: allowed is one that begins with `/`, without `?` and `#` (`/v2/search`)";
    assert_eq!(limits.clone().checked().unwrap_err().to_string(), expected);
    let world = World::new(limits).await;
    let error = world.client.get(world.url("shop.example", "/")).send().await.unwrap_err();
    let reqwest_middleware::Error::Middleware(error) = error else { unreachable!("{error}") };
    assert_eq!(error.downcast_ref::<PlanError>().unwrap().to_string(), expected);
    assert!(world.server.received_requests().await.unwrap().is_empty());
}

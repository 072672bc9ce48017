//! Who is charged for what, who waits, and what comes back.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{client, closed, eventually, in_line, plain_client, status, virtual_limiter, waiting};
use limiter_core::{Clock, Error, Limiter};
use limiter_reqwest::{RateLimitError, RateLimitMiddleware, host_key};
use reqwest::{Request, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use std::{net::TcpListener, time::Duration};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

const MICROSECOND: Duration = Duration::from_micros(1);
const SECOND: Duration = Duration::from_secs(1);

async fn server() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    server
}

/// Sends `GET`s until one would have to wait, and says how many were sent.
async fn sent(client: &ClientWithMiddleware, url: &str) -> usize {
    for n in 0.. {
        match client.get(url).send().await {
            Ok(_) if n < 100 => {}
            Ok(_) => break,
            Err(error) => {
                assert!(RateLimitError::find(&error).unwrap().needed().is_some());
                return n;
            }
        }
    }
    panic!("{url} is not limited");
}

/// Middleware of a limiter in virtual time, which never waits.
fn strict(quota: &str) -> (RateLimitMiddleware, Limiter) {
    let (limiter, _) = virtual_limiter(quota);
    (RateLimitMiddleware::new(limiter.clone()).max_wait(Duration::ZERO), limiter)
}

fn remaining(limiter: &Limiter, url: &str) -> u64 {
    limiter.peek(host_key(&url.parse().unwrap())).unwrap().remaining()
}

#[tokio::test]
async fn each_host_has_the_quota_to_itself() {
    let (a, b) = (server().await, server().await);
    let client = client(strict("sliding_log 3/min").0);
    assert_eq!(sent(&client, &a.uri()).await, 3);
    assert_eq!(sent(&client, &format!("{}/elsewhere?page=2", a.uri())).await, 0);
    assert_eq!(sent(&client, &b.uri()).await, 3);
    assert_eq!(a.received_requests().await.unwrap().len(), 3, "what is refused is not sent");
}

#[tokio::test]
async fn a_shared_quota_is_one_for_all_hosts() {
    let (a, b) = (server().await, server().await);
    let client = client(strict("sliding_log 3/min").0.shared());
    assert!(client.get(a.uri()).send().await.is_ok());
    assert_eq!(sent(&client, &b.uri()).await, 2);
    assert_eq!(sent(&client, &a.uri()).await, 0);
}

#[tokio::test]
async fn a_closure_says_whose_quota_it_is_and_what_has_none() {
    let (a, b) = (server().await, server().await);
    let by_path = |request: &Request| {
        let path = request.url().path();
        (path != "/free").then(|| path.to_owned())
    };
    let client = client(strict("sliding_log 2/min").0.key(by_path));
    assert_eq!(sent(&client, &format!("{}/x", a.uri())).await, 2);
    assert_eq!(sent(&client, &format!("{}/x", b.uri())).await, 0);
    assert_eq!(sent(&client, &format!("{}/y", b.uri())).await, 2);
    for _ in 0..10 {
        assert!(client.get(format!("{}/free", a.uri())).send().await.is_ok());
    }
}

#[tokio::test]
async fn a_host_can_have_a_limiter_of_its_own() {
    let (a, b) = (server().await, server().await);
    let (own, _) = virtual_limiter("sliding_log 5/min");
    let client = client(strict("sliding_log 2/min").0.host(a.address().to_string(), own.clone()));
    assert_eq!(sent(&client, &a.uri()).await, 5);
    assert_eq!(sent(&client, &b.uri()).await, 2);
    assert_eq!(remaining(&own, &b.uri()), 5);
}

#[tokio::test]
async fn a_request_costs_what_the_closure_says() {
    let server = server().await;
    let by_length = |request: &Request| request.url().query().map_or(0, |query| query.len() as u64);
    let client = client(strict("sliding_log 7/min").0.cost(by_length));
    assert_eq!(sent(&client, &format!("{}?123", server.uri())).await, 2);
    assert_eq!(sent(&client, &format!("{}?1", server.uri())).await, 1);
    assert!(client.get(server.uri()).send().await.is_ok());

    let error = client.get(format!("{}?12345678", server.uri())).send().await.unwrap_err();
    let reason = RateLimitError::find(&error).unwrap().reason();
    assert!(matches!(reason, Error::NeverFits { cost: 8, capacity: 7, .. }), "{reason}");
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_an_error_that_names_it() {
    let server = server().await;
    let (limiter, _) = virtual_limiter("sliding_log 1/s");
    let client = client(RateLimitMiddleware::new(limiter.clone()).max_wait(SECOND / 2));
    let url = format!("http://user:secret@{}/path?token=secret", server.address());
    assert!(client.get(&url).send().await.is_ok());

    let error = client.get(&url).send().await.unwrap_err();
    let reqwest_middleware::Error::Middleware(source) = &error else { panic!("{error}") };
    let limited = source.downcast_ref::<RateLimitError>().unwrap();
    assert_eq!(limited.needed(), Some(SECOND + MICROSECOND));
    assert!(matches!(limited.reason(), Error::WaitTooLong { allowed, .. } if *allowed == SECOND / 2));
    assert_eq!(limited.host(), server.address().to_string());
    let expected = format!("not sent to {}: the wait would be 1.000001s, above the 500ms allowed", server.address());
    assert_eq!(error.to_string(), expected);
    assert!(!format!("{error:?}").contains("secret"));
    assert_eq!(limiter.waiting(), 0);
}

#[tokio::test]
async fn a_full_queue_is_an_error() {
    let server = server().await;
    let limiter = Limiter::builder("sliding_log 1/h".parse().unwrap()).max_waiters(0).build();
    let client = client(RateLimitMiddleware::new(limiter).max_wait(Duration::MAX));
    assert!(client.get(server.uri()).send().await.is_ok());
    let error = client.get(server.uri()).send().await.unwrap_err();
    assert!(matches!(RateLimitError::find(&error).unwrap().reason(), Error::QueueFull { .. }), "{error}");
}

#[tokio::test]
async fn a_request_dropped_in_line_leaves_its_turn_to_the_next() {
    let server = server().await;
    let (limiter, clock) = virtual_limiter("sliding_log 1/s");
    let limits = RateLimitMiddleware::new(limiter);
    let client = client(limits.clone());
    assert_eq!(status(client.clone(), server.uri().into()).await, 200);
    let dropped = in_line(&client, &limits, &server.uri(), 1).await.remove(0);
    let next = in_line(&client, &limits, &server.uri(), 1).await.remove(0);

    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    assert_eq!(waiting(&limits, &server.uri()).await, 1);
    clock.advance(SECOND + MICROSECOND);
    assert_eq!(next.await.unwrap(), 200);
    assert_eq!(server.received_requests().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_request_that_found_no_connection_stays_charged() {
    let (_port, closed) = closed();
    let url = format!("http://{closed}/");
    let (limits, limiter) = strict("sliding_log 3/min");
    let client = client(limits);
    for left in [2, 1] {
        assert!(client.get(&url).send().await.unwrap_err().is_connect());
        assert_eq!(remaining(&limiter, &url), left);
    }
}

#[tokio::test]
async fn a_request_that_may_have_arrived_stays_charged() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().for_each(drop)); // accepts, and hangs up without an answer
    let (limits, limiter) = strict("sliding_log 3/min");
    let error = client(limits).get(&url).send().await.unwrap_err();
    assert!(!error.is_connect() && RateLimitError::find(&error).is_none(), "{error:?}");
    assert_eq!(remaining(&limiter, &url), 2);
}

/// The wait for the next unit after a request that was granted at 0 and arrived half a second later; then it was
/// answered, or dropped.
async fn wait_after(restamp: bool, is_dropped: bool) -> Duration {
    let server = MockServer::start().await;
    let (limiter, clock) = virtual_limiter("sliding_log 1/s");
    let answer = ResponseTemplate::new(200).set_delay(if is_dropped { 600 * SECOND } else { Duration::ZERO });
    let arrival = clock.clone();
    let answer_late = move |_: &wiremock::Request| {
        arrival.advance(SECOND / 2);
        answer.clone()
    };
    Mock::given(any()).respond_with(answer_late).mount(&server).await;

    let client = client(RateLimitMiddleware::new(limiter.clone()).restamp(restamp));
    let started = clock.now();
    let task = tokio::spawn(status(client, server.uri().into()));
    eventually("it has arrived", || clock.now() > started).await;
    if is_dropped {
        task.abort();
    }
    assert_eq!(task.await.is_err(), is_dropped);
    limiter.peek(host_key(&server.uri().parse().unwrap())).unwrap().retry_after().unwrap()
}

#[tokio::test]
async fn a_unit_counts_again_from_its_answer() {
    assert_eq!(wait_after(true, false).await, SECOND + MICROSECOND);
    assert_eq!(wait_after(false, false).await, SECOND / 2 + MICROSECOND);
}

#[tokio::test]
async fn a_unit_counts_again_from_the_drop_of_its_request() {
    assert_eq!(wait_after(true, true).await, SECOND + MICROSECOND);
    assert_eq!(wait_after(false, true).await, SECOND / 2 + MICROSECOND);
}

/// Tries three times, whatever the answer is.
struct ThreeTimes;

#[async_trait::async_trait]
impl Middleware for ThreeTimes {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        for _ in 0..2 {
            next.clone().run(request.try_clone().unwrap(), extensions).await?;
        }
        next.run(request, extensions).await
    }
}

#[tokio::test]
async fn each_attempt_of_a_retry_outside_is_charged() {
    let server = server().await;
    let (limits, limiter) = strict("sliding_log 5/min");
    let client = ClientBuilder::new(plain_client()).with(ThreeTimes).with(limits).build();
    assert!(client.get(server.uri()).send().await.is_ok());
    assert_eq!(remaining(&limiter, &server.uri()), 2);
    let error = client.get(server.uri()).send().await.unwrap_err();
    assert!(RateLimitError::find(&error).is_some());
    assert_eq!(server.received_requests().await.unwrap().len(), 5);
}

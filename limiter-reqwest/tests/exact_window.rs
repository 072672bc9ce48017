//! A server that counts arrivals in exact windows, behind a network that delays them at random.
#![allow(clippy::unwrap_used)]

mod common;

use axum::{Router, http::StatusCode, routing::get};
use common::{Slowest, timed_client};
use limiter_core::Limiter;
use limiter_reqwest::RateLimitMiddleware;
use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep};

const LIMIT: usize = 20;
const PERIOD: Duration = Duration::from_millis(500);
const TASKS: usize = 40;
const REQUESTS_A_TASK: usize = 2; // of all tasks together the quota of four periods

/// At most [`LIMIT`] arrivals in any closed window of [`PERIOD`]; to arrive and to answer take up to 10 ms each.
async fn exact_server() -> String {
    let arrivals = Arc::new(Mutex::new(Vec::<Instant>::new()));
    let arrive = move || {
        let mut arrivals = arrivals.lock().unwrap();
        let now = Instant::now();
        let is_full = arrivals.iter().rev().nth(LIMIT - 1).is_some_and(|oldest| now - *oldest <= PERIOD);
        if is_full {
            return StatusCode::TOO_MANY_REQUESTS;
        }
        arrivals.push(now);
        StatusCode::OK
    };
    let handle = move || async move {
        sleep(random_delay()).await;
        let status = arrive();
        sleep(random_delay()).await;
        status
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(handle))).await });
    url
}

fn random_delay() -> Duration {
    Duration::from_micros(RandomState::new().hash_one(()) % 10_000)
}

/// How many of the requests were refused, and how long the slowest was on its way.
async fn crawl(restamp: bool) -> (usize, Duration) {
    let url = exact_server().await;
    let slowest = Slowest::default();
    let limiter = Limiter::parse(&format!("sliding_log {LIMIT}/{}ms", PERIOD.as_millis())).unwrap();
    let limits = RateLimitMiddleware::new(limiter).restamp(restamp);
    let client = timed_client(limits, &slowest);
    let started = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (client, url) = (client.clone(), url.clone());
            tokio::spawn(async move {
                let mut refused = 0;
                for _ in 0..REQUESTS_A_TASK {
                    let response = client.get(&url).send().await.unwrap();
                    refused += usize::from(response.status() == StatusCode::TOO_MANY_REQUESTS);
                }
                refused
            })
        })
        .collect();
    let mut refused = 0;
    for task in tasks {
        refused += task.await.unwrap();
    }
    assert!(started.elapsed() > 3 * PERIOD);
    (refused, slowest.time())
}

#[tokio::test(flavor = "multi_thread")]
async fn restamped_it_never_sees_more_than_its_quota() {
    loop {
        let (refused, slowest) = crawl(true).await;
        // The promise is for answers within a period; a machine that stalls about as long has another try.
        if slowest < PERIOD / 2 {
            assert_eq!(refused, 0);
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counted_from_the_grant_alone_it_does() {
    let (refused, _) = crawl(false).await;
    assert!(refused > 0);
}

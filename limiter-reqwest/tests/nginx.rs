//! Told the quota of a real nginx (`limit_req`), many tasks meet no refusal, and lose little.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../limiter-core/tests/servers/mod.rs"]
mod servers;

use common::{client, status};
use limiter_core::Limiter;
use limiter_reqwest::Limits;
use servers::{NginxServer, eventually};
use std::time::{Duration, Instant};

/// `requests` by `tasks`, at what `limit_req` grants: as a bucket, whose units are counted again from their answers, with
/// at most `at_once` requests on their way. A request that the network holds back drains here while it does, and adds to
/// what arrives with it; so with a burst, half of it is for what is counted, and half for what is on its way.
async fn crawl(
    (rate, burst): (&str, &str),
    (quota, at_once): (&str, usize),
    (tasks, requests): (usize, usize),
) -> Duration {
    let nginx = NginxServer::limited(rate, burst);
    let limiter = Limiter::builder(quota.parse().unwrap()).at_once(at_once).build();
    let limits = Limits::new(limiter).restamp(true);
    let client = client(limits);
    let started = Instant::now();
    let tasks = Vec::from_iter((0..tasks).map(|task| {
        let (client, url) = (client.clone(), nginx.url());
        let share = requests / tasks + usize::from(task < requests % tasks);
        tokio::spawn(async move {
            for _ in 0..share {
                assert_eq!(status(client.clone(), url.as_str().into()).await, 200);
            }
        })
    }));
    for task in tasks {
        task.await.unwrap();
    }
    let took = started.elapsed();
    let logged = || (nginx.count(200) == requests).then_some(());
    eventually(logged, || format!("{requests} answers in the log, instead of {}", nginx.count(200)));
    assert_eq!(nginx.count(429), 0, "{rate} {burst}");
    took
}

/// At most twice the time that the quota itself takes for these.
fn is_near(took: Duration, least: Duration) {
    assert!(took < 2 * least + Duration::from_secs(2), "{took:?} instead of {least:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_burst() {
    for (rate, quota, requests, least) in [
        ("10r/s", "10/s burst 1", 30, Duration::from_millis(2900)),
        ("50r/s", "50/s burst 1", 100, Duration::from_millis(1980)),
        ("90r/m", "90/min burst 1", 6, Duration::from_millis(3333)),
    ] {
        is_near(crawl((rate, ""), (quota, 1), (8, requests)).await, least);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_burst_that_is_let_through_at_once() {
    for (limit, told, requests, least) in [
        (("10r/s", "burst=5 nodelay"), ("10/s burst 3", 3), 33, Duration::from_secs(3)),
        (("100r/s", "burst=20 nodelay"), ("100/s burst 10", 10), 210, Duration::from_secs(2)),
        (("60r/m", "burst=3 nodelay"), ("60/min burst 2", 2), 6, Duration::from_secs(4)),
    ] {
        is_near(crawl(limit, told, (30, requests)).await, least);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_burst_that_nginx_delays() {
    is_near(crawl(("20r/s", "burst=10"), ("20/s burst 5", 5), (30, 55)).await, Duration::from_millis(2500));
}

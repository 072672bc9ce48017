//! Against a real axum server that is limited by our own layer: over the network, in real time.

#![allow(clippy::unwrap_used)]

mod common;

use axum::{Router, routing::get};
use common::{Slowest, client, status, timed_client};
use limiter_axum::{FieldSet, Generation, RateLimitLayer};
use limiter_core::Limiter;
use limiter_reqwest::{RateLimitMiddleware, host_key};
use reqwest_middleware::ClientWithMiddleware;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

async fn server(quota: &str, fields: impl Into<FieldSet>) -> String {
    let layer = RateLimitLayer::new(Limiter::parse(quota).unwrap()).fields(fields);
    let app = Router::new().route("/", get(async || "hello")).layer(layer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// The statuses of `GET`s, `tasks` at a time.
async fn statuses(limits: RateLimitMiddleware, url: &str, tasks: usize, gets_a_task: usize) -> Vec<u16> {
    statuses_of(&client(limits), url, tasks, gets_a_task).await
}

async fn statuses_of(client: &ClientWithMiddleware, url: &str, tasks: usize, gets_a_task: usize) -> Vec<u16> {
    let tasks = (0..tasks).map(|_| {
        let (client, url) = (client.clone(), url.to_owned());
        tokio::spawn(async move {
            let mut statuses = Vec::new();
            for _ in 0..gets_a_task {
                statuses.push(status(client.clone(), url.as_str().into()).await);
            }
            statuses
        })
    });
    let mut statuses = Vec::new();
    for task in Vec::from_iter(tasks) {
        statuses.extend(task.await.unwrap());
    }
    statuses
}

fn limits(quota: &str) -> RateLimitMiddleware {
    RateLimitMiddleware::new(Limiter::parse(quota).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn told_the_quota_many_tasks_meet_no_429() {
    let quota = "sliding_log 20/s, 30/2s";
    loop {
        let (url, slowest) = (server(quota, FieldSet::NONE).await, Slowest::default());
        let started = Instant::now();
        let statuses = statuses_of(&timed_client(limits(quota), &slowest), &url, 25, 3).await;
        // The promise is for answers within a period; a machine that stalls about as long has another try.
        if slowest.time() < SECOND / 2 {
            assert_eq!(statuses, [200; 75]);
            // 30 in each of two windows, and the rest.
            assert!(started.elapsed() > 4 * SECOND);
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_nothing_a_lone_task_meets_no_429_in_any_generation() {
    let generations = [Generation::Structured, Generation::DraftB, Generation::DraftA, Generation::Legacy];
    let crawls = generations.map(|generation| {
        tokio::spawn(async move {
            let url = server("sliding_log 4/s", generation).await;
            let started = Instant::now();
            let statuses = statuses(limits("1000/s"), &url, 1, 10).await;
            assert_eq!(statuses, [200; 10], "{generation:?}");
            assert!(started.elapsed() > 2 * SECOND, "{generation:?}");
        })
    });
    for crawl in crawls {
        crawl.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_nothing_it_is_admitted_after_the_pause_that_a_429_asks_for() {
    let quotas = ["sliding_log 3/s", "fixed_window 3/s", "sliding_window 3/s", "3/s burst 3"];
    let crawls = quotas.map(|quota| {
        tokio::spawn(async move {
            let url = server(quota, FieldSet::NONE).await;
            let limiter = Limiter::parse("1000/s").unwrap();
            let limits = RateLimitMiddleware::new(limiter.clone());
            while statuses(limits.clone(), &url, 1, 1).await == [200] {}
            assert!(!limiter.peek(host_key(&url.parse().unwrap())).unwrap().blocked_for().is_zero(), "{quota}");
            assert_eq!(statuses(limits, &url, 1, 1).await, [200], "{quota}");
        })
    });
    for crawl in crawls {
        crawl.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_nothing_many_tasks_are_all_admitted_in_the_end_in_any_generation() {
    let generations = [Generation::Structured, Generation::DraftB, Generation::DraftA, Generation::Legacy];
    let fields = generations.map(FieldSet::from).into_iter().chain([FieldSet::NONE]);
    let crawls = Vec::from_iter(fields.map(|fields| {
        tokio::spawn(async move {
            let url = server("sliding_log 4/s", fields).await;
            let limits = limits("1000/s").resend(30);
            assert_eq!(statuses(limits.clone(), &url, 5, 3).await, [200; 15], "{fields:?}");
            let host = limits.status(&url.parse().unwrap()).await.unwrap().unwrap();
            // Those that came at once at the start are refused; from then on few are.
            assert!(host.answered == 15 + host.refused && host.refused < 15, "{fields:?}: {host:?}");
        })
    }));
    for crawl in crawls {
        crawl.await.unwrap();
    }
}

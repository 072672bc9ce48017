//! Limits of our own, behind a server that says no more than 429.

use super::{Phase, Seen, ask_from_tasks, attempts, check_phases, late::Lateness, learned_limit, runtime};
use crate::common::client;
use axum::{Router, http::StatusCode, routing::get};
use limiter_core::Limiter;
use limiter_reqwest::{Limits, learn::Learning};
use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

/// Serves `limiter`; its address, and what it sees.
async fn serve(limiter: Limiter) -> (String, Arc<Mutex<Vec<Seen>>>) {
    let (begun, seen) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    let sees = Arc::clone(&seen);
    let answer = move || async move {
        let admitted = limiter.check("all").unwrap().allowed();
        sees.lock().unwrap().push((begun.elapsed(), admitted));
        if admitted { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(answer))).await });
    (url, seen)
}

/// 40 a second, then 20, then 40 again, of one algorithm.
async fn follows(algorithm: &str, burst: &str) -> Result<(), String> {
    let quota = |rate: u32| format!("{algorithm} {rate}/s{burst}").parse().unwrap();
    let limiter = Limiter::builder(quota(40)).build();
    let (url, seen) = serve(limiter.clone()).await;
    let limits = Limits::new(Limiter::parse("1000/s").unwrap()).learn(Learning::default());
    let client = client(limits.clone());
    let phases = [Phase(40, 30, 10), Phase(20, 30, 10), Phase(40, 40, 10)];
    let late = Lateness::measure();
    for Phase(rate, seconds, _) in &phases {
        limiter.set_quota(quota(*rate));
        ask_from_tasks(&client, &url, *seconds).await;
        assert!(learned_limit(&limits, &url).await.is_some());
    }
    let seen = seen.lock().unwrap().clone();
    check_phases(algorithm, &seen, &phases, late.of_two())
}

fn is_followed(algorithm: &str, burst: &str) {
    attempts(|| runtime().block_on(follows(algorithm, burst)));
}

#[test]
#[ignore = "a row of every_row_at_once"]
fn a_fixed_window_that_changes_is_followed() {
    is_followed("fixed_window", "");
}

#[test]
#[ignore = "a row of every_row_at_once"]
fn a_sliding_window_that_changes_is_followed() {
    is_followed("sliding_window", "");
}

#[test]
#[ignore = "a row of every_row_at_once"]
fn a_sliding_log_that_changes_is_followed() {
    is_followed("sliding_log", "");
}

#[test]
#[ignore = "a row of every_row_at_once"]
fn a_bucket_that_changes_is_followed() {
    is_followed("gcra", " burst 5");
}

//! Limits of our own, behind a server that says no more than 429.

use super::{Seen, ask_from_tasks, attempts, check, learned_limit, runtime};
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
    for (changes, (rate, settled)) in [(40, 15), (20, 15), (40, 30)].into_iter().enumerate() {
        limiter.set_quota(quota(rate));
        ask_from_tasks(&client, &url, 50).await;
        let (seen, begin) = (seen.lock().unwrap().clone(), 50 * changes as u64);
        check(&format!("{algorithm} {rate}/s"), &seen, rate.into(), 1.0, begin + settled, begin + 50)?;
        assert!(learned_limit(&limits, &url).await.is_some());
    }
    Ok(())
}

#[test]
fn windows_and_buckets_that_change_are_followed() {
    attempts(|| {
        runtime().block_on(async {
            let kinds = [("fixed_window", ""), ("sliding_window", ""), ("sliding_log", ""), ("gcra", " burst 5")];
            let runs = kinds.map(|(algorithm, burst)| tokio::spawn(follows(algorithm, burst)));
            let mut missed = Vec::new();
            for run in runs {
                missed.extend(run.await.unwrap().err());
            }
            if missed.is_empty() { Ok(()) } else { Err(missed.join("; ")) }
        })
    });
}

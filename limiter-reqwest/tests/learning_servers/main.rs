//! What is learned of real servers that tell nothing, in real time: judged by what they saw themselves.
//!
//! A machine that is busy with something else sends late, and loses what the limit would have admitted then: each test
//! has three attempts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod nginx;
mod ours;
#[path = "../../../limiter-core/tests/servers/mod.rs"]
mod servers;

use limiter_reqwest::Limits;
use reqwest_middleware::ClientWithMiddleware;
use std::time::{Duration, Instant};

/// A request as the server saw it: since some instant, and whether it was admitted.
type Seen = (Duration, bool);

/// Nine tenths of what can be used of `rate`, and one in a hundred refused, from `from` to `to` seconds after the first
/// request; where that is missed, the figures.
fn check(what: &str, seen: &[Seen], rate: f64, usable: f64, from: u64, to: u64) -> Result<(), String> {
    let begin = seen.first().expect("a request").0;
    let span = begin + Duration::from_secs(from)..begin + Duration::from_secs(to);
    let judged: Vec<_> = seen.iter().filter(|(at, _)| span.contains(at)).collect();
    let refused = judged.iter().filter(|(_, admitted)| !admitted).count() as f64;
    let all = judged.len() as f64;
    let (used, refused) = ((all - refused) / (rate * (to - from) as f64), refused / all);
    let figures = format!("{what}: used {used:.3} of {usable:.3}, refused {refused:.4}");
    println!("{figures}");
    if used >= 0.9 * usable && refused <= 0.01 { Ok(()) } else { Err(figures) }
}

fn attempts(attempt: impl Fn() -> Result<(), String>) {
    let missed: Vec<_> = (0..3).map_while(|_| attempt().err()).collect();
    assert!(missed.len() < 3, "{missed:#?}");
}

/// Asks from ten tasks, as fast as they may, for so many seconds.
async fn ask_from_tasks(client: &ClientWithMiddleware, url: &str, seconds: u64) {
    let until = Instant::now() + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (client, url) = (client.clone(), url.to_owned());
            tokio::spawn(async move {
                while Instant::now() < until {
                    client.get(&url).send().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn learned_limit(limits: &Limits, url: &str) -> Option<f64> {
    limits.status(&url.parse().unwrap()).await.unwrap().unwrap().learned.unwrap().limit
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

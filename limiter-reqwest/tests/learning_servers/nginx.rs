//! What is learned of nginx's `limit_req`, which tells nothing: judged by nginx's own log.
//!
//! A machine that is busy with something else sends late, and loses what the limit would have admitted then: each has
//! three attempts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "../../limiter-core/tests/servers/mod.rs"]
mod servers;

use common::{client, plain_client};
use limiter_core::{Clock, Limiter, MonotonicClock};
use limiter_reqwest::{
    Limits,
    learn::{Learning, Pace},
};
use reqwest::StatusCode;
use servers::NginxServer;
use std::{
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Sends to `server` as fast as it learns to, for so many seconds; when each went, since the Unix epoch.
fn ask(server: &NginxServer, pace: &mut Pace, seconds: u64) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (client, clock, url) = (plain_client(), MonotonicClock::new(), server.url());
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut went = Vec::new();
    while Instant::now() < until {
        match pace.wait(clock.now()).expect("no answer is awaited") {
            Duration::ZERO => {
                let sent = pace.sent(clock.now());
                went.push(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
                let status = runtime.block_on(async { client.get(&url).send().await.unwrap().status() });
                match status {
                    StatusCode::OK => pace.admitted(clock.now(), sent),
                    StatusCode::TOO_MANY_REQUESTS => pace.refused(clock.now(), sent, None),
                    other => panic!("{other}: {}", server.log()),
                }
            }
            wait => thread::sleep(wait),
        }
    }
    went
}

/// How differently requests were delayed on their way, in seconds, but for the worst hundredth at either end.
fn jitter(server: &NginxServer, went: &[Duration]) -> f64 {
    let served = server.served();
    assert_eq!(served.len(), went.len());
    let mut delays: Vec<_> = served.iter().zip(went).map(|(served, went)| served.at.saturating_sub(*went)).collect();
    delays.sort();
    let few = delays.len() / 100;
    (delays[delays.len() - 1 - few] - delays[few]).as_secs_f64()
}

/// The parts of `rate` that were used and of all requests that were refused, from `from` to `to` seconds after the first.
fn judge(server: &NginxServer, rate: f64, from: u64, to: u64) -> (f64, f64) {
    let served = server.served();
    let begin = served.first().expect("a request").at;
    let span = begin + Duration::from_secs(from)..begin + Duration::from_secs(to);
    let judged: Vec<_> = served.iter().filter(|served| span.contains(&served.at)).collect();
    let refused = judged.iter().filter(|served| served.status == 429).count() as f64;
    let (all, seconds) = (judged.len() as f64, (to - from) as f64);
    ((all - refused) / (rate * seconds), refused / all)
}

/// Nine tenths of what can be used, and one in a hundred refused; where that is missed, the figures.
fn check(what: &str, usable: f64, (used, refused): (f64, f64)) -> Result<(), String> {
    let figures = format!("{what}: used {used:.3} of {usable:.3}, refused {refused:.4}");
    println!("{figures}");
    if used >= 0.9 * usable && refused <= 0.01 { Ok(()) } else { Err(figures) }
}

fn attempts(attempt: impl Fn() -> Result<(), String>) {
    let missed: Vec<_> = (0..3).map_while(|_| attempt().err()).collect();
    assert!(missed.len() < 3, "{missed:#?}");
}

fn learns(rate: u32, burst: &str, seconds: u64) {
    attempts(|| learns_once(rate, burst, seconds));
}

fn learns_once(rate: u32, burst: &str, seconds: u64) -> Result<(), String> {
    let server = NginxServer::limited(&format!("{rate}r/s"), burst);
    let mut pace = Pace::new(Learning::default());
    let went = ask(&server, &mut pace, seconds);
    let (rate, jitter) = (f64::from(rate), jitter(&server, &went));
    // Without a burst, an interval that always arrives longer than nginx's is longer by the jitter.
    let usable = if burst.is_empty() { 1.0 / (1.0 + rate * jitter) } else { 1.0 };
    check(&format!("{rate}/s {burst}"), usable, judge(&server, rate, 10, seconds))
}

#[test]
fn ten_a_second_without_a_burst() {
    learns(10, "", 70);
}

#[test]
fn forty_a_second_without_a_burst() {
    learns(40, "", 50);
}

#[test]
fn thirty_a_second_with_a_burst() {
    learns(30, "burst=5 nodelay", 50);
}

#[test]
fn a_hundred_a_second_with_a_burst() {
    learns(100, "burst=20 nodelay", 40);
}

#[test]
fn a_client_of_many_tasks() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    attempts(|| runtime.block_on(asks_from_many_tasks()));
}

async fn asks_from_many_tasks() -> Result<(), String> {
    let server = NginxServer::limited("30r/s", "burst=5 nodelay");
    let limits = Limits::new(Limiter::parse("1000/s").unwrap()).learn(Learning::default());
    let client = client(limits.clone());
    let until = Instant::now() + Duration::from_secs(50);
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (client, url) = (client.clone(), server.url());
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
    let status = limits.status(&server.url().parse().unwrap()).await.unwrap().unwrap();
    let learned = status.learned.expect("a learned pace");
    assert!(learned.limit.is_some() && status.refused > 0 && status.waiting == 0, "{status:?}");
    check("a client, 30/s", 1.0, judge(&server, 30.0, 10, 50))
}

#[test]
fn a_limit_that_falls_and_rises_is_followed() {
    attempts(follows_a_change);
}

fn follows_a_change() -> Result<(), String> {
    let burst = "burst=5 nodelay";
    let server = NginxServer::changing(&[("40r/s", burst), ("20r/s", burst), ("40r/s", burst)]);
    let mut pace = Pace::new(Learning::default());
    for (changes, (rate, settled)) in [(40.0, 10), (20.0, 10), (40.0, 20)].into_iter().enumerate() {
        if changes > 0 {
            server.next_limit();
        }
        ask(&server, &mut pace, 35);
        let begin = 35 * changes as u64;
        check(&format!("{rate}/s, change {changes}"), 1.0, judge(&server, rate, begin + settled, begin + 35))?;
    }
    Ok(())
}

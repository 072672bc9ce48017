//! nginx's `limit_req`, by its access log.

use super::{
    DOCUMENTED, Phase, Seen, Tally, ask_from_tasks, attempts, check_phases, late::Lateness, learned_limit, runtime,
};
use crate::{
    common::{client, plain_client},
    servers::NginxServer,
};
use limiter_core::{Clock, Limiter, MonotonicClock};
use limiter_reqwest::{
    Limits,
    learn::{Learning, Pace},
};
use reqwest::StatusCode;
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

fn seen(server: &NginxServer) -> Vec<Seen> {
    server.served().iter().map(|served| (served.at, served.status == 200)).collect()
}

fn learns(rate: u32, burst: &str, seconds: u64) {
    attempts(|| learns_once(rate, burst, seconds));
}

fn learns_once(rate: u32, burst: &str, seconds: u64) -> Result<(), String> {
    let server = NginxServer::limited(&format!("{rate}r/s"), burst);
    let mut pace = Pace::new(Learning::default());
    let late = Lateness::measure();
    let went = ask(&server, &mut pace, seconds);
    let (rate, late, jitter) = (f64::from(rate), late.of_two(), jitter(&server, &went));
    // Without a burst, an interval that always arrives longer than nginx's is longer by the jitter.
    let late = if burst.is_empty() { jitter } else { late };
    let what = format!("nginx {rate}/s {burst}, jitter {:.1} ms", jitter * 1e3);
    Tally::of(&seen(&server), rate, 10, seconds).check(&what, DOCUMENTED, rate * late)
}

#[test]
#[ignore = "a row of every_row_at_once"]
fn ten_a_second_without_a_burst() {
    learns(10, "", 60);
}

#[test]
#[ignore = "a row of every_row_at_once"]
fn forty_a_second_without_a_burst() {
    learns(40, "", 40);
}

#[test]
#[ignore = "a row of every_row_at_once"]
fn thirty_a_second_with_a_burst() {
    learns(30, "burst=5 nodelay", 40);
}

#[test]
#[ignore = "a row of every_row_at_once"]
fn a_hundred_a_second_with_a_burst() {
    learns(100, "burst=20 nodelay", 40);
}

#[test]
#[ignore = "a row of every_row_at_once"]
fn a_client_of_many_tasks() {
    attempts(|| runtime().block_on(asks_from_many_tasks()));
}

async fn asks_from_many_tasks() -> Result<(), String> {
    let server = NginxServer::limited("30r/s", "burst=5 nodelay");
    let limits = Limits::new(Limiter::parse("1000/s").unwrap()).learn(Learning::default());
    let late = Lateness::measure();
    ask_from_tasks(&client(limits.clone()), &server.url(), 50).await;
    let limit = learned_limit(&limits, &server.url()).await.expect("a limit");
    let what = format!("nginx 30/s, many tasks, {limit:.1} learned");
    Tally::of(&seen(&server), 30.0, 10, 50).check(&what, DOCUMENTED, 30.0 * late.of_two())
}

#[test]
#[ignore = "a row of every_row_at_once"]
fn a_limit_that_falls_and_rises_is_followed() {
    attempts(follows_a_change);
}

fn follows_a_change() -> Result<(), String> {
    let burst = "burst=5 nodelay";
    let server = NginxServer::changing(&[("40r/s", burst), ("20r/s", burst), ("40r/s", burst)]);
    let mut pace = Pace::new(Learning::default());
    let phases = [Phase(40, 30, 10), Phase(20, 30, 10), Phase(40, 40, 10)];
    let late = Lateness::measure();
    for (changes, Phase(_, seconds, _)) in phases.iter().enumerate() {
        if changes > 0 {
            server.next_limit();
        }
        ask(&server, &mut pace, *seconds);
    }
    check_phases("nginx, changing", &seen(&server), &phases, late.of_two())
}

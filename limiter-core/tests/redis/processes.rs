//! Several processes on one server: the sums are exact, and nobody is denied for nothing.

use crate::{fresh, servers::RedisServer};
use std::{
    env,
    process::{Command, Stdio},
};

const WORKERS: u64 = 4;
const TAKES: u64 = 400;
const KEYS: u64 = 1000;

/// What workers do: `hot` asks for one key again and again, `many` once for each of many.
fn work(server: &RedisServer, how: &str) -> Vec<u64> {
    let start = |_| {
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "processes::worker", "--ignored", "--nocapture"])
            .env("LIMITER_TEST_SERVER", server.url())
            .env("LIMITER_TEST_WORK", how)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let workers: Vec<_> = (0..WORKERS).map(start).collect();
    let admitted = |worker: std::process::Child| {
        let output = worker.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        let number = text.split("admitted=").nth(1).unwrap_or_else(|| panic!("{text}"));
        number.split_whitespace().next().unwrap().parse().unwrap()
    };
    workers.into_iter().map(admitted).collect()
}

#[test]
#[ignore = "what the other tests here start"]
fn worker() {
    let Ok(url) = env::var("LIMITER_TEST_SERVER") else { return };
    let store = fresh::store_in(&url, "ns");
    let hot = fresh::quota("sliding_log 1000/day");
    let each = fresh::quota("sliding_log 4/week");
    let take = |key: &str, quota| u64::from(fresh::take(&store, key, quota, 1).unwrap().allowed());
    let admitted: u64 = match env::var("LIMITER_TEST_WORK").unwrap().as_str() {
        "hot" => (0..TAKES).map(|_| take("hot", &hot)).sum(),
        _ => (0..KEYS).map(|n| take(&format!("key{n}"), &each)).sum(),
    };
    println!("admitted={admitted} ");
}

#[test]
fn one_hot_key_is_admitted_exactly_its_quota() {
    let server = RedisServer::start();
    let admitted = work(&server, "hot");
    assert_eq!(admitted.iter().sum::<u64>(), 1000, "{admitted:?}");
}

#[test]
fn of_a_thousand_keys_nobody_is_denied_what_is_free() {
    let server = RedisServer::start();
    assert_eq!(work(&server, "many"), [KEYS; 4]);
    let store = fresh::store_in(&server.url(), "ns");
    let each = fresh::quota("sliding_log 4/week");
    assert!((0..KEYS).all(|n| fresh::remaining(&store, &format!("key{n}"), &each) == 0));
}

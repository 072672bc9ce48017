//! Logs of a million rows, and what decisions cost; the figures are printed.

use crate::{
    fresh,
    servers::{RedisServer, Reply},
    support::block_on,
};
use limiter_core::{
    Clock, RedisStore, Store, Timestamp,
    store::{Adjust, Demand, Scope},
};
use std::time::{Duration, Instant};

const ROWS: u64 = 1_000_000;
const START: u64 = 1_760_000_000_000_000;
const HOUR: u64 = 3_600_000_000;

/// Puts a full log in the place of one with one row: a unit a millisecond.
fn fill(server: &RedisServer, name: &str) {
    let Reply::Text(value) = server.command(&["GET", name]) else { panic!("no value") };
    let (mut head, row) = (value[..value.len() - 14].to_vec(), 14);
    let rows_at = head.len() - 18 - 8; // see the table in the store's format
    head[rows_at..rows_at + 4].copy_from_slice(&u32::try_from(ROWS).unwrap().to_be_bytes());
    let mut all = Vec::with_capacity(head.len() + row * usize::try_from(ROWS).unwrap());
    all.extend(head);
    for n in 0..ROWS {
        all.extend(&(START + 1000 * n).to_be_bytes()[1..]);
        all.extend(&(n + 1).to_be_bytes()[1..]);
    }
    assert_eq!(server.command(&[&b"SET"[..], name.as_bytes(), &all, b"EX", b"9999"]).text(), "OK");
}

fn time<T>(what: &str, calls: u32, mut call: impl FnMut() -> T) -> Duration {
    let started = Instant::now();
    for _ in 0..calls {
        call();
    }
    let each = started.elapsed() / calls;
    println!("{what}: {each:?} a call");
    each
}

#[test]
fn an_exact_log_of_a_million_is_exact_and_quick() {
    let server = RedisServer::start();
    let store = RedisStore::builder(&server.url()).namespace("ns").timeout(Duration::from_secs(60)).build().unwrap();
    let (scope, quota) = (Scope::new("api"), fresh::quota("sliding_log 1000000/h"));
    let at = Timestamp::from_micros;
    let take = |key: &str, cost, now: u64| {
        block_on(store.take(&[Demand::new(&scope, key.as_bytes(), &quota, cost)], Some(&at(now)))).unwrap()
    };
    take("ada", 1, START);
    let few = time("a take of a short log", 200, || take("bob", 1, START));
    fill(&server, "ns:1:4{=ada}:api");

    let full = START + 1000 * (ROWS - 1);
    let denied = take("ada", 1, full);
    assert_eq!((denied.allowed(), denied.remaining()), (false, 0));
    assert_eq!(denied.retry_after(), Some(Duration::from_micros(START + HOUR + 1 - full)));
    assert_eq!(denied.reset_after(), Duration::from_micros(HOUR + 1));
    assert_eq!(take("ada", 1000, full).retry_after(), Some(Duration::from_micros(START + 999_000 + HOUR + 1 - full)));
    let many = time("a denial of a log of a million", 200, || take("ada", 1, full));
    assert!(many < 20 * few + Duration::from_millis(2), "{many:?} beside {few:?}");

    // One row leaves each millisecond, and one takes its place.
    let mut now = START + HOUR + 1;
    let many = time("a take of a log of a million", 500, || {
        let decision = take("ada", 1, now);
        assert!(decision.allowed() && decision.remaining() == 0, "{decision:?}");
        now += 1000;
    });
    assert!(many < 20 * few + Duration::from_millis(2), "{many:?} beside {few:?}");
    let demand = Demand::new(&scope, b"ada", &quota, 1);
    let refund = Adjust::Refund { taken: at(now - 1000) };
    assert_eq!(block_on(store.adjust(demand, refund, Some(&at(now)))).unwrap().remaining(), 2);
    assert_eq!(take("ada", 2, now).remaining(), 0);

    // Once half of it has left, the rest is written anew, and the memory is given back.
    let bytes = || server.command(&["STRLEN", "ns:1:4{=ada}:api"]).integer();
    let before = bytes();
    now = START + HOUR + 1000 * (ROWS * 6 / 10);
    assert_eq!(take("ada", 1, now).remaining(), ROWS * 6 / 10 - 502);
    assert!(bytes() < before / 2, "{} of {before}", bytes());

    // Another quota is charged with what is in use, without the rows being sent.
    let smaller = fresh::quota("sliding_log 500000/h");
    let changed = block_on(store.take(&[Demand::new(&scope, b"ada", &smaller, 1)], Some(&at(now)))).unwrap();
    assert!(changed.allowed());
    assert_eq!(changed.remaining(), 500_000 - (ROWS * 4 / 10 + 502) - 1);
    assert!(bytes() < 200, "{}", bytes());
}

#[test]
#[ignore = "prints figures for benches/RESULTS.md"]
fn bytes_a_key() {
    let server = RedisServer::start();
    let store = RedisStore::builder(&server.url()).build().unwrap();
    let scope = Scope::new("api");
    for (text, takes) in [
        ("100/s", 1),
        ("100/s, 1000/min", 1),
        ("fixed_window 100/s", 1),
        ("sliding_window 100/s", 1),
        ("sliding_log 100/s", 1),
        ("sliding_log 100/s", 10),
        ("sliding_log 100/s", 100),
        ("sliding_log 1000/s", 1000),
        ("sliding_log 1000000/h resolution 60", 1000),
    ] {
        let (quota, key) = (fresh::quota(text), format!("key{takes}"));
        let scope = if takes == 1 { Scope::new(text) } else { scope.clone() };
        for n in 0..takes {
            let now = Timestamp::from_micros(START + n * 700);
            let spread = Timestamp::from_micros(START + n * HOUR / 1000);
            let clock: &dyn Clock = if text.contains("resolution") { &spread } else { &now };
            block_on(store.take(&[Demand::new(&scope, key.as_bytes(), &quota, 1)], Some(clock))).unwrap();
        }
        let names = server.command(&["KEYS", "*"]);
        let name = names.list()[0].text();
        let bytes = server.command(&["MEMORY", "USAGE", &name, "SAMPLES", "0"]).integer();
        println!("{text}, {takes} takes: {bytes} bytes, {} of them the value", server.command(&["STRLEN", &name]));
        server.command(&["FLUSHALL"]);
    }
}

#[test]
#[ignore = "prints figures for benches/RESULTS.md; a busy machine has others"]
fn four_demands_cost_at_most_1_6_times_one() {
    let server = RedisServer::start();
    let store = RedisStore::builder(&server.url()).build().unwrap();
    let scopes = ["a", "b", "c", "d"].map(Scope::new);
    for text in
        ["1000000/s", "fixed_window 1000000/s", "sliding_window 1000000/s", "sliding_log 1000000/s resolution 10"]
    {
        let quota = fresh::quota(text);
        let demands: Vec<_> = scopes.iter().map(|scope| Demand::new(scope, b"ada", &quota, 1)).collect();
        let mut ratios: Vec<(f64, Duration, Duration)> = (0..15)
            .map(|_| {
                let run = |demands: &[Demand<'_>]| {
                    let started = Instant::now();
                    (0..400).for_each(|_| assert!(block_on(store.take(demands, None)).unwrap().allowed()));
                    started.elapsed() / 400
                };
                let (one, four) = (run(&demands[..1]), run(&demands));
                (four.as_secs_f64() / one.as_secs_f64(), one, four)
            })
            .collect();
        ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (ratio, one, four) = ratios[7];
        println!("{text}: one {one:?}, four {four:?}, ratio {ratio:.2}");
        assert!(ratio < 1.6, "{text}: {ratio}");
    }
}

//! Names, expiry, and what else lies beside the states.

use crate::{
    fresh,
    servers::{RedisServer, eventually},
    support::block_on,
};
use limiter_core::{
    Store, StoreErrorKind, Timestamp,
    store::{Adjust, Demand, Scope},
};

const QUOTAS: [&str; 6] =
    ["5/s", "5/s, 9/min", "fixed_window 5/s", "sliding_window 5/s", "sliding_log 5/s", "sliding_log 5/s resolution 3"];

fn names(server: &RedisServer) -> Vec<String> {
    server.command(&["KEYS", "*"]).list().iter().map(ToString::to_string).collect()
}

#[test]
fn every_key_has_an_expiry_and_after_quiet_nothing_is_left() {
    let server = RedisServer::start();
    let store = fresh::store(&server);
    // A second of life is too short for a busy machine to look at it.
    for quota in QUOTAS.map(|text| fresh::quota(&text.replace("/s", "/3s").replace("min", "6s"))) {
        let scope = Scope::new(quota.to_string());
        let demand = Demand::new(&scope, b"ada", &quota, 2);
        let taken = block_on(store.take(&[demand], None)).unwrap().at();
        for adjust in [Adjust::Charge, Adjust::Refund { taken }, Adjust::Restamp { taken }, Adjust::Reserve] {
            block_on(store.adjust(demand, adjust, None)).unwrap();
        }
        let until = Timestamp::from_micros(taken.as_micros() + 3_000_000);
        block_on(store.adjust(demand, Adjust::Block { until }, None)).unwrap();
        block_on(store.adjust(Demand::new(&scope, b"bob", &quota, 1), Adjust::Block { until }, None)).unwrap();
    }
    let all = names(&server);
    assert_eq!(all.len(), 2 * QUOTAS.len());
    for name in &all {
        let left = server.command(&["PTTL", name]).integer();
        assert!((1..15_000).contains(&left), "{name}: {left} ms");
    }
    eventually(|| names(&server).is_empty().then_some(()), || format!("{:?} to be gone", names(&server)));
}

#[test]
fn live_state_outlives_its_expiry_time_and_injected_clocks_get_an_hour() {
    let server = RedisServer::start();
    let store = fresh::store(&server);
    for quota in QUOTAS.map(|text| fresh::quota(&text.replace("/s", "/9s"))) {
        let scope = Scope::new(quota.to_string());
        let demand = Demand::new(&scope, b"ada", &quota, 5);
        let decision = block_on(store.take(&[demand], None)).unwrap();
        let name = names(&server).into_iter().find(|name| name.ends_with(&format!(":{quota}"))).unwrap();
        let at = u128::try_from(server.command(&["PEXPIRETIME", &name]).integer()).unwrap() * 1000;
        let live = u128::from(decision.at().as_micros()) + decision.reset_after().as_micros();
        assert!(at > live && at < live + 20_000_000, "{quota}: {at} {live}");

        let virtual_time = Timestamp::from_micros(7);
        let demand = Demand::new(&scope, b"bob", &quota, 1);
        block_on(store.take(&[demand], Some(&virtual_time))).unwrap();
        let bob = names(&server).into_iter().find(|name| name.contains("=bob") && name.ends_with(&format!(":{quota}")));
        let left = server.command(&["PTTL", &bob.unwrap()]).integer();
        assert!((3_600_000..3_800_000).contains(&left), "{quota}: {left}");
    }
}

/// A log that is written in parts, and states that are put back whole, last as long as they count, too.
#[test]
fn long_logs_and_reservations_outlive_what_they_hold() {
    let server = RedisServer::start();
    let store = fresh::store(&server);
    let of = |key: &'static str, text: &str| (key, fresh::quota(text));
    for (key, quota) in [of("long", "sliding_log 1000/h"), of("ahead", "sliding_log 5/h"), of("bucket", "5/h")] {
        let scope = Scope::new(key);
        let one = Demand::new(&scope, key.as_bytes(), &quota, 1);
        let mut last = block_on(store.take(&[one], None)).unwrap();
        for _ in 0..if key == "long" { 300 } else { 4 } {
            let name = names(&server).into_iter().find(|name| name.contains(key)).unwrap();
            server.command(&["PEXPIRE", &name, "60000"]); // as if most of its time were over
            last = block_on(store.take(&[one], None)).unwrap();
        }
        if key != "long" {
            last = block_on(store.adjust(one, Adjust::Reserve, None)).unwrap();
        }
        let name = names(&server).into_iter().find(|name| name.contains(key)).unwrap();
        let at = u128::try_from(server.command(&["PEXPIRETIME", &name]).integer()).unwrap() * 1000;
        let live = u128::from(last.at().as_micros()) + last.reset_after().as_micros();
        assert!(at >= live && at < live + 10_000_000, "{key}: {at} {live}");
    }
}

#[test]
fn a_sweep_deletes_what_an_injected_clock_left_idle_and_nothing_else() {
    let server = RedisServer::start();
    let (store, other) = (fresh::store(&server), fresh::store(&server));
    let (start, later) = (Timestamp::from_micros(1_000_000), Timestamp::from_micros(61_000_000));
    let scope = Scope::new("api");
    let mut all = QUOTAS.map(fresh::quota).to_vec();
    all.push(fresh::quota("sliding_log 5000/s"));
    for quota in &all {
        let name = quota.to_string();
        block_on(store.take(&[Demand::new(&scope, name.as_bytes(), quota, 1)], Some(&start))).unwrap();
        block_on(other.take(&[Demand::new(&scope, name.as_bytes(), quota, 1)], Some(&start))).unwrap();
        if name.contains("5000") {
            for step in 1..200 {
                let now = Timestamp::from_micros(1_000_000 + step);
                block_on(store.take(&[Demand::new(&scope, name.as_bytes(), quota, 1)], Some(&now))).unwrap();
            }
        }
    }
    let blocked = Demand::new(&scope, b"blocked", &all[0], 1);
    block_on(store.adjust(blocked, Adjust::Block { until: Timestamp::from_micros(90_000_000) }, Some(&start))).unwrap();
    let busy = fresh::quota("sliding_log 5/h");
    block_on(store.take(&[Demand::new(&scope, b"busy", &busy, 1)], Some(&start))).unwrap();
    assert_eq!(block_on(store.sweep(Some(&start))).unwrap(), 0);
    assert_eq!(block_on(store.sweep(Some(&later))).unwrap(), all.len());
    assert_eq!(names(&server).len(), all.len() + 2);
}

#[test]
fn stores_of_different_namespaces_and_hash_tags_never_meet() {
    let server = fresh::shared();
    let quota = fresh::quota("1/day");
    let builder = |namespace: &str| fresh::patient(&server.url()).namespace(namespace);
    let all = [
        builder("ns").build().unwrap(),
        builder("ns:1").build().unwrap(),
        builder("ns*").build().unwrap(),
        builder("ns").hash_tag("a").build().unwrap(),
        builder("ns").hash_keys("pepper").build().unwrap(),
    ];
    let keys = ["ada", "", "{", "}", "{}", "a}b", "{ada}", "\0\r\n", &"long".repeat(100)];
    for store in &all {
        for key in keys {
            assert!(fresh::take(store, key, &quota, 1).unwrap().allowed(), "{store:?} {key:?}");
            assert!(!fresh::take(store, key, &quota, 1).unwrap().allowed(), "{store:?} {key:?}");
        }
    }
    assert!(names(&server).iter().filter(|name| name.starts_with("ns")).all(|name| name.len() < 120));
    assert_eq!(fresh::kind(builder("a{b").build()), StoreErrorKind::Config);
    assert_eq!(fresh::kind(builder("").build()), StoreErrorKind::Config);
}

#[test]
fn what_is_not_ours_is_an_error_and_stays() {
    let server = RedisServer::start();
    let store = fresh::store_in(&server.url(), "ns");
    let (quota, name) = (fresh::quota("5/day"), "ns:1:4{=ada}:api");
    fresh::take(&store, "ada", &quota, 1).unwrap();
    let value = match server.command(&["GET", name]) {
        crate::servers::Reply::Text(bytes) => bytes,
        other => panic!("{other:?}"),
    };
    let newer: Vec<u8> = [&[2], &value[1..]].concat();
    for garbage in [newer, b"x".to_vec(), b"not one of our states".to_vec(), value[..value.len() - 1].to_vec()] {
        server.command(&[&b"SET"[..], name.as_bytes(), &garbage]);
        assert_eq!(fresh::kind(fresh::take(&store, "ada", &quota, 1)), StoreErrorKind::Format, "{garbage:?}");
        let scope = Scope::new("api");
        let charge = store.adjust(Demand::new(&scope, b"ada", &quota, 1), Adjust::Charge, None);
        assert_eq!(fresh::kind(block_on(charge)), StoreErrorKind::Format, "{garbage:?}");
        assert_eq!(server.command(&["GET", name]), crate::servers::Reply::Text(garbage));
    }
    server.command(&["DEL", name]);
    server.command(&["RPUSH", name, "a list"]);
    assert_eq!(fresh::kind(fresh::take(&store, "ada", &quota, 1)), StoreErrorKind::Format);
    // A reset makes room.
    block_on(store.reset(&Scope::new("api"), b"ada")).unwrap();
    assert!(fresh::take(&store, "ada", &quota, 1).unwrap().allowed());
}

#[test]
fn a_later_format_lives_beside_this_one() {
    let server = RedisServer::start();
    let store = fresh::store_in(&server.url(), "ns");
    server.command(&["SET", "ns:2:4{=ada}:api", "of a later release"]);
    assert!(fresh::take(&store, "ada", &fresh::quota("5/day"), 1).unwrap().allowed());
    assert_eq!(block_on(store.sweep(None)).unwrap(), 0);
    assert_eq!(server.command(&["GET", "ns:2:4{=ada}:api"]).text(), "of a later release");
}

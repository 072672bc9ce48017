//! Servers that die, stall, refuse or are wrong.

use crate::{
    fresh,
    servers::{CutProxy, RedisServer, eventually},
    support::block_on,
};
use limiter_core::{
    RedisStore, Store, StoreErrorKind,
    store::{Demand, RedisWarning, Scope},
};
use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::{Duration, Instant},
};

fn through(proxy: &CutProxy, timeout: Duration) -> RedisStore {
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    RedisStore::builder(&url).namespace("ns").timeout(timeout).build().unwrap()
}

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_server_that_is_down_is_unavailable_and_it_goes_on_once_it_is_back() {
    let server = RedisServer::persistent();
    let store = fresh::store(&server);
    let quota = fresh::quota("sliding_log 5/day");
    assert_eq!(fresh::take(&store, "ada", &quota, 1).unwrap().remaining(), 4);
    server.kill();
    let down = fresh::kind(fresh::take(&store, "ada", &quota, 1));
    // The first call may have been on its way when the connection's end was noticed.
    assert!(matches!(down, StoreErrorKind::Unavailable | StoreErrorKind::TimedOut), "{down:?}");
    let started = Instant::now();
    assert_eq!(fresh::kind(fresh::take(&store, "ada", &quota, 1)), StoreErrorKind::Unavailable);
    assert!(started.elapsed() < Duration::from_secs(30));
    server.restart();
    assert_eq!(fresh::take_again(&store, "ada", &quota).remaining(), 3); // what was admitted still counts
}

#[test]
fn a_restart_in_between_costs_no_error_and_no_unit() {
    let server = RedisServer::persistent();
    let store = fresh::store(&server);
    let quota = fresh::quota("5/day");
    fresh::take(&store, "ada", &quota, 1).unwrap();
    server.restart();
    // The end of the old connection may not have been noticed yet: then the call says so, and consumed nothing.
    let left = fresh::take_again(&store, "ada", &quota).remaining();
    assert_eq!(left, 3);
}

#[test]
fn a_reply_that_is_lost_times_out_and_is_never_asked_for_again() {
    let server = RedisServer::start();
    let proxy = CutProxy::to(server.port());
    let store = through(&proxy, Duration::from_secs(5));
    let quota = fresh::quota("sliding_log 10/day");
    assert_eq!(fresh::take(&store, "ada", &quota, 1).unwrap().remaining(), 9);
    proxy.delay(LONG);
    assert_eq!(fresh::kind(fresh::take(&store, "ada", &quota, 1)), StoreErrorKind::TimedOut);
    proxy.delay(Duration::ZERO);
    proxy.cut();
    // It was carried out once: not nought times, and not twice.
    assert_eq!(fresh::take_again(&store, "ada", &quota).remaining(), 7);
}

#[test]
fn a_connection_cut_under_a_call_says_that_it_may_have_happened() {
    let server = RedisServer::start();
    let proxy = CutProxy::to(server.port());
    let store = through(&proxy, LONG);
    let quota = fresh::quota("5/day");
    fresh::take(&store, "ada", &quota, 1).unwrap();
    proxy.delay(LONG);
    let direct = fresh::store_in(&server.url(), "ns");
    let result = std::thread::scope(|scope| {
        let caller = scope.spawn(|| fresh::take(&store, "ada", &quota, 1));
        eventually(|| (fresh::remaining(&direct, "ada", &quota) == 3).then_some(()), || "the take".to_owned());
        proxy.cut();
        caller.join().unwrap()
    });
    assert_eq!(fresh::kind(result), StoreErrorKind::TimedOut);
    proxy.delay(Duration::ZERO);
    assert_eq!(fresh::take_again(&store, "ada", &quota).remaining(), 2);
}

#[test]
fn a_stalled_server_takes_no_longer_than_the_time_allowed() {
    let server = RedisServer::start();
    let store = RedisStore::builder(&server.url()).timeout(Duration::from_millis(500)).build().unwrap();
    let quota = fresh::quota("5/day");
    fresh::take_again(&store, "ada", &quota);
    server.pause();
    for _ in 0..3 {
        let started = Instant::now();
        let kind = fresh::kind(fresh::take(&store, "ada", &quota, 1));
        assert!(matches!(kind, StoreErrorKind::TimedOut | StoreErrorKind::Unavailable), "{kind:?}");
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }
    server.resume();
    fresh::take_again(&store, "ada", &quota);
}

#[test]
fn nobody_listening_is_unavailable() {
    let server = RedisServer::start();
    let url = server.url();
    server.kill();
    let store = fresh::patient(&url).build().unwrap();
    assert_eq!(fresh::kind(fresh::take(&store, "ada", &fresh::quota("5/s"), 1)), StoreErrorKind::Unavailable);
    assert_eq!(fresh::kind(block_on(store.ready())), StoreErrorKind::Unavailable);
}

#[test]
fn a_full_server_is_full() {
    let server = RedisServer::start_with(&[("maxmemory", "64mb"), ("maxmemory-policy", "noeviction")]);
    let store = fresh::store(&server);
    let quota = fresh::quota("5/day");
    assert!(block_on(store.ready()).unwrap().is_empty());
    fresh::take(&store, "ada", &quota, 1).unwrap();
    server.command(&["CONFIG", "SET", "maxmemory", "1kb"]);
    assert_eq!(fresh::kind(fresh::take(&store, "bob", &quota, 1)), StoreErrorKind::Full);
    assert_eq!(fresh::kind(block_on(store.ready())), StoreErrorKind::Full);
    assert_eq!(fresh::remaining(&store, "ada", &quota), 4); // looking still works
    server.command(&["CONFIG", "SET", "maxmemory", "64mb"]);
    assert_eq!(fresh::take(&store, "bob", &quota, 1).unwrap().remaining(), 4);
}

#[test]
fn a_server_that_evicts_is_warned_of() {
    for (policy, warned) in [("allkeys-lru", true), ("volatile-ttl", true), ("noeviction", false)] {
        let server = RedisServer::start_with(&[("maxmemory", "64mb"), ("maxmemory-policy", policy)]);
        let warnings = block_on(fresh::store(&server).ready()).unwrap();
        let expected = RedisWarning::EvictsLiveKeys { policy: policy.to_owned() };
        assert_eq!(warnings.contains(&expected), warned, "{policy}");
        assert!(warnings.iter().all(|warning| warning.to_string().contains("noeviction")));
    }
    // Without a bound nothing is evicted, whatever the policy.
    let server = RedisServer::start_with(&[("maxmemory-policy", "allkeys-lru")]);
    assert!(block_on(fresh::store(&server).ready()).unwrap().is_empty());
}

#[test]
fn a_replica_is_read_only() {
    let primary = RedisServer::start();
    let replica = RedisServer::start_with(&[("replicaof", &format!("127.0.0.1 {}", primary.port()))]);
    primary.wait_for_replica();
    let store = fresh::store(&replica);
    let quota = fresh::quota("5/day");
    assert_eq!(fresh::kind(fresh::take(&store, "ada", &quota, 1)), StoreErrorKind::ReadOnly);
    assert_eq!(fresh::kind(block_on(store.ready())), StoreErrorKind::ReadOnly);
    assert_eq!(fresh::remaining(&store, "ada", &quota), 5);
}

#[test]
fn who_may_not_is_told_so() {
    let server = RedisServer::start();
    let at = |login: &str| format!("redis://{login}127.0.0.1:{}", server.port());
    let users = [
        ("nothing", "-@all"),
        ("no-scripts", "+@all -@scripting"),
        ("no-writes", "+@all -@write"),
        ("other-keys", "+@all"),
    ];
    let quota = fresh::quota("5/day");
    for (user, may) in users {
        let keys = if user == "other-keys" { "~other:*" } else { "~*" };
        let rules: Vec<&str> =
            [&["ACL", "SETUSER", user, "on", ">secret", keys][..], &may.split(' ').collect::<Vec<_>>()].concat();
        assert_eq!(server.command(&rules).text(), "OK");
        let store = fresh::patient(&at(&format!("{user}:secret@"))).build().unwrap();
        assert_eq!(fresh::kind(fresh::take(&store, "ada", &quota, 1)), StoreErrorKind::Permission, "{user}");
        assert_eq!(fresh::kind(block_on(store.ready())), StoreErrorKind::Permission, "{user}");
    }
    let wrong = fresh::patient(&at("nothing:secreter@")).build().unwrap();
    assert_eq!(fresh::kind(fresh::take(&wrong, "ada", &quota, 1)), StoreErrorKind::Permission);
    let locked = RedisServer::start();
    locked.command(&["CONFIG", "SET", "requirepass", "secret"]);
    let store = fresh::store(&locked);
    assert_eq!(fresh::kind(fresh::take(&store, "ada", &quota, 1)), StoreErrorKind::Permission);
    let with = fresh::patient(&format!("redis://:secret@127.0.0.1:{}", locked.port())).build().unwrap();
    assert!(fresh::take(&with, "ada", &quota, 1).unwrap().allowed());
}

#[test]
fn what_a_user_needs_is_little() {
    let server = RedisServer::start();
    let commands = "+evalsha +eval +getrange +get +set +setrange +pexpire +pexpireat +del +unlink +time +hello +ping \
                    +scan +client +info";
    let rules: Vec<&str> = [
        &["ACL", "SETUSER", "app", "on", ">secret", "~limiter:*"][..],
        &commands.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>(),
    ]
    .concat();
    assert_eq!(server.command(&rules).text(), "OK");
    let store = fresh::patient(&format!("redis://app:secret@127.0.0.1:{}", server.port())).build().unwrap();
    assert!(block_on(store.ready()).unwrap().is_empty());
    assert!(fresh::take(&store, "ada", &fresh::quota("sliding_log 5/day"), 1).unwrap().allowed());
    block_on(store.reset(&Scope::new("api"), b"ada")).unwrap();
    block_on(store.sweep(None)).unwrap();
}

#[test]
fn dropped_futures_leave_nothing_behind() {
    let server = RedisServer::start();
    let store = fresh::store(&server);
    let (quota, scope) = (fresh::quota("sliding_log 100000/day"), Scope::new("api"));
    fresh::take(&store, "ada", &quota, 1).unwrap();
    let clients = || server.command(&["CLIENT", "LIST", "TYPE", "normal"]).text().lines().count();
    let before = clients();
    let mut dropped = 0;
    for _ in 0..500 {
        let demands = [Demand::new(&scope, b"ada", &quota, 1)];
        let mut call = pin!(store.take(&demands, None));
        dropped += usize::from(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert!(dropped > 0, "all were answered while they were polled");
    // Each was handed over, and runs to its end.
    eventually(
        || (fresh::remaining(&store, "ada", &quota) == 100_000 - 501).then_some(()),
        || format!("500 takes, {} left", fresh::remaining(&store, "ada", &quota)),
    );
    assert_eq!(clients(), before);
    assert!(fresh::take(&store, "ada", &quota, 1).unwrap().allowed());
}

#[test]
fn a_server_killed_under_load_loses_and_doubles_nothing() {
    let server = RedisServer::persistent();
    let store = fresh::store(&server);
    let quota = fresh::quota("sliding_log 100000/day");
    fresh::take(&store, "ada", &quota, 1).unwrap();
    let (mut admitted, mut unknown) = (1, 0);
    for round in 0..3 {
        let results = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let (mut admitted, mut unknown) = (0, 0);
                        let end = Instant::now() + Duration::from_millis(400);
                        while Instant::now() < end {
                            match fresh::take(&store, "ada", &quota, 1) {
                                Ok(_) => admitted += 1,
                                Err(error) if error.kind() == StoreErrorKind::TimedOut => unknown += 1,
                                Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}"),
                            }
                        }
                        (admitted, unknown)
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(150));
            server.restart();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
        });
        admitted += results.iter().map(|(admitted, _)| admitted).sum::<u64>();
        unknown += results.iter().map(|(_, unknown)| unknown).sum::<u64>();
        fresh::take_again(&store, "ada", &quota);
        admitted += 1;
        let used = 100_000 - fresh::remaining(&store, "ada", &quota);
        assert!((admitted..=admitted + unknown).contains(&used), "round {round}: {used} of {admitted} and {unknown}");
    }
}

//! What the file keeps, and what it lets go of.

use crate::{folder::Folder, support::block_on};
use limiter_core::{Limiter, ManualClock, SqliteStore, Store, Timestamp};
use std::{
    future::Future,
    task::{Context, Waker},
    time::{Duration, Instant},
};

fn limiter(store: SqliteStore, quota: &str) -> Limiter<SqliteStore> {
    Limiter::builder(quota.parse().unwrap()).name("takes").store(store).build()
}

/// One number out of the file.
fn count(folder: &Folder, what: &str) -> i64 {
    let file = rusqlite::Connection::open(folder.file()).unwrap();
    file.busy_timeout(Duration::from_secs(60)).unwrap();
    file.query_row(&format!("SELECT {what}"), (), |row| row.get(0)).unwrap()
}

const STATES: &str = "count(*) FROM states";

#[test]
fn idle_keys_vanish_as_others_are_written_and_live_ones_stay() {
    let folder = Folder::new();
    let (short, long) = (limiter(folder.store(), "sliding_log 5/ms"), limiter(folder.store(), "sliding_log 5/day"));
    long.blocking().check("live").unwrap();
    let began = Instant::now();
    for i in 0..500_u64 {
        short.blocking().check(i).unwrap();
    }
    // A row stands a second longer than need be.
    let kept = count(&folder, STATES);
    assert!(kept == 501 || began.elapsed() > Duration::from_secs(1), "{kept} of 501 states");
    let until = Instant::now() + Duration::from_secs(60);
    while count(&folder, STATES) > 200 {
        assert!(Instant::now() < until, "{} states are left", count(&folder, STATES));
        short.blocking().check("another").unwrap();
    }
    assert_eq!(long.blocking().peek("live").unwrap().remaining(), 4);
}

#[test]
fn a_sweep_drops_all_that_is_idle_and_nothing_else() {
    let folder = Folder::new();
    let store = folder.store();
    let clock = ManualClock::new(Timestamp::from_micros(1_760_000_000_000_000));
    let limiter = |name: &str, quota: &str| {
        Limiter::builder(quota.parse().unwrap()).name(name).store(store.clone()).clock(clock.clone()).build()
    };
    let (short, long) = (limiter("short", "5/s"), limiter("long", "sliding_log 1000/day"));
    for i in 0..1500_u64 {
        short.blocking().check(i).unwrap();
    }
    for _ in 0..300 {
        long.blocking().check("in blocks").unwrap();
        clock.advance(Duration::from_millis(1));
    }
    assert!(count(&folder, "count(*) FROM blocks") > 1);
    clock.advance(Duration::from_secs(5));
    assert_eq!(count(&folder, STATES), 1501, "an injected clock may step back");
    assert_eq!(short.blocking().sweep().unwrap(), 1500);
    assert_eq!(long.blocking().peek("in blocks").unwrap().remaining(), 700);
    clock.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(long.blocking().sweep().unwrap(), 1);
    assert_eq!((count(&folder, STATES), count(&folder, "count(*) FROM blocks")), (0, 0));
}

#[test]
fn a_sweep_leaves_room_for_others_and_ends_with_its_caller() {
    let folder = Folder::new();
    let limiter = limiter(folder.store(), "sliding_log 5/day");
    for i in 0..2000_u64 {
        limiter.blocking().check(i).unwrap();
    }
    let mut context = Context::from_waker(Waker::noop());
    // Whoever polls may be held up for as long as a sweep takes: then another one.
    let sweep = loop {
        let mut sweep = Box::pin(limiter.sweep_async());
        if sweep.as_mut().poll(&mut context).is_pending() {
            break sweep;
        }
    };
    assert!(limiter.blocking().check("meanwhile").unwrap().allowed());
    assert_eq!(block_on(sweep).unwrap(), 0);
}

#[test]
fn names_and_quotas_that_nobody_uses_are_forgotten_also_by_other_connections() {
    let folder = Folder::new();
    let (one, two) = (folder.store(), folder.store());
    let on = |store: &SqliteStore, i: u64| {
        let quota = format!("{}/day burst 1", 86_400_000 + i).parse().unwrap(); // idle after a millisecond
        Limiter::builder(quota).name(format!("limiter {i}")).store(store.clone()).build()
    };
    for i in 0..100 {
        on(&one, i).blocking().check("ada").unwrap();
        on(&two, i).blocking().peek("ada").unwrap();
    }
    let until = Instant::now() + Duration::from_secs(60);
    while count(&folder, STATES) > 0 {
        assert!(Instant::now() < until);
        block_on(one.sweep(None)).unwrap();
    }
    block_on(one.sweep(None)).unwrap();
    assert_eq!((count(&folder, "count(*) FROM scopes"), count(&folder, "count(*) FROM quotas")), (0, 0));
    // The other connection knew their numbers.
    assert!(on(&two, 7).blocking().check_n("ada", 1).unwrap().allowed());
    assert_eq!(count(&folder, "count(*) FROM states JOIN scopes ON scope = scopes.id WHERE name = 'limiter 7'"), 1);
}

#[test]
fn denials_and_looks_write_nothing() {
    let folder = Folder::new();
    let limiter = limiter(folder.store(), "sliding_log 3/day");
    limiter.blocking().check_n("ada", 3).unwrap();
    let log = || std::fs::metadata(folder.path().join("limits.db-wal")).unwrap().len();
    let before = (log(), count(&folder, "sum(rev) FROM states"));
    for _ in 0..100 {
        assert!(!limiter.blocking().check("ada").unwrap().allowed());
        assert!(!limiter.blocking().peek("ada").unwrap().allowed());
        limiter.blocking().peek("never seen").unwrap();
        limiter.blocking().check_n("never fits", 4).unwrap_err();
    }
    assert_eq!((log(), count(&folder, "sum(rev) FROM states")), before);
}

#[test]
fn names_and_restarts_are_kept_apart_and_long_or_secret_keys_are_stored_as_digests() {
    let folder = Folder::new();
    let name = |name: &str| Limiter::builder("3/day".parse().unwrap()).name(name).store(folder.store()).build();
    let (one, two) = (name("one"), name("two"));
    one.blocking().check_n("ada", 3).unwrap();
    assert!(two.blocking().check("ada").unwrap().allowed());
    one.restart("3/day".parse().unwrap());
    assert!(one.blocking().check("ada").unwrap().allowed());

    let longest = "k".repeat(5000);
    one.blocking().check(longest.as_str()).unwrap();
    assert_eq!(one.blocking().check(longest.as_str()).unwrap().remaining(), 1);
    assert_eq!(one.blocking().check(&longest[1..]).unwrap().remaining(), 2);
    assert_eq!(count(&folder, "max(length(key)) FROM states"), 33);

    let store = SqliteStore::builder(folder.file()).hash_keys("pepper").build().unwrap();
    let secret = Limiter::builder("3/day".parse().unwrap()).name("secret").store(store).build();
    secret.blocking().check("ada@example.com").unwrap();
    assert_eq!(count(&folder, "count(*) FROM states WHERE instr(key, 'ada@')"), 0);
    assert_eq!(secret.blocking().check("ada@example.com").unwrap().remaining(), 1);
}

#[test]
fn a_take_on_a_log_of_ten_thousand_writes_little() {
    let folder = Folder::new();
    let clock = ManualClock::new(Timestamp::from_micros(1_760_000_000_000_000));
    let quota = "sliding_log 10000/day".parse().unwrap();
    let limiter = Limiter::builder(quota).name("log").store(folder.store()).clock(clock.clone()).build();
    for _ in 0..10_000 {
        assert!(limiter.blocking().check("ada").unwrap().allowed());
        clock.advance(Duration::from_millis(1));
    }
    assert!(!limiter.blocking().check("ada").unwrap().allowed());
    // The row of a full log holds no more than two blocks' worth of it.
    assert!(count(&folder, "max(length(state)) FROM states") < 1500);
    assert!(count(&folder, "max(length(runs)) FROM blocks") < 1500);
    // Another connection knows nothing yet and reads all of it, once.
    let again = Limiter::builder("sliding_log 10000/day".parse().unwrap()).name("log").store(folder.store());
    let again = again.clock(clock.clone()).build();
    clock.advance(Duration::from_secs(86_400) - Duration::from_secs(10) + Duration::from_micros(1));
    assert!(again.blocking().check("ada").unwrap().allowed());
    assert!(!limiter.blocking().check("ada").unwrap().allowed());
}

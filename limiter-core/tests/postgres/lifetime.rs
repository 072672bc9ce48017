//! How long states are kept, and what becomes of them.

use crate::{
    fixture::{builder, hundred},
    servers::{Database, PostgresServer},
    support::block_on,
};
use limiter_core::{Limiter, ManualClock, PostgresStore, Store, Timestamp};
use std::time::Duration;

fn rows(database: &Database<'_>, table: &str) -> usize {
    database.psql(&format!("SELECT count(*) FROM limiter_1_{table}")).parse().unwrap()
}

fn limiter(store: &PostgresStore, quota: &str) -> Limiter<PostgresStore> {
    Limiter::builder(quota.parse().unwrap()).name(quota).store(store.clone()).build()
}

#[test]
fn later_writes_delete_what_is_long_idle_and_nothing_else() {
    let database = PostgresServer::shared().fresh_database();
    let store = builder(&database.url()).build().unwrap();
    let (short, long) = (limiter(&store, "sliding_log 9/us"), limiter(&store, "9/10day"));
    for key in 0..100_u64 {
        short.blocking().check(key).unwrap();
    }
    long.blocking().check("live").unwrap();
    // As if it were an hour later.
    database.psql("UPDATE limiter_1_states SET expires = expires - 3600000000");
    for _ in 0..2000 {
        long.blocking().charge("other", 0).unwrap();
        long.blocking().refund("live", 0, Timestamp::MIN).unwrap();
        long.blocking().check("writes").unwrap();
        long.blocking().reset("writes").unwrap();
        if rows(&database, "states") <= 3 && rows(&database, "runs") == 0 {
            break;
        }
    }
    assert!(rows(&database, "states") <= 3, "{} left", rows(&database, "states"));
    assert_eq!((rows(&database, "runs"), rows(&database, "dropped")), (0, 0));
    assert_eq!(long.blocking().peek("live").unwrap().remaining(), 8);
}

#[test]
fn every_write_keeps_a_row_as_long_as_it_counts() {
    let database = PostgresServer::shared().fresh_database();
    let store = builder(&database.url()).build().unwrap();
    let limiter = limiter(&store, "sliding_window 9/h");
    let limiter = limiter.blocking();
    limiter.check("ada").unwrap();
    let writes: [(&str, &dyn Fn() -> u128); 4] = [
        ("take", &|| limiter.check("ada").unwrap().reset_after().as_micros()),
        ("charge", &|| limiter.charge("ada", 1).unwrap().reset_after().as_micros()),
        ("block", &|| limiter.block("ada", Duration::from_secs(9 * 3600)).unwrap().reset_after().as_micros()),
        ("reserve", &|| {
            limiter.block("ada", Duration::ZERO).unwrap();
            limiter.reserve("ada", 1).unwrap().0.decision().reset_after().as_micros()
        }),
    ];
    for (what, write) in writes {
        database.psql("UPDATE limiter_1_states SET expires = 0"); // as if its time were over
        let live = write();
        let left = "SELECT (expires - extract(epoch FROM clock_timestamp()) * 1e6)::bigint FROM limiter_1_states";
        let left: i128 = database.psql(left).parse().unwrap();
        assert!(left + 10_000_000 >= i128::try_from(live).unwrap(), "{what}: {left} left of {live}");
    }
}

#[test]
fn a_sweep_deletes_idle_states_with_their_logs() {
    let database = PostgresServer::shared().fresh_database();
    let store = builder(&database.url()).build().unwrap();
    let (short, long) = (limiter(&store, "sliding_log 9/us, 20/ms"), limiter(&store, "sliding_log 9/10day"));
    for key in 0..40_u64 {
        short.blocking().check(key).unwrap();
    }
    long.blocking().check("live").unwrap();
    long.blocking().check("reset").unwrap();
    long.blocking().reset("reset").unwrap();
    assert_eq!(block_on(store.sweep(None)).unwrap(), 40);
    assert_eq!((rows(&database, "states"), rows(&database, "runs"), rows(&database, "dropped")), (1, 1, 0));
    assert_eq!(long.blocking().peek("live").unwrap().remaining(), 8);
    assert_eq!(block_on(store.sweep(None)).unwrap(), 0);
}

#[test]
fn under_an_injected_clock_the_servers_time_waits_an_hour() {
    let database = PostgresServer::shared().fresh_database();
    let store = builder(&database.url()).build().unwrap();
    let clock = ManualClock::new(Timestamp::from_micros(1_000_000));
    let limiter = Limiter::builder("9/s".parse().unwrap()).store(store.clone()).clock(clock.clone()).build();
    limiter.blocking().check("ada").unwrap();
    let life = "SELECT round((expires / 1e6 - extract(epoch FROM clock_timestamp())) / 60) FROM limiter_1_states";
    let minutes: u32 = database.psql(life).parse().unwrap();
    assert!((60..70).contains(&minutes), "{minutes}");
    assert_eq!(block_on(store.sweep(None)).unwrap(), 0);
    assert_eq!(limiter.blocking().peek("ada").unwrap().remaining(), 8);
    clock.advance(Duration::from_secs(1));
    assert_eq!(limiter.blocking().sweep().unwrap(), 1);
}

#[test]
fn takes_of_a_key_leave_its_expiry_alone_for_minutes() {
    let database = PostgresServer::shared().fresh_database();
    let limiter = hundred(&builder(&database.url()).build().unwrap());
    let expires = || database.psql("SELECT expires FROM limiter_1_states");
    limiter.blocking().check("ada").unwrap();
    let first = expires();
    for _ in 0..20 {
        limiter.blocking().check("ada").unwrap();
    }
    // An index entry that need not be written; the server then updates in place.
    assert_eq!(expires(), first);
}

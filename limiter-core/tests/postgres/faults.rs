//! What can go wrong with a server and the way to it.

use crate::{
    fixture::{admitted, builder, failed, hundred, says},
    servers::{CutProxy, Database, PostgresServer, eventually},
    support::block_on,
};
use deadpool_postgres::{Manager, Pool, tokio_postgres::NoTls};
use limiter_core::{PostgresStore, StoreErrorKind};
use std::{
    future::Future,
    io::Write,
    pin::pin,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

/// Enough for any call that nothing holds up, and soon over where something does.
const SHORT: Duration = Duration::from_secs(5);

fn kind_of<T>(answer: Result<T, limiter_core::Error>) -> StoreErrorKind {
    failed(answer).kind()
}

#[test]
fn wrong_addresses_are_told_apart_and_show_no_password() {
    for (url, expected) in [
        ("mysql://x", "not one of a Postgres server"),
        ("postgres://ada:secret@localhost/x?sslmode=require", "TLS"),
        ("postgres://ada:secret@localhost/x?port=none", "not one of a Postgres server"),
    ] {
        let error = PostgresStore::new(url).unwrap_err();
        let (kind, text) = says(&error);
        assert_eq!(kind, StoreErrorKind::Config);
        assert!(text.contains(expected) && !text.contains("secret"), "{text}");
    }
    let server = PostgresServer::shared();
    let nowhere = builder(&server.url_for("nowhere", "postgres")).build().unwrap();
    let nobody = builder(&server.url_for("postgres", "nobody_here")).build().unwrap();
    for store in [nowhere, nobody] {
        let (kind, text) = says(&block_on(store.ready()).unwrap_err());
        assert_eq!(kind, StoreErrorKind::Config, "{text}");
        assert!(text.contains("does not exist"), "{text}");
    }
    let builder = PostgresStore::builder("postgres://ada:secret@localhost/x");
    assert!(!format!("{builder:?} {:?}", builder.clone().build().unwrap()).contains("secret"));
}

#[test]
fn without_a_server_calls_fail_at_once_as_unavailable() {
    let database = PostgresServer::shared().fresh_database();
    let proxy = CutProxy::to(PostgresServer::shared().port());
    let store = builder(&through(&proxy, &database)).build().unwrap();
    let limiter = hundred(&store);
    proxy.refuse();
    assert_eq!(kind_of(limiter.blocking().check("ada")), StoreErrorKind::Unavailable);
    assert_eq!(block_on(store.ready()).unwrap_err().kind(), StoreErrorKind::Unavailable);
    proxy.accept();
    assert_eq!(limiter.blocking().check("ada").unwrap().remaining(), 99);
}

#[test]
fn where_writing_is_not_allowed_looks_and_denials_go_on() {
    let database = PostgresServer::shared().fresh_database();
    let store = builder(&database.url()).build().unwrap();
    let limiter = hundred(&store);
    limiter.blocking().check_n("spent", 100).unwrap();
    database.psql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.name()));
    let store = builder(&database.url()).build().unwrap();
    let limiter = hundred(&store);
    assert_eq!(kind_of(limiter.blocking().check("ada")), StoreErrorKind::ReadOnly);
    assert_eq!(kind_of(limiter.blocking().charge("ada", 1)), StoreErrorKind::ReadOnly);
    assert!(!limiter.blocking().check("spent").unwrap().allowed());
    assert_eq!(limiter.blocking().peek("ada").unwrap().remaining(), 100);
    assert_eq!(block_on(store.ready()).unwrap_err().kind(), StoreErrorKind::ReadOnly);
}

#[test]
fn a_full_disk_and_rows_of_garbage_are_told_apart() {
    let database = PostgresServer::shared().fresh_database();
    let limiter = hundred(&builder(&database.url()).build().unwrap());
    limiter.blocking().check("ada").unwrap();
    for garbage in ["cells = '{1}'", "quota = 'none'", "cells = NULL"] {
        database.psql("ALTER TABLE limiter_1_states ALTER cells DROP NOT NULL");
        database.psql(&format!("UPDATE limiter_1_states SET {garbage}"));
        assert_eq!(kind_of(limiter.blocking().check("ada")), StoreErrorKind::Format, "{garbage}");
        assert_eq!(kind_of(limiter.blocking().charge("ada", 1)), StoreErrorKind::Format, "{garbage}");
        limiter.blocking().reset("ada").unwrap();
        limiter.blocking().check("ada").unwrap();
    }
    // What a server answers that has no room left.
    database.psql(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN RAISE EXCEPTION USING ERRCODE = ''53100''; END'; \
         CREATE TRIGGER full_disk BEFORE UPDATE ON limiter_1_states EXECUTE FUNCTION full_disk()",
    );
    assert_eq!(kind_of(limiter.blocking().check("ada")), StoreErrorKind::Full);
    assert_eq!(limiter.blocking().peek("ada").unwrap().remaining(), 99);
}

#[test]
fn an_exhausted_pool_says_so_and_nothing_is_taken() {
    let database = PostgresServer::shared().fresh_database();
    let pool = Pool::builder(Manager::new(database.url().parse().unwrap(), NoTls)).max_size(1).build().unwrap();
    let limiter = hundred(&PostgresStore::from_pool(pool.clone()).timeout(SHORT).build().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    limiter.blocking().check("ada").unwrap();
    let held = runtime.block_on(pool.get()).unwrap();
    let (kind, text) = says(&failed(limiter.blocking().check("ada")));
    assert_eq!(kind, StoreErrorKind::Unavailable);
    assert!(text.contains("all 1 connections"), "{text}");
    drop(held);
    assert_eq!(limiter.blocking().check("ada").unwrap().remaining(), 98);
}

#[test]
fn a_lock_held_by_others_delays_only_its_key_and_not_for_longer_than_the_budget() {
    let database = PostgresServer::shared().fresh_database();
    let limiter = hundred(&builder(&database.url()).timeout(SHORT).max_connections(2).build().unwrap());
    limiter.blocking().check("ada").unwrap();
    limiter.blocking().check("bob").unwrap();
    limiter.blocking().check_n("spent", 100).unwrap();
    let holder = Holder::lock(&database, "=ada");
    let other = Holder::lock(&database, "=spent");
    let start = Instant::now();
    assert_eq!(kind_of(limiter.blocking().check("ada")), StoreErrorKind::TimedOut);
    assert!(start.elapsed() < 10 * SHORT);
    assert!(limiter.blocking().peek("ada").unwrap().allowed(), "a look waits for nobody");
    assert!(!limiter.blocking().check("spent").unwrap().allowed(), "nor does a denial");
    assert!(limiter.blocking().check("bob").unwrap().allowed());
    // Nobody waits on for a caller that has given up.
    eventually(|| (waiting(&database) == "0").then_some(()), || "the end of the waiting".to_owned());
    holder.release();
    other.release();
    assert_eq!(limiter.blocking().check("ada").unwrap().remaining(), 98);
}

#[test]
fn a_statement_that_the_server_cuts_short_timed_out_and_did_nothing() {
    let database = PostgresServer::shared().fresh_database();
    let limiter = hundred(&builder(&database.url()).build().unwrap());
    limiter.blocking().check("ada").unwrap();
    let holder = Holder::lock(&database, "=ada");
    database.psql(&format!("ALTER DATABASE {} SET statement_timeout = '300ms'", database.name()));
    let hurried = hundred(&builder(&database.url()).build().unwrap());
    let (kind, text) = says(&failed(hurried.blocking().check("ada")));
    assert_eq!(kind, StoreErrorKind::TimedOut);
    assert!(text.contains("57014") && text.contains("statement timeout"), "{text}");
    holder.release();
    assert_eq!(limiter.blocking().check("ada").unwrap().remaining(), 98);
}

#[test]
fn a_dropped_future_leaves_no_lock_transaction_or_connection() {
    let database = PostgresServer::shared().fresh_database();
    let limiter = hundred(&builder(&database.url()).max_connections(2).build().unwrap());
    limiter.blocking().check("ada").unwrap();
    let holder = Holder::lock(&database, "=ada");
    for _ in 0..4 {
        let mut check = pin!(limiter.check_async("ada"));
        assert!(matches!(check.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
    }
    eventually(|| (waiting(&database) == "2").then_some(()), || format!("two that wait: {}", waiting(&database)));
    holder.release();
    let ours = "FROM pg_stat_activity WHERE application_name = 'limiter' AND datname = current_database()";
    eventually(
        || (database.psql(&format!("SELECT count(*) {ours} AND state <> 'idle'")) == "0").then_some(()),
        || "idle connections".to_owned(),
    );
    let locks = database.psql(&format!("SELECT count(*) FROM pg_locks WHERE pid IN (SELECT pid {ours})"));
    let open = database.psql(&format!("SELECT count(*) {ours}"));
    assert_eq!((locks.as_str(), open.as_str()), ("0", "2"));
    // Each was carried out once or not at all.
    let left = limiter.blocking().peek("ada").unwrap().remaining();
    assert!((95..=99).contains(&left), "{left}");
}

#[test]
fn a_delayed_reply_times_out_and_its_take_counts_once() {
    let database = PostgresServer::shared().fresh_database();
    let proxy = CutProxy::to(PostgresServer::shared().port());
    let limiter = hundred(&builder(&through(&proxy, &database)).timeout(SHORT).max_connections(1).build().unwrap());
    limiter.blocking().check("ada").unwrap();
    let direct = hundred(&builder(&database.url()).build().unwrap());
    proxy.delay(Duration::from_secs(3600));
    assert_eq!(kind_of(limiter.blocking().check("ada")), StoreErrorKind::TimedOut);
    eventually(
        || (direct.blocking().peek("ada").unwrap().remaining() == 98).then_some(()),
        || "the take's effect".to_owned(),
    );
    proxy.cut();
    proxy.delay(Duration::ZERO);
    let next = eventually(|| limiter.blocking().check("ada").ok(), || "a take that works".to_owned());
    assert_eq!(next.remaining(), 97);
    assert_eq!(direct.blocking().peek("ada").unwrap().remaining(), 97);
}

#[test]
fn a_connection_cut_after_the_question_was_sent_is_never_asked_again() {
    let database = PostgresServer::shared().fresh_database();
    let proxy = CutProxy::to(PostgresServer::shared().port());
    let limiter = hundred(&builder(&through(&proxy, &database)).max_connections(1).build().unwrap());
    limiter.blocking().check("ada").unwrap();
    let direct = hundred(&builder(&database.url()).build().unwrap());
    proxy.delay(Duration::from_secs(3600));
    let answer = thread::scope(|scope| {
        let check = scope.spawn(|| limiter.blocking().check("ada"));
        eventually(
            || (direct.blocking().peek("ada").unwrap().remaining() == 98).then_some(()),
            || "the take's effect".to_owned(),
        );
        proxy.cut();
        check.join().unwrap()
    });
    let (kind, text) = says(&failed(answer));
    assert_eq!(kind, StoreErrorKind::TimedOut);
    assert!(text.contains("broke before the answer"), "{text}");
    proxy.delay(Duration::ZERO);
    assert_eq!(limiter.blocking().check("ada").unwrap().remaining(), 97);
}

#[test]
fn a_server_killed_in_mid_run_is_waited_for_and_what_was_admitted_counts() {
    let server = PostgresServer::start();
    let database = server.fresh_database();
    let limiter = hundred(&builder(&database.url()).timeout(SHORT).build().unwrap());
    limiter.blocking().check("hot").unwrap();
    let is_over = AtomicBool::new(false);
    let (told, unknown) = thread::scope(|scope| {
        let takers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let (mut told, mut unknown) = (0, 0);
                    while !is_over.load(Ordering::Relaxed) && told < 30 {
                        match limiter.blocking().check("hot") {
                            Ok(decision) => told += u64::from(decision.allowed()),
                            Err(error) => match kind_of::<()>(Err(error)) {
                                StoreErrorKind::TimedOut => unknown += 1,
                                kind => assert_eq!(kind, StoreErrorKind::Unavailable),
                            },
                        }
                        thread::sleep(Duration::from_millis(10));
                    }
                    (told, unknown)
                })
            })
            .collect();
        let taken = || limiter.blocking().peek("hot").is_ok_and(|decision| decision.remaining() < 95).then_some(());
        eventually(taken, || "some takes".to_owned());
        server.kill();
        server.restart();
        let back = || limiter.blocking().check("back").ok();
        eventually(back, || "a server that answers".to_owned());
        is_over.store(true, Ordering::Relaxed);
        takers.into_iter().map(|taker| taker.join().unwrap()).fold((1, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    });
    let used = 100 - eventually(|| limiter.blocking().peek("hot").ok(), || "a look".to_owned()).remaining();
    assert!((told..=told + unknown).contains(&used), "{used} used, {told} told, {unknown} unknown");
    assert_eq!(admitted(&limiter, 2, 60) as u64, 100 - used);
}

#[test]
fn a_server_that_stands_still_times_out_and_goes_on() {
    let server = PostgresServer::start();
    let limiter = hundred(&builder(&server.url()).timeout(SHORT).max_connections(1).build().unwrap());
    limiter.blocking().check("ada").unwrap();
    server.pause();
    assert_eq!(kind_of(limiter.blocking().check("ada")), StoreErrorKind::TimedOut);
    server.resume();
    let left = eventually(|| limiter.blocking().check("ada").ok(), || "a take that works".to_owned()).remaining();
    assert!((97..=98).contains(&left), "{left}");
}

/// How many wait for a lock in a database, whatever other tests do in theirs.
fn waiting(database: &Database<'_>) -> String {
    let here = "FROM pg_stat_activity WHERE datname = current_database()";
    database.psql(&format!("SELECT count(*) {here} AND wait_event_type = 'Lock'"))
}

fn through(proxy: &CutProxy, database: &Database<'_>) -> String {
    format!("postgres://postgres@127.0.0.1:{}/{}", proxy.port(), database.name())
}

/// Another program that holds the row of a key.
struct Holder(Child);

impl Holder {
    fn lock(database: &Database<'_>, key: &str) -> Self {
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--quiet", "--dbname", &database.url()]);
        let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let lock = format!(
            "BEGIN; SELECT 1 FROM limiter_1_states WHERE encode(key, 'escape') LIKE '%{key}' FOR UPDATE; \
             SET application_name = 'holds{key}';\n"
        );
        psql.stdin.as_mut().unwrap().write_all(lock.as_bytes()).unwrap();
        let holds = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holds{key}'");
        eventually(|| (database.psql(&holds) == "1").then_some(()), || "the lock".to_owned());
        Self(psql)
    }

    fn release(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

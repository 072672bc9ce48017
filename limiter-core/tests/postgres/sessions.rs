//! Whatever a session is set to, and whoever stands between.

use crate::{
    fixture::{admitted, builder, hundred},
    servers::{Pooler, PostgresServer, psql},
    support::block_on,
};
use limiter_core::{Limiter, Store, Timestamp};
use std::time::{Duration, SystemTime};

#[test]
fn a_take_is_one_statement_and_a_look_too() {
    let database = PostgresServer::shared().fresh_database();
    database.psql("CREATE EXTENSION pg_stat_statements"); // where this fails, the server's contrib modules are missing
    let store = builder(&database.url()).build().unwrap();
    block_on(store.ready()).unwrap();
    for quota in ["100/day", "fixed_window 9/day", "sliding_window 9/day", "sliding_log 9/h, 40/day"] {
        let limiter = Limiter::builder(quota.parse().unwrap()).name(quota).store(store.clone()).build();
        limiter.blocking().check("ada").unwrap();
        database.psql("SELECT pg_stat_statements_reset()");
        for _ in 0..10 {
            limiter.blocking().check("ada").unwrap();
        }
        limiter.blocking().peek("ada").unwrap();
        let statements = database.psql(
            "SELECT calls, query FROM pg_stat_statements JOIN pg_database d ON d.oid = dbid \
             WHERE datname = current_database() AND query NOT LIKE '%pg_stat_statements%'",
        );
        let expected = "11|CALL \"public\".\"limiter_1_decide_";
        assert!(statements.starts_with(expected) && statements.lines().count() == 1, "{quota}: {statements}");
    }
}

#[test]
fn time_is_the_servers_whatever_the_sessions_zone() {
    let database = PostgresServer::shared().fresh_database();
    database.psql(&format!("ALTER DATABASE {} SET timezone = 'Asia/Tokyo'", database.name()));
    assert_eq!(psql(&database.url(), "SHOW timezone"), "Asia/Tokyo");
    let store = builder(&database.url()).build().unwrap();
    block_on(store.ready()).unwrap();
    let before = Timestamp::from(SystemTime::now());
    let now = block_on(Store::now(&store, None)).unwrap();
    let limiter = Limiter::builder("fixed_window 5/day".parse().unwrap()).store(store).build();
    let decision = limiter.blocking().check("ada").unwrap();
    let after = Timestamp::from(SystemTime::now());
    assert!(
        before <= now && now <= decision.at() && decision.at() <= after,
        "{before:?} {now:?} {decision:?} {after:?}"
    );
    // A day ends at midnight in UTC.
    let day = Duration::from_secs(86_400).as_micros();
    let left = day - u128::from(decision.at().as_micros()) % day;
    assert_eq!(decision.reset_after().as_micros(), left);
}

#[test]
fn any_default_isolation_level_is_exact_without_errors() {
    for level in ["serializable", "repeatable read"] {
        let database = PostgresServer::shared().fresh_database();
        database.psql(&format!("ALTER DATABASE {} SET default_transaction_isolation = '{level}'", database.name()));
        let store = builder(&database.url()).build().unwrap();
        assert_eq!(admitted(&hundred(&store), 4, 30), 100, "{level}");
        for quota in ["60/10day", "fixed_window 60/10day", "sliding_window 60/10day"] {
            let limiter = Limiter::builder(quota.parse().unwrap()).name(quota).store(store.clone()).build();
            assert_eq!(admitted(&limiter, 4, 20), 60, "{level}: {quota}");
            limiter.blocking().reset("hot").unwrap();
            limiter.blocking().charge("hot", 1).unwrap();
            assert_eq!(limiter.blocking().peek("hot").unwrap().remaining(), 59);
            limiter.blocking().sweep().unwrap();
        }
    }
}

#[test]
fn unusual_settings_of_a_session_change_nothing() {
    let database = PostgresServer::shared().fresh_database();
    for setting in [
        "search_path = nowhere",
        "standard_conforming_strings = off",
        "bytea_output = 'escape'",
        "datestyle = 'German'",
        "intervalstyle = 'sql_standard'",
        "plan_cache_mode = force_custom_plan",
        "\"plpgsql.variable_conflict\" = error",
        "check_function_bodies = off",
        "array_nulls = off",
        "statement_timeout = '1min'",
    ] {
        database.psql(&format!("ALTER DATABASE {} SET {setting}", database.name()));
    }
    let store = builder(&database.url()).build().unwrap();
    block_on(store.ready()).unwrap();
    assert_eq!(admitted(&hundred(&store), 2, 60), 100);
}

#[test]
fn behind_a_pooler_in_transaction_mode_takes_are_exact() {
    let server = PostgresServer::shared();
    let database = server.fresh_database();
    let pooler = Pooler::start(server);
    // More of our connections than the pooler has sessions: each transaction may meet another one.
    let store = builder(&pooler.url(&database)).max_connections(12).build().unwrap();
    block_on(store.ready()).unwrap();
    assert_eq!(admitted(&hundred(&store), 12, 10), 100);
    let limiter = Limiter::builder("40/10day".parse().unwrap()).store(store.clone()).build();
    assert_eq!(admitted(&limiter, 12, 10), 40);
    limiter.blocking().reset("hot").unwrap();
    // Other programs' sessions are taken over with whatever we might have left in them.
    let left = psql(&pooler.url(&database), "SELECT count(*) FROM pg_prepared_statements");
    assert_eq!(left, "0");
    for setting in ["enable_seqscan", "lock_timeout", "transaction_isolation"] {
        let expected = database.psql(&format!("SHOW {setting}"));
        for _ in 0..8 {
            assert_eq!(psql(&pooler.url(&database), &format!("SHOW {setting}")), expected, "{setting}");
        }
    }
}

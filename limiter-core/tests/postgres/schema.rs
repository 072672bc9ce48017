//! The tables and routines: who makes them, under which names, beside which others.

use crate::{
    fixture::{builder, database, failed, hundred, says, unique},
    processes::Workers,
    servers::PostgresServer,
    support::block_on,
};
use limiter_core::{Limiter, PostgresStore, StoreErrorKind};

#[test]
fn eight_processes_create_the_tables_at_once() {
    let database = PostgresServer::shared().fresh_database();
    let admitted: usize = Workers::start(8, &database.url(), "hot", 20).into_iter().map(|worker| worker.admitted).sum();
    assert_eq!(admitted, 100);
    assert_eq!(database.psql("SELECT format FROM limiter_schema"), "1");
}

#[test]
fn where_tables_may_not_be_made_the_error_has_the_sql_and_who_runs_it() {
    let database = PostgresServer::shared().fresh_database();
    let role = unique();
    database.psql(&format!("CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM public"));
    let store = builder(&database.url_as(&role)).build().unwrap();
    let limiter = hundred(&store);
    for error in [block_on(store.ready()).unwrap_err(), failed(limiter.blocking().check("ada"))] {
        let (kind, text) = says(&error);
        assert_eq!(kind, StoreErrorKind::Permission, "{text}");
        assert!(text.contains("the schema's owner") && text.contains(&store.schema_sql()), "{text}");
    }
    // Somebody who may does what it says, but for the rights.
    database.psql(&store.schema_sql());
    let (kind, text) = says(&block_on(store.ready()).unwrap_err());
    assert_eq!(kind, StoreErrorKind::Permission, "{text}");
    let (_, grants) = text.split_once("GRANT").unwrap();
    let (grants, _) = grants.split_once("; ").unwrap();
    database.psql(&format!("GRANT{}", grants.replace("the_role", &role)));
    block_on(store.ready()).unwrap();
    assert!(limiter.blocking().check("ada").unwrap().allowed());
}

#[test]
fn any_names_will_do() {
    let (schema, prefix) = ("Ünï \"schema\"; --", "a'b\"{runs}$body$\\ü");
    let store = builder(&database().url()).schema(schema).prefix(prefix).build().unwrap();
    block_on(store.ready()).unwrap();
    let limiter = Limiter::builder("sliding_log 2/day".parse().unwrap()).name("it's \"\0\" {states}").store(store);
    let limiter = limiter.build();
    for key in ["'; DROP TABLE x; --", "\0", "", "ключ", &"long".repeat(1000)] {
        assert!(limiter.blocking().check(key).unwrap().allowed());
        assert_eq!(limiter.blocking().peek(key).unwrap().remaining(), 1, "{key}");
    }
    let tables = database().psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'Ünï \"schema\"; --'");
    assert_eq!(tables, "4");
}

#[test]
fn long_keys_and_those_under_a_secret_are_stored_as_digests() {
    let database = PostgresServer::shared().fresh_database();
    let keys = || database.psql("SELECT encode(key, 'escape') FROM limiter_1_states ORDER BY length(key), key");
    let limiter = hundred(&builder(&database.url()).build().unwrap());
    limiter.blocking().check("ada@example.com").unwrap();
    assert!(keys().ends_with("=hundred=ada@example.com"), "{}", keys());
    limiter.blocking().reset("ada@example.com").unwrap();
    for (limiter, key) in [
        (limiter, "ada@example.com".repeat(100)),
        (hundred(&builder(&database.url()).hash_keys("secret").build().unwrap()), "ada@example.com".to_owned()),
    ] {
        limiter.blocking().check(&key).unwrap();
        assert!(keys().contains("=hundred#") && !keys().contains("ada"), "{}", keys());
        assert_eq!(limiter.blocking().peek(&key).unwrap().remaining(), 99);
        limiter.blocking().reset(&key).unwrap();
    }
}

#[test]
fn names_that_the_server_would_cut_short_are_refused() {
    for (builder, says_) in [
        (builder("postgres://localhost/x").prefix("p".repeat(33)), "prefix"),
        (builder("postgres://localhost/x").prefix(""), "prefix"),
        (builder("postgres://localhost/x").schema("a\0b"), "schema"),
    ] {
        let (kind, text) = says(&builder.build().unwrap_err());
        assert_eq!(kind, StoreErrorKind::Config);
        assert!(text.contains(says_) && text.contains("32"), "{text}");
    }
}

#[test]
fn tables_that_were_dropped_are_made_again() {
    let database = PostgresServer::shared().fresh_database();
    let store = builder(&database.url()).build().unwrap();
    let limiter = hundred(&store);
    limiter.blocking().check("ada").unwrap();
    database.psql("DROP TABLE limiter_1_runs, limiter_1_states, limiter_1_dropped");
    assert_eq!(limiter.blocking().check("ada").unwrap().remaining(), 99);
}

#[test]
fn another_format_and_other_routines_stand_beside_ours_untouched() {
    let database = PostgresServer::shared().fresh_database();
    let store = builder(&database.url()).build().unwrap();
    let sql = store.schema_sql();
    // A later format: other tables, in which nothing is as we know it.
    let later =
        sql.replace("limiter_1_", "limiter_2_").replace("format 1", "format 2").replace("VALUES (1,", "VALUES (2,");
    database.psql(&later.replace("cells bigint[] NOT NULL", "cells_2 jsonb NOT NULL"));
    // An earlier release of this format: the same tables, other routines.
    let revision = revision(&store);
    database.psql(&sql.replace(&revision, "00000000"));
    let limiter = hundred(&store);
    assert_eq!(limiter.blocking().check("ada").unwrap().remaining(), 99);
    assert_eq!(database.psql("SELECT count(*) FROM limiter_2_states"), "0");
    let key = database.psql("SELECT encode(key, 'hex') FROM limiter_1_states");
    database.psql(&format!(
        "CALL limiter_1_decide_00000000(ARRAY['\\x{key}']::bytea[], '{{sliding_log 100/10day}}', \
         '{{4,1,1,3,864000000000,100,1,0,0,0,0}}', NULL, true, '1000', NULL, NULL, NULL)"
    ));
    assert_eq!(limiter.blocking().peek("ada").unwrap().remaining(), 98);
    let history = database.psql("SELECT format, routines FROM limiter_schema ORDER BY 1, 2");
    assert_eq!(history, format!("1|00000000\n1|{revision}\n2|{revision}"));
}

/// What a store's routines are named after.
fn revision(store: &PostgresStore) -> String {
    let sql = store.schema_sql();
    let (_, after) = sql.split_once("\"limiter_1_decide_").unwrap();
    after[..8].to_owned()
}

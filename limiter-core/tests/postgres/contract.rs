//! The store passes every case of the contract; further handles are stores on the same tables.

use crate::fixture::{on_tables, unique};
use limiter_core::{PostgresStore, conformance::Harness};
use std::future::{Future, ready};

struct OnTables;

/// What the tables of a store begin with, as its SQL says.
fn prefix_of(store: &PostgresStore) -> String {
    let sql = store.schema_sql();
    let (_, after) = sql.split_once("CREATE TABLE IF NOT EXISTS \"public\".\"").unwrap();
    after.split_once("_1_states").unwrap().0.to_owned()
}

impl Harness for OnTables {
    type Store = PostgresStore;

    fn fresh(&self) -> impl Future<Output = PostgresStore> + Send {
        ready(on_tables(&unique()))
    }

    fn reopen(&self, store: PostgresStore) -> impl Future<Output = Option<PostgresStore>> + Send {
        ready(Some(on_tables(&prefix_of(&store))))
    }

    fn share(&self, store: &PostgresStore) -> impl Future<Output = Option<PostgresStore>> + Send {
        ready(Some(on_tables(&prefix_of(store))))
    }
}

limiter_core::conformance::tests!(OnTables, Persists, Shares);

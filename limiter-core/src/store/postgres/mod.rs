//! State on a Postgres server.

mod builder;
mod client;
mod error;
mod format;
mod replace;
mod schema;
mod store;

pub use builder::PostgresStoreBuilder;
pub use store::PostgresStore;

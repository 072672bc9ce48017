//! State in an SQLite file.

mod builder;
mod connection;
mod error;
mod format;
mod oneshot;
mod open;
mod queue;
mod states;
mod store;
mod worker;

pub use builder::SqliteStoreBuilder;
pub use store::SqliteStore;

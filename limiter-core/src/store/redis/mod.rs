//! State on a Redis or Valkey server.

mod address;
mod builder;
mod client;
mod error;
mod format;
mod name;
mod ready;
mod reply;
mod script;
mod servers;
mod slots;
mod store;
mod work;

pub use builder::RedisStoreBuilder;
pub use ready::RedisWarning;
pub use store::RedisStore;

#![doc = include_str!("../README.md")]

mod error;
mod key;
pub mod learn;
mod middleware;
mod obey;

pub use error::RateLimitError;
pub use key::host_key;
pub use middleware::RateLimitMiddleware;

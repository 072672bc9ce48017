//! For clients that are tower services of `http` requests: hyper's, and others.

mod error;
mod service;

pub use error::LimitedError;
pub use service::Limited;

//! The layer for HTTP services: what is set, the service it makes, and the answer to come.

mod future;
mod layer;
mod options;
mod service;

pub use future::ResponseFuture;
pub use layer::RateLimitLayer;
pub use service::RateLimit;

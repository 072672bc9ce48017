//! Waiting in front of any tower service, whatever its requests are.

mod error;
mod future;
mod layer;
mod service;

pub use error::ThrottleError;
pub use future::ThrottleFuture;
pub use layer::ThrottleLayer;
pub use service::Throttle;

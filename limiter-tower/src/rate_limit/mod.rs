//! The layer for HTTP services: what is set, the service it makes, and the answer to come.

mod future;
mod layer;
mod options;
mod service;
#[cfg(feature = "body")]
mod whole;
#[cfg(not(feature = "body"))]
mod whole {
    //! Nobody looks after bodies.
    use crate::settle::Rest;

    pub(super) fn leave(_: Rest, _: &mut http::Extensions) {}
}

pub use future::ResponseFuture;
pub use layer::RateLimitLayer;
pub use service::RateLimit;
#[cfg(feature = "body")]
pub use whole::{CountedBody, WholeResponse, WholeResponseFuture, WholeResponseLayer};

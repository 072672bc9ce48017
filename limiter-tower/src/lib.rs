#![doc = include_str!("../README.md")]

#[cfg(feature = "body")]
mod body;
mod future;
mod key;
mod layer;
mod response;
mod service;
mod throttle;

#[cfg(feature = "body")]
pub use body::{
    ThrottleRequestBody, ThrottleRequestBodyFuture, ThrottleRequestBodyLayer, ThrottleResponseBody,
    ThrottleResponseBodyFuture, ThrottleResponseBodyLayer, ThrottledBody,
};
pub use future::ResponseFuture;
pub use key::{ExtensionKey, Global, HeaderKey, IntoKey, KeyError, KeyExtractor};
pub use layer::RateLimitLayer;
pub use limiter_core::http::{FieldSet, Generation, PolicyName};
pub use service::RateLimit;
pub use throttle::{Throttle, ThrottleError, ThrottleFuture, ThrottleLayer};

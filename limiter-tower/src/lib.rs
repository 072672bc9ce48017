#![doc = include_str!("../README.md")]

mod future;
mod key;
mod layer;
mod response;
mod service;

pub use future::ResponseFuture;
pub use key::{
    CookieKey, ExtensionKey, Global, HeaderKey, IntoKey, KeyError, KeyExtractor, MethodKey, Or, OrRefuse, QueryKey,
};
pub use layer::RateLimitLayer;
pub use limiter_core::http::{FieldSet, Generation, PolicyName};
pub use service::RateLimit;

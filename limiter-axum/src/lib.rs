#![doc = include_str!("../README.md")]

mod extract;
mod from_extractor;
mod key;

pub use extract::{Limited, NotLimited};
pub use from_extractor::{
    ExtractedKey, FromExtractor, FromExtractorFuture, FromExtractorLayer, from_extractor, from_extractor_with_state,
};
pub use key::{MatchedRoute, PeerAddr};
pub use limiter_tower::{
    Answer, ClientAddr, CookieKey, ExtensionKey, FieldSet, Format, Generation, Global, HeaderKey, IntoKey, KeyError,
    KeyExtractor, MethodKey, Or, OrRefuse, Policy, PolicyError, PolicyName, ProxyError, QueryKey, RateLimit,
    RateLimitLayer, Reason, Refusal, Throttle, ThrottleError, ThrottleLayer, TrustedProxies, Verdict, exposed_headers,
};
#[cfg(feature = "body")]
pub use limiter_tower::{ThrottleRequestBodyLayer, ThrottleResponseBodyLayer, ThrottledBody};

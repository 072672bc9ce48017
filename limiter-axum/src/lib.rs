#![doc = include_str!("../README.md")]

mod extract;
mod from_extractor;
mod key;

pub use extract::{Limited, NotLimited};
pub use from_extractor::{
    FromExtractor, FromExtractorFuture, FromExtractorLayer, from_extractor, from_extractor_with_state,
};
pub use key::{MatchedRoute, PeerAddr};
pub use limiter_tower::{
    ClientAddr, CookieKey, Event, ExtensionKey, FieldSet, Generation, Global, HeaderKey, IntoKey, KeyError,
    KeyExtractor, MethodKey, Or, OrRefuse, Outcome, Policy, PolicyError, PolicyName, ProxyError, QueryKey, RateLimit,
    RateLimitLayer, TrueCost, TrustedProxies, Verdict,
};

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
    Event, ExtensionKey, FieldSet, Generation, Global, HeaderKey, IntoKey, KeyError, KeyExtractor, Outcome, Policy,
    PolicyError, PolicyName, RateLimit, RateLimitLayer, TrueCost, Verdict,
};

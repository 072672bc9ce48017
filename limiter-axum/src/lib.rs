#![doc = include_str!("../README.md")]

mod extract;
mod from_extractor;
mod key;
#[cfg(feature = "rules")]
mod rules;
#[cfg(feature = "ws")]
mod ws;

pub use extract::{Limited, NotLimited};
pub use from_extractor::{
    ExtractedKey, FromExtractor, FromExtractorFuture, FromExtractorLayer, from_extractor, from_extractor_with_state,
};
pub use key::{MatchedRoute, PeerAddr};
pub use limiter_tower::{
    Answer, Breaker, ClientAddr, CookieKey, Event, ExtensionKey, FieldSet, Format, Generation, Global, HeaderKey,
    IntoKey, KeyError, KeyExtractor, MethodKey, Or, OrRefuse, Outcome, Policy, PolicyError, PolicyName, ProxyError,
    QueryKey, RateLimit, RateLimitLayer, Reason, Refusal, StoreFailure, Throttle, ThrottleError, ThrottleLayer,
    TrueCost, TrustedProxies, Verdict, exposed_headers,
};
#[cfg(feature = "body")]
pub use limiter_tower::{
    CountedBody, ThrottleRequestBodyLayer, ThrottleResponseBodyLayer, ThrottledBody, WholeResponseLayer,
};
#[cfg(feature = "rules")]
pub use limiter_tower::{
    Mistake, Rules, RulesChange, RulesError, RulesFormat, RulesLayer, RulesLayerBuilder, RulesReader, RulesService,
    RulesWatch,
};
#[cfg(feature = "rules")]
pub use rules::rules_reader;
#[cfg(feature = "ws")]
pub use ws::{LimitedSocket, close_frame};

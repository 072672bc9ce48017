#![doc = include_str!("../README.md")]

mod answer;
#[cfg(feature = "body")]
mod body;
mod decision;
mod events;
mod key;
mod policies;
mod rate_limit;
#[cfg(feature = "rules")]
mod rules;
mod settle;
mod throttle;

pub use answer::{Answer, Format, Reason, Refusal, exposed_headers};
#[cfg(feature = "body")]
pub use body::{
    OfRequests, OfResponses, ThrottleBody, ThrottleBodyFuture, ThrottleBodyLayer, ThrottleRequestBody,
    ThrottleRequestBodyFuture, ThrottleRequestBodyLayer, ThrottleResponseBody, ThrottleResponseBodyFuture,
    ThrottleResponseBodyLayer, ThrottledBody,
};
pub use decision::{Breaker, StoreFailure, Verdict};
pub use events::{Event, Outcome};
pub use key::{
    ClientAddr, CookieKey, ExtensionKey, Global, HeaderKey, IPV6_PREFIX_BITS, IntoKey, KeyError, KeyExtractor,
    MethodKey, Or, OrRefuse, ProxyError, QueryKey, TrustedProxies, address_group,
};
pub use limiter_core::http::{FieldSet, Generation, PolicyName};
pub use policies::{Policy, PolicyError};
#[cfg(feature = "body")]
pub use rate_limit::{CountedBody, WholeResponse, WholeResponseFuture, WholeResponseLayer};
pub use rate_limit::{RateLimit, RateLimitLayer, ResponseFuture};
#[cfg(feature = "rules")]
pub use rules::{
    Mistake, Rules, RulesChange, RulesError, RulesFormat, RulesLayer, RulesLayerBuilder, RulesReader, RulesService,
    RulesWatch,
};
pub use settle::TrueCost;
pub use throttle::{Throttle, ThrottleError, ThrottleFuture, ThrottleLayer};

#![doc = include_str!("../README.md")]

mod announced;
mod answer;
#[cfg(feature = "body")]
mod body;
mod event;
mod failure;
mod future;
mod key;
mod layer;
mod outcome;
mod policy;
mod question;
#[cfg(feature = "rules")]
mod rules;
mod ruling;
mod service;
mod throttle;
#[cfg(feature = "tracing")]
mod trace;
#[cfg(not(feature = "tracing"))]
mod trace {
    //! Nobody listens.
    pub(crate) const IS_ON: bool = false;

    pub(crate) fn event(_: &crate::Event<'_>) {}
}
mod verdict;

pub use answer::{Answer, Format, Reason, Refusal, exposed_headers};
#[cfg(feature = "body")]
pub use body::{
    ThrottleRequestBody, ThrottleRequestBodyFuture, ThrottleRequestBodyLayer, ThrottleResponseBody,
    ThrottleResponseBodyFuture, ThrottleResponseBodyLayer, ThrottledBody,
};
pub use event::{Event, Outcome};
pub use failure::{Breaker, StoreFailure};
pub use future::ResponseFuture;
pub use key::{
    ClientAddr, CookieKey, ExtensionKey, Global, HeaderKey, IPV6_PREFIX_BITS, IntoKey, KeyError, KeyExtractor,
    MethodKey, Or, OrRefuse, ProxyError, QueryKey, TrustedProxies, address_group,
};
pub use layer::RateLimitLayer;
pub use limiter_core::http::{FieldSet, Generation, PolicyName};
pub use outcome::TrueCost;
pub use policy::{Policy, PolicyError};
#[cfg(feature = "rules")]
pub use rules::{
    Mistake, Rules, RulesChange, RulesError, RulesFormat, RulesLayer, RulesLayerBuilder, RulesReader, RulesService,
    RulesWatch,
};
pub use service::RateLimit;
pub use throttle::{Throttle, ThrottleError, ThrottleFuture, ThrottleLayer};
pub use verdict::Verdict;

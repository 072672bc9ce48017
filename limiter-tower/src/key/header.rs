//! A header's value as key.

use super::{
    KeyError, KeyExtractor,
    missing::{Missing, missing_policy},
};
use http::{HeaderName, HeaderValue, request::Parts};
use limiter_core::KeyBuf;

/// The value of a request header, its first line.
///
/// Requests without it, or with an empty one, share one key. Clients choose what they send: where nothing checks the
/// value before the limit does, a new value buys a new quota, so add a limit by address too. Where something does, see that
/// it reads the first line too, and that one value has one spelling: `Bearer x` and `bearer  x` are one token to most, and
/// two keys. [`ExtensionKey`](crate::ExtensionKey) takes what was checked itself.
///
/// ```
/// use http::HeaderName;
/// use limiter_core::Limiter;
/// use limiter_tower::{HeaderKey, RateLimitLayer};
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let api_key = HeaderKey::new(HeaderName::from_static("x-api-key")).required();
/// let layer = RateLimitLayer::new(Limiter::parse("100/s")?).key(api_key);
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderKey {
    name: HeaderName,
    missing: Missing,
}

impl HeaderKey {
    /// The value of the header `name`; requests without it share one key.
    #[must_use]
    pub fn new(name: HeaderName) -> Self {
        Self { name, missing: Missing::default() }
    }
}

missing_policy!(HeaderKey, "header", "HeaderKey::new(http::HeaderName::from_static(\"x-tenant\"))");

impl KeyExtractor for HeaderKey {
    fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError> {
        let value = request.headers.get(&self.name).map(HeaderValue::as_bytes);
        self.missing.key(value, format_args!("the {} header", self.name))
    }
}

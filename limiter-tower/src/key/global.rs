//! One key for all.

use super::{IntoKey, KeyError, KeyExtractor};
use http::request::Parts;
use limiter_core::KeyBuf;

/// One key for all requests: the default.
///
/// ```
/// use limiter_core::Limiter;
/// use limiter_tower::{Global, RateLimitLayer};
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let layer = RateLimitLayer::new(Limiter::parse("100/s")?).key(Global);
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Global;

impl KeyExtractor for Global {
    fn key(&self, _: &Parts) -> Result<Option<KeyBuf>, KeyError> {
        ().into_key()
    }
}

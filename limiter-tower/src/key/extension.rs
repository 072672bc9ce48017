//! What a layer further out left in the request, as key.

use super::{KeyError, KeyExtractor};
use http::request::Parts;
use limiter_core::{Key, KeyBuf};
use std::{any::type_name, fmt, marker::PhantomData};

/// A key that a layer further out left in the request's extensions: the signed-in user, the tenant.
///
/// Without it, the request is answered with 500: the layer that inserts it is missing or stands in the wrong place.
/// [`optional`](Self::optional) is for one that inserts it only sometimes.
///
/// Nobody can spoof it: it is as trustworthy as the layer that checked who is there. The type may be one that other
/// extractors read too; what counts is its [`Key`] implementation.
///
/// ```
/// use limiter_core::{Key, KeyBuf, Limiter};
/// use limiter_tower::{ExtensionKey, RateLimitLayer};
///
/// #[derive(Clone)]
/// struct UserId(u64);
///
/// impl Key for UserId {
///     fn encode(&self, out: &mut KeyBuf) {
///         self.0.encode(out);
///     }
/// }
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let layer = RateLimitLayer::new(Limiter::parse("100/s")?).key(ExtensionKey::<UserId>::new());
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
pub struct ExtensionKey<T> {
    optional: bool,
    of: PhantomData<fn() -> T>,
}

impl<T> ExtensionKey<T> {
    /// The key of type `T` in the request's extensions.
    #[must_use]
    pub fn new() -> Self {
        Self { optional: false, of: PhantomData }
    }

    /// Does not limit requests without the extension, such as those of nobody signed in; with
    /// [`or`](KeyExtractor::or), they have another key.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::{ExtensionKey, KeyExtractor, MethodKey, RateLimitLayer};
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let user = ExtensionKey::<u64>::new().optional();
    /// let layer = RateLimitLayer::new(Limiter::parse("100/s")?).key(user.or(MethodKey));
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn optional(self) -> Self {
        Self { optional: true, ..self }
    }
}

impl<T: Key + Send + Sync + 'static> KeyExtractor for ExtensionKey<T> {
    fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError> {
        match request.extensions.get::<T>() {
            Some(key) => Ok(Some(KeyBuf::of(key))),
            None if self.optional => Ok(None),
            None => Err(KeyError::new(format!(
                "the request's extensions hold no {}; the layer that inserts it must stand outside of RateLimitLayer",
                type_name::<T>()
            ))),
        }
    }
}

impl<T> Default for ExtensionKey<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for ExtensionKey<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ExtensionKey<T> {}

impl<T> fmt::Debug for ExtensionKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = format_args!("{}", type_name::<T>());
        f.debug_struct("ExtensionKey").field("of", &of).field("optional", &self.optional).finish()
    }
}

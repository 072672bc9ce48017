//! Whose quota a request is counted under.

use http::{HeaderName, HeaderValue, StatusCode, request::Parts};
use limiter_core::{Key, KeyBuf};
use std::{
    any::type_name,
    borrow::Cow,
    error::Error,
    fmt,
    marker::PhantomData,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// Reads the key of a request off its head: method, URI, headers, extensions.
///
/// Closures `Fn(&Parts) -> impl IntoKey` are extractors, and so are tuples of up to four extractors, whose keys are
/// joined without ambiguity; a member without a key means none at all.
///
/// ```
/// use http::{Request, header::USER_AGENT, request::Parts};
/// use limiter_core::KeyBuf;
/// use limiter_tower::{HeaderKey, KeyExtractor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let extractor = (HeaderKey::new(USER_AGENT), |request: &Parts| request.method.to_string());
/// let (head, ()) = Request::get("/").header(USER_AGENT, "curl").body(())?.into_parts();
/// assert_eq!(extractor.key(&head)?, Some(KeyBuf::of(&("curl", "GET"))));
/// # Ok(())
/// # }
/// ```
pub trait KeyExtractor: Send + Sync + 'static {
    /// The request's key, or `None` if it is not to be limited.
    ///
    /// # Errors
    /// What a key needs is missing. The request is answered with the error; it never passes unlimited.
    fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError>;
}

impl<F, K> KeyExtractor for F
where
    F: Fn(&Parts) -> K + Send + Sync + 'static,
    K: IntoKey,
{
    fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError> {
        self(request).into_key()
    }
}

/// What a closure may return for a key.
///
/// Text, bytes, numbers, addresses, header values and tuples of keys; an `Option` of these, where `None` means that
/// the request is not limited; and a `Result`, whose error is answered. A [`Key`] of your own becomes one by
/// [`KeyBuf::of`], or by implementing this trait for it.
///
/// ```
/// use limiter_tower::{IntoKey, KeyError};
///
/// # fn main() -> Result<(), KeyError> {
/// assert!("ada".into_key()?.is_some());
/// assert!(None::<String>.into_key()?.is_none());
/// assert!(Err::<u64, _>(KeyError::new("no session")).into_key().is_err());
/// # Ok(())
/// # }
/// ```
pub trait IntoKey {
    /// The key, or `None` for a request that is not to be limited.
    ///
    /// # Errors
    /// The request is answered with the error.
    fn into_key(self) -> Result<Option<KeyBuf>, KeyError>;
}

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

/// The value of a request header, its first line.
///
/// Requests without it, or with an empty one, share one key. Clients choose what they send: where nothing checks the
/// value before the limit does, a new value buys a new quota, so add a limit by address too.
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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Missing {
    Shared,
    Unlimited,
    Refused,
}

impl HeaderKey {
    /// The value of the header `name`; requests without it share one key.
    #[must_use]
    pub fn new(name: HeaderName) -> Self {
        Self { name, missing: Missing::Shared }
    }

    /// Does not limit requests without the header: for a limit that another one stands behind.
    ///
    /// ```
    /// use http::HeaderName;
    /// use limiter_core::Limiter;
    /// use limiter_tower::{HeaderKey, RateLimitLayer};
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let tenant = HeaderKey::new(HeaderName::from_static("x-tenant")).optional();
    /// let layer = RateLimitLayer::new(Limiter::parse("100/s")?).key(tenant);
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn optional(self) -> Self {
        Self { missing: Missing::Unlimited, ..self }
    }

    /// Answers requests without the header with 400 (Bad Request).
    ///
    /// ```
    /// use http::HeaderName;
    /// use limiter_core::Limiter;
    /// use limiter_tower::{HeaderKey, RateLimitLayer};
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let tenant = HeaderKey::new(HeaderName::from_static("x-tenant")).required();
    /// let layer = RateLimitLayer::new(Limiter::parse("100/s")?).key(tenant);
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn required(self) -> Self {
        Self { missing: Missing::Refused, ..self }
    }
}

impl KeyExtractor for HeaderKey {
    fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError> {
        let value = request.headers.get(&self.name).filter(|value| !value.is_empty());
        match (value, self.missing) {
            (Some(value), _) => Ok(Some(KeyBuf::of(value.as_bytes()))),
            (None, Missing::Shared) => ().into_key(),
            (None, Missing::Unlimited) => Ok(None),
            (None, Missing::Refused) => {
                let detail = format!("the {} header is missing", self.name);
                Err(KeyError::new(detail).with_status(StatusCode::BAD_REQUEST))
            }
        }
    }
}

/// A key that a layer further out left in the request's extensions: the signed-in user, the tenant.
///
/// Without it, the request is answered with 500: the layer that inserts it is missing or stands in the wrong place.
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
pub struct ExtensionKey<T>(PhantomData<fn() -> T>);

impl<T> ExtensionKey<T> {
    /// The key of type `T` in the request's extensions.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Key + Send + Sync + 'static> KeyExtractor for ExtensionKey<T> {
    fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError> {
        match request.extensions.get::<T>() {
            Some(key) => Ok(Some(KeyBuf::of(key))),
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
        f.debug_tuple("ExtensionKey").field(&format_args!("{}", type_name::<T>())).finish()
    }
}

/// Why a request's key cannot be had, and the status to answer it with.
///
/// The detail is sent to the client: name what is missing, never a key or a credential.
///
/// ```
/// use http::StatusCode;
/// use limiter_tower::KeyError;
///
/// let error = KeyError::new("no tenant in the path");
/// assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR);
/// assert_eq!(error.with_status(StatusCode::NOT_FOUND).status(), StatusCode::NOT_FOUND);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyError {
    detail: Cow<'static, str>,
    status: StatusCode,
}

impl KeyError {
    /// An error that is the server's own: 500.
    #[must_use]
    pub fn new(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: detail.into(), status: StatusCode::INTERNAL_SERVER_ERROR }
    }

    /// The same error with another status; one that is no error's (below 400) is taken for 500.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        let is_error = status.is_client_error() || status.is_server_error();
        Self { status: if is_error { status } else { StatusCode::INTERNAL_SERVER_ERROR }, ..self }
    }

    /// What is missing, in words.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Error for KeyError {}

impl<K: IntoKey> IntoKey for Option<K> {
    fn into_key(self) -> Result<Option<KeyBuf>, KeyError> {
        self.map_or(Ok(None), K::into_key)
    }
}

impl<K: IntoKey, E: Into<KeyError>> IntoKey for Result<K, E> {
    fn into_key(self) -> Result<Option<KeyBuf>, KeyError> {
        self.map_err(Into::into)?.into_key()
    }
}

impl IntoKey for KeyBuf {
    fn into_key(self) -> Result<Option<KeyBuf>, KeyError> {
        Ok(Some(self))
    }
}

impl IntoKey for HeaderValue {
    fn into_key(self) -> Result<Option<KeyBuf>, KeyError> {
        Ok(Some(KeyBuf::of(self.as_bytes())))
    }
}

impl<const N: usize> IntoKey for [u8; N] {
    fn into_key(self) -> Result<Option<KeyBuf>, KeyError> {
        Ok(Some(KeyBuf::of(&self)))
    }
}

macro_rules! keys {
    ($($key:ty),* $(,)?) => {$(
        impl IntoKey for $key {
            fn into_key(self) -> Result<Option<KeyBuf>, KeyError> {
                Ok(Some(KeyBuf::of(&self)))
            }
        }
    )*};
}

keys!((), &str, String, Box<str>, Arc<str>, Cow<'_, str>, &[u8], Vec<u8>, IpAddr, Ipv4Addr, Ipv6Addr);
keys!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128);

macro_rules! tuples {
    ($(($($member:ident $index:tt),+)),* $(,)?) => {$(
        impl<$($member: Key),+> IntoKey for ($($member,)+) {
            fn into_key(self) -> Result<Option<KeyBuf>, KeyError> {
                Ok(Some(KeyBuf::of(&self)))
            }
        }

        impl<$($member: KeyExtractor),+> KeyExtractor for ($($member,)+) {
            fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError> {
                let mut joined = KeyBuf::new();
                $(match self.$index.key(request)? {
                    Some(part) => joined.push_part(&part),
                    None => return Ok(None),
                })+
                Ok(Some(joined))
            }
        }
    )*};
}

tuples!((A 0), (A 0, B 1), (A 0, B 1, C 2), (A 0, B 1, C 2, D 3));

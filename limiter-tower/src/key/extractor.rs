//! What reads a key off a request, alone and with others.

use super::{IntoKey, KeyError};
use http::request::Parts;
use limiter_core::KeyBuf;

/// Reads the key of a request off its head: method, URI, headers, extensions.
///
/// Closures `Fn(&Parts) -> impl IntoKey` are extractors, and so are tuples of up to eight extractors, whose keys are
/// joined without ambiguity; a member without a key means none at all. [`or`](Self::or) and
/// [`or_refuse`](Self::or_refuse) say what becomes of requests without a key.
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

    /// Asks `other` where this extractor has no key: the signed-in user, else the address.
    ///
    /// Errors stay errors. The two extractors' keys never meet: the first one's are `(0_u8, key)`, the other's
    /// `(1_u8, key)`.
    ///
    /// ```
    /// use http::{HeaderName, Request};
    /// use limiter_core::KeyBuf;
    /// use limiter_tower::{HeaderKey, KeyExtractor, MethodKey};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let extractor = HeaderKey::new(HeaderName::from_static("x-api-key")).optional().or(MethodKey);
    /// let (with_key, ()) = Request::get("/").header("x-api-key", "ada").body(())?.into_parts();
    /// let (without, ()) = Request::get("/").body(())?.into_parts();
    /// assert_eq!(extractor.key(&with_key)?, Some(KeyBuf::of(&(0_u8, "ada"))));
    /// assert_eq!(extractor.key(&without)?, Some(KeyBuf::of(&(1_u8, "GET"))));
    /// # Ok(())
    /// # }
    /// ```
    fn or<E: KeyExtractor>(self, other: E) -> Or<Self, E>
    where
        Self: Sized,
    {
        Or { first: self, other }
    }

    /// Answers requests without a key with `error`, instead of not limiting them.
    ///
    /// ```
    /// use http::{Request, StatusCode, request::Parts};
    /// use limiter_tower::{KeyError, KeyExtractor};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let first_segment = |request: &Parts| request.uri.path().split('/').nth(1).map(str::to_owned);
    /// let extractor = first_segment.or_refuse(KeyError::new("no tenant").with_status(StatusCode::NOT_FOUND));
    /// let (head, ()) = Request::options("*").body(())?.into_parts();
    /// assert!(extractor.key(&head).is_err_and(|error| error.status() == StatusCode::NOT_FOUND));
    /// # Ok(())
    /// # }
    /// ```
    fn or_refuse(self, error: KeyError) -> OrRefuse<Self>
    where
        Self: Sized,
    {
        OrRefuse { extractor: self, error }
    }
}

/// One extractor, and another for the requests that it has no key for; see [`KeyExtractor::or`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Or<A, B> {
    first: A,
    other: B,
}

impl<A: KeyExtractor, B: KeyExtractor> KeyExtractor for Or<A, B> {
    fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError> {
        if let Some(key) = self.first.key(request)? {
            return Ok(Some(KeyBuf::of(&(0_u8, key))));
        }
        let key = self.other.key(request)?;
        Ok(key.map(|key| KeyBuf::of(&(1_u8, key))))
    }
}

/// An extractor whose requests without a key are refused; see [`KeyExtractor::or_refuse`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrRefuse<E> {
    extractor: E,
    error: KeyError,
}

impl<E: KeyExtractor> KeyExtractor for OrRefuse<E> {
    fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError> {
        let key = self.extractor.key(request)?;
        key.map_or_else(|| Err(self.error.clone()), |key| Ok(Some(key)))
    }
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

macro_rules! tuples {
    ($(($($member:ident $index:tt),+)),* $(,)?) => {$(
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

tuples!(
    (A 0),
    (A 0, B 1),
    (A 0, B 1, C 2),
    (A 0, B 1, C 2, D 3),
    (A 0, B 1, C 2, D 3, E 4),
    (A 0, B 1, C 2, D 3, E 4, F 5),
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6),
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7),
);

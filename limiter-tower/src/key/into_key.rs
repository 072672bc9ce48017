//! What closures may return for a key.

use super::KeyError;
use http::HeaderValue;
use limiter_core::{Key, KeyBuf};
use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// What a closure may return for a key.
///
/// Text, bytes, numbers, addresses, header values and tuples of keys; an `Option` of these, where `None` means that
/// the request is not limited; and a `Result`, whose error is answered. A [`Key`] of your own becomes one by
/// [`KeyBuf::of`], or by implementing this trait for it:
///
/// ```
/// use limiter_core::{Key, KeyBuf};
/// use limiter_tower::{IntoKey, KeyError};
///
/// struct Member {
///     team: u64,
///     name: String,
/// }
///
/// impl Key for Member {
///     fn encode(&self, out: &mut KeyBuf) {
///         (self.team, &self.name).encode(out);
///     }
/// }
///
/// impl IntoKey for Member {
///     fn into_key(self) -> Result<Option<KeyBuf>, KeyError> {
///         Ok(Some(KeyBuf::of(&self)))
///     }
/// }
/// ```
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
    ($(($($member:ident),+)),* $(,)?) => {$(
        impl<$($member: Key),+> IntoKey for ($($member,)+) {
            fn into_key(self) -> Result<Option<KeyBuf>, KeyError> {
                Ok(Some(KeyBuf::of(&self)))
            }
        }
    )*};
}

tuples!(
    (A),
    (A, B),
    (A, B, C),
    (A, B, C, D),
    (A, B, C, D, E),
    (A, B, C, D, E, F),
    (A, B, C, D, E, F, G),
    (A, B, C, D, E, F, G, H),
);

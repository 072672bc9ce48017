//! Whose units are counted.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// What a limit is counted by: text, bytes, numbers, addresses, and tuples of them.
///
/// A key is seen as bytes, the same in every process and on every store. Text and byte keys are taken as they are and
/// are never copied on the way to a decision. A tuple joins its members' bytes, each behind its length, so that no
/// two different tuples meet: `("ab", "c")` is not `("a", "bc")`. Keys of different types can be the same bytes
/// (`"1"` as text and as a byte string are); use one type of key a limiter.
///
/// ```
/// use limiter_core::Limiter;
/// use std::net::Ipv4Addr;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::parse("1/min")?;
/// assert!(limiter.check(Ipv4Addr::LOCALHOST)?.allowed());
/// assert!(limiter.check(("GET", "/search", 42_u64))?.allowed());
/// assert!(!limiter.check(("GET", "/search", 42_u64))?.allowed());
/// # Ok(())
/// # }
/// ```
pub trait Key {
    /// Appends the key's bytes to `out`.
    fn encode(&self, out: &mut KeyBuf);

    /// The key's bytes where they lie in memory already; the same that [`encode`](Self::encode) appends.
    fn as_bytes(&self) -> Option<&[u8]> {
        None
    }
}

/// Bytes of a key under construction; up to 40 of them without an allocation.
///
/// ```
/// use limiter_core::{Key, KeyBuf, Limiter};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// struct Session {
///     tenant: String,
///     user: u64,
/// }
///
/// impl Key for Session {
///     fn encode(&self, out: &mut KeyBuf) {
///         out.push_part(&self.tenant); // behind its length, so that no other pair reads the same
///         out.push_part(&self.user);
///     }
/// }
///
/// let ada = Session { tenant: "acme".into(), user: 7 };
/// assert_eq!(KeyBuf::of(&ada), KeyBuf::of(&("acme", 7_u64))); // as a tuple does
/// assert!(Limiter::parse("5/s")?.check(&ada)?.allowed());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct KeyBuf(smallvec::SmallVec<[u8; 40]>);

impl KeyBuf {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes of `key`.
    #[must_use]
    #[inline]
    pub fn of<K: Key + ?Sized>(key: &K) -> Self {
        if let Some(bytes) = key.as_bytes() {
            return Self(smallvec::SmallVec::from_slice(bytes));
        }
        let mut buf = Self::new();
        key.encode(&mut buf);
        buf
    }

    /// Appends bytes as they are.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Appends a key behind its length, so that what follows cannot be taken for a part of it.
    pub fn push_part<K: Key + ?Sized>(&mut self, part: &K) {
        let start = self.0.len();
        self.push(&[0; 4]);
        part.encode(self);
        let len = u32::try_from(self.0.len() - start - 4).unwrap_or(u32::MAX);
        if let Some(prefix) = self.0.get_mut(start..start + 4) {
            prefix.copy_from_slice(&len.to_le_bytes());
        }
    }

    /// The bytes so far.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyBuf {
    /// Shows the length only: keys can be personal data or credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyBuf({} bytes)", self.0.len())
    }
}

/// Runs `f` with the bytes of `key`, copying them only where they do not lie in memory.
pub(crate) fn with_bytes<K: Key + ?Sized, R>(key: &K, f: impl FnOnce(&[u8]) -> R) -> R {
    match key.as_bytes() {
        Some(bytes) => f(bytes),
        None => f(KeyBuf::of(key).as_slice()),
    }
}

macro_rules! bytes_in_memory {
    ($($type:ty => |$key:ident| $bytes:expr),* $(,)?) => {$(
        impl Key for $type {
            fn encode(&self, out: &mut KeyBuf) {
                let $key = self;
                out.push($bytes);
            }

            fn as_bytes(&self) -> Option<&[u8]> {
                let $key = self;
                Some($bytes)
            }
        }
    )*};
}

bytes_in_memory! {
    str => |key| str::as_bytes(key),
    String => |key| str::as_bytes(key),
    [u8] => |key| key,
    Vec<u8> => |key| key,
    KeyBuf => |key| key.as_slice(),
    () => |_key| &[],
    Cow<'_, str> => |key| str::as_bytes(key),
}

impl<const N: usize> Key for [u8; N] {
    fn encode(&self, out: &mut KeyBuf) {
        out.push(self);
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        Some(self)
    }
}

macro_rules! bytes_of_numbers {
    ($($number:ty),*) => {$(
        impl Key for $number {
            fn encode(&self, out: &mut KeyBuf) {
                out.push(&self.to_le_bytes());
            }
        }
    )*};
}

bytes_of_numbers!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);

impl Key for usize {
    /// As a `u64`: the same bytes on machines of every width.
    fn encode(&self, out: &mut KeyBuf) {
        (*self as u64).encode(out);
    }
}

impl Key for Ipv4Addr {
    fn encode(&self, out: &mut KeyBuf) {
        out.push(&self.octets());
    }
}

impl Key for Ipv6Addr {
    fn encode(&self, out: &mut KeyBuf) {
        out.push(&self.octets());
    }
}

impl Key for IpAddr {
    fn encode(&self, out: &mut KeyBuf) {
        match self {
            Self::V4(address) => address.encode(out),
            Self::V6(address) => address.encode(out),
        }
    }
}

macro_rules! forwarded {
    ($($pointer:ty),*) => {$(
        impl<K: Key + ?Sized> Key for $pointer {
            fn encode(&self, out: &mut KeyBuf) {
                (**self).encode(out);
            }

            fn as_bytes(&self) -> Option<&[u8]> {
                (**self).as_bytes()
            }
        }
    )*};
}

forwarded!(&K, Box<K>, Arc<K>);

impl<K: Key> Key for Option<K> {
    /// A present key is a one-member tuple, so that `Some("")` is not `None`.
    fn encode(&self, out: &mut KeyBuf) {
        if let Some(key) = self {
            out.push_part(key);
        }
    }
}

macro_rules! tuples {
    ($(($($member:ident $index:tt),+)),* $(,)?) => {$(
        impl<$($member: Key),+> Key for ($($member,)+) {
            fn encode(&self, out: &mut KeyBuf) {
                $(out.push_part(&self.$index);)+
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_that_read_alike_are_told_apart() {
        let keys = [
            KeyBuf::of(&("ab", "c")),
            KeyBuf::of(&("a", "bc")),
            KeyBuf::of(&("abc", "")),
            KeyBuf::of(&("", "abc")),
            KeyBuf::of(&("abc",)),
            KeyBuf::of(&(("ab", "c"),)),
            KeyBuf::of("abc"),
        ];
        for (i, a) in keys.iter().enumerate() {
            for (j, b) in keys.iter().enumerate() {
                assert_eq!(a == b, i == j, "{i} {j}");
            }
        }
        assert_ne!(KeyBuf::of(&Some("")), KeyBuf::of(&None::<&str>));
    }

    #[test]
    fn bytes_in_memory_are_what_encode_appends() {
        fn same(key: &(impl Key + ?Sized)) {
            assert_eq!(key.as_bytes(), Some(KeyBuf::of(key).as_slice()));
        }
        same("text");
        same(&String::from("text"));
        same(&[1_u8, 2][..]);
        same(&[1_u8, 2]);
        same(&Cow::Borrowed("text"));
        same(&KeyBuf::of(&7_u64));
        same(&());
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", KeyBuf::of("secret")), "KeyBuf(6 bytes)");
    }
}

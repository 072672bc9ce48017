//! A cookie's value as key.

use super::{
    KeyError, KeyExtractor,
    missing::{Missing, missing_policy},
};
use http::{header::COOKIE, request::Parts};
use limiter_core::KeyBuf;
use percent_encoding::percent_decode;
use std::borrow::Cow;

/// The value of a cookie, the first of its name.
///
/// It is read as most cookie parsers do, so that one session has one key: `sid=abc`, `sid="abc"` and `sid=%61bc` are
/// the same. Requests without the cookie, or with an empty one, share one key. Clients choose what they send: where
/// nothing checks the session before the limit does, a new value buys a new quota, so add a limit by address too. What
/// checks it must read the first of several cookies of the name too: with one that reads the last, as many cookie jars do,
/// any other cookie put before it is a new key. [`ExtensionKey`](crate::ExtensionKey) takes what was checked itself.
///
/// ```
/// use http::Request;
/// use limiter_core::KeyBuf;
/// use limiter_tower::{CookieKey, KeyExtractor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (head, ()) = Request::get("/").header("cookie", "theme=dark; sid=31d4d96e407aad42").body(())?.into_parts();
/// assert_eq!(CookieKey::new("sid").key(&head)?, Some(KeyBuf::of("31d4d96e407aad42")));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CookieKey {
    name: Cow<'static, str>,
    missing: Missing,
}

impl CookieKey {
    /// The value of the cookie `name`, whose case matters; requests without it share one key.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), missing: Missing::default() }
    }
}

missing_policy!(CookieKey, "cookie", "CookieKey::new(\"tenant\")");

impl KeyExtractor for CookieKey {
    fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError> {
        let lines = request.headers.get_all(COOKIE).iter();
        let mut cookies = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
        let value = cookies.find_map(|cookie| {
            let value = cookie.strip_prefix(self.name.as_bytes())?.trim_ascii_start().strip_prefix(b"=")?;
            Some(Cow::from(percent_decode(unquoted(value.trim_ascii_start()))))
        });
        self.missing.key(value.as_deref(), format_args!("the cookie {}", self.name))
    }
}

fn unquoted(value: &[u8]) -> &[u8] {
    let inside = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    inside.unwrap_or(value)
}

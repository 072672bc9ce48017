//! A query parameter's value as key.

use super::{
    KeyError, KeyExtractor,
    missing::{Missing, missing_policy},
};
use http::request::Parts;
use limiter_core::KeyBuf;
use std::borrow::Cow;

/// The value of a query parameter, the first of its name, decoded: `/search?tenant=north%20pole`.
///
/// Requests without it, or with an empty one, share one key. Clients choose what they send: where nothing checks the
/// value before the limit does, a new value buys a new quota, so add a limit by address too. What checks it must read the
/// first of several parameters of the name too; a map of them has the last.
///
/// ```
/// use http::Request;
/// use limiter_core::KeyBuf;
/// use limiter_tower::{KeyExtractor, QueryKey};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (head, ()) = Request::get("/search?page=2&tenant=north%20pole").body(())?.into_parts();
/// assert_eq!(QueryKey::new("tenant").key(&head)?, Some(KeyBuf::of("north pole")));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueryKey {
    name: Cow<'static, str>,
    missing: Missing,
}

impl QueryKey {
    /// The value of the parameter `name`, whose case matters; requests without it share one key.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), missing: Missing::default() }
    }
}

missing_policy!(QueryKey, "parameter", "QueryKey::new(\"tenant\")");

impl KeyExtractor for QueryKey {
    fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError> {
        let query = request.uri.query().unwrap_or_default();
        let named = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| *name == self.name);
        let value = named.as_ref().map(|(_, value)| value.as_bytes());
        self.missing.key(value, format_args!("the query parameter {}", self.name))
    }
}

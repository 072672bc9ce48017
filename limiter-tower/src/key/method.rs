//! The request's method as key.

use super::{IntoKey, KeyError, KeyExtractor};
use http::{Method, request::Parts};
use limiter_core::KeyBuf;

/// The request's method: `GET`, `POST`.
///
/// Those that HTTP itself does not define, of which a client can invent as many as it likes, share one key. `HEAD`
/// counts as `GET`.
///
/// ```
/// use limiter_core::Limiter;
/// use limiter_tower::{ExtensionKey, MethodKey, RateLimitLayer};
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// // By the number of the user whom a layer further out has signed in.
/// let each_users_methods = (ExtensionKey::<u64>::new(), MethodKey);
/// let layer = RateLimitLayer::new(Limiter::parse("100/s")?).key(each_users_methods);
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct MethodKey;

impl MethodKey {
    /// The key that a method is counted under, to ask or reset the limiter for it; empty for those that HTTP does not
    /// define.
    ///
    /// ```
    /// use http::Method;
    /// use limiter_tower::MethodKey;
    ///
    /// assert_eq!(MethodKey::group(&Method::POST), "POST");
    /// assert_eq!(MethodKey::group(&Method::HEAD), "GET");
    /// ```
    #[must_use]
    pub fn group(method: &Method) -> &str {
        match *method {
            Method::HEAD => Method::GET.as_str(),
            Method::GET
            | Method::POST
            | Method::PUT
            | Method::DELETE
            | Method::PATCH
            | Method::OPTIONS
            | Method::CONNECT
            | Method::TRACE => method.as_str(),
            _ => "",
        }
    }
}

impl KeyExtractor for MethodKey {
    fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError> {
        Self::group(&request.method).into_key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invented_method_buys_no_fresh_key() {
        let invented = |name: &[u8]| Method::from_bytes(name).unwrap();
        let group = MethodKey::group;
        assert_eq!(group(&invented(b"X1")), group(&invented(b"X2")));
        assert_eq!(group(&Method::HEAD), group(&Method::GET));
        assert_ne!(group(&Method::POST), group(&Method::GET));
        assert_ne!(group(&invented(b"X1")), group(&Method::GET));
    }
}

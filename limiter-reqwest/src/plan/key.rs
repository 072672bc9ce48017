//! Which requests share a quota.

use limiter_core::{Key, KeyBuf};
use reqwest::{Request, Url};
use std::{borrow::Cow, fmt, net::Ipv6Addr, sync::Arc};

/// The key of a URL's host: its scheme, host and port, the scheme's own port where none is named. `example.com.` is
/// `example.com`, and `[::ffff:127.0.0.1]` is `127.0.0.1`.
///
/// This is what requests are counted by unless told otherwise. With it, a host's limit can be looked at and changed
/// beside the client, or be one part of a finer key.
///
/// ```
/// use limiter_core::Limiter;
/// use limiter_reqwest::{Limits, host_key};
/// use reqwest::Url;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::parse("sliding_log 10/s")?;
/// let by_host_and_method = Limits::new(limiter.clone())
///     .key(|request| Some((host_key(request.url()), request.method().to_string())));
///
/// let host = host_key(&Url::parse("https://api.example.com/items?page=2")?);
/// assert_eq!(host, host_key(&Url::parse("https://api.example.com:443")?));
/// limiter.block(host, Duration::from_secs(30))?; // down for maintenance
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn host_key(url: &Url) -> KeyBuf {
    let port = url.port_or_known_default().unwrap_or_default();
    KeyBuf::of(&(url.scheme(), &*host(url), port))
}

/// The URL's host by one name, whichever of its names the URL has: without the dot of the root at its end, and an IPv4
/// address that is written as an IPv6 one as itself.
pub(super) fn host(url: &Url) -> Cow<'_, str> {
    let host = url.host_str().unwrap_or_default();
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok());
    match address.and_then(|address| address.to_ipv4_mapped()) {
        Some(address) => Cow::Owned(address.to_string()),
        None => Cow::Borrowed(host.strip_suffix('.').unwrap_or(host)),
    }
}

/// The key of a name and all below it; of fewer parts than a host's, so that they never meet.
pub(super) fn domain_key(name: &str) -> KeyBuf {
    KeyBuf::of(&("", name))
}

/// What requests are counted by.
#[derive(Clone)]
pub(crate) enum RequestKey {
    Host,
    Shared,
    By(Arc<KeyFn>),
}

type KeyFn = dyn Fn(&Request) -> Option<KeyBuf> + Send + Sync;

impl RequestKey {
    pub(crate) fn by<K: Key>(key: impl Fn(&Request) -> Option<K> + Send + Sync + 'static) -> Self {
        Self::By(Arc::new(move |request| key(request).map(|key| KeyBuf::of(&key))))
    }

    /// The request's key; `None` where it is not limited. `domain` is what hosts of it are counted together by.
    pub(crate) fn of(&self, request: &Request, domain: Option<&str>) -> Option<KeyBuf> {
        match self {
            Self::Host => Some(domain.map_or_else(|| host_key(request.url()), domain_key)),
            Self::Shared => Some(KeyBuf::of(&())),
            Self::By(key) => key(request),
        }
    }
}

impl RequestKey {
    /// Whether a closure says all there is to say of the key.
    pub(crate) fn is_custom(&self) -> bool {
        matches!(self, Self::By(_))
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "Host",
            Self::Shared => "Shared",
            Self::By(_) => "By(..)",
        })
    }
}

/// The host, with its port if the URL names one that is not the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::Method;

    fn request(url: &str) -> Request {
        Request::new(Method::GET, url.parse().unwrap())
    }

    #[test]
    fn scheme_host_and_effective_port_make_a_host() {
        let of = |url| RequestKey::Host.of(&request(url), None);
        assert_eq!(of("https://a.example/x?y"), of("https://user:password@A.example:443/z"));
        let different = ["https://a.example", "http://a.example", "https://a.example:8443", "https://b.example"];
        for (i, a) in different.iter().enumerate() {
            for b in &different[..i] {
                assert_ne!(of(a), of(b), "{a} {b}");
            }
        }
    }

    #[test]
    fn no_other_way_to_write_a_host_makes_another() {
        for (a, b) in [
            ("https://a.example./x", "https://A.EXAMPLE"),
            ("https://b%C3%BCcher.example", "https://xn--bcher-kva.example."),
            ("https://a.example\u{3002}", "https://a.example"),
            ("http://[::ffff:127.0.0.1]:81", "http://127.0.0.1:81"),
            ("http://[::FFFF:7f00:1]", "http://0x7f.1"),
            ("http://[0:0::0:1]", "http://[::1]:80"),
        ] {
            assert_eq!(host_key(&a.parse().unwrap()), host_key(&b.parse().unwrap()), "{a} {b}");
        }
    }

    #[test]
    fn a_domain_is_one_for_all_its_hosts_and_none_of_them() {
        let of = |url, domain| RequestKey::Host.of(&request(url), domain);
        let (a, b) = ("https://a.example", "http://b.example:81/c");
        assert_eq!(of(a, Some("example")), of(b, Some("example")));
        assert!(of(a, Some("example")) != of(a, Some("a.example")) && of(a, Some("a.example")) != of(a, None));
    }

    #[test]
    fn a_shared_key_is_one_for_all() {
        let of = |url| RequestKey::Shared.of(&request(url), Some("example"));
        assert_eq!(of("https://a.example"), of("http://b.example:81/c"));
    }

    #[test]
    fn a_closure_names_any_key_or_none() {
        let by_path = RequestKey::by(|request| (request.url().path() != "/health").then(|| request.url().path().len()));
        assert_eq!(by_path.of(&request("https://a.example/12345"), None), Some(KeyBuf::of(&6_usize)));
        assert_eq!(by_path.of(&request("https://a.example/health"), None), None);
    }

    #[test]
    fn an_authority_has_no_credentials() {
        assert_eq!(authority(&"https://user:password@a.example:8443/x?key=1".parse().unwrap()), "a.example:8443");
        assert_eq!(authority(&"https://a.example:443/".parse().unwrap()), "a.example");
        assert_eq!(authority(&"http://[::1]:80/".parse().unwrap()), "[::1]");
    }
}

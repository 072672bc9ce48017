//! Hosts and paths as rules name them.

use super::{
    error::{Kind, PlanError},
    key,
};
use reqwest::Url;
use std::borrow::Cow;

/// Where a rule applies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Site {
    /// This host, on this port or on all; as a URL prints it.
    Host(String),
    /// Every host below this name, each by itself.
    Below(String),
    /// This name and all below it together.
    Domain(String),
    /// Every host.
    All,
}

impl Site {
    /// A host with or without a port, `*.name`, or `*`.
    pub(super) fn host(text: &str) -> Result<Self, PlanError> {
        let wrong = || PlanError::new(Kind::Host, text);
        match text.strip_prefix('*') {
            Some("") => Ok(Self::All),
            Some(below) => {
                let name = below.strip_prefix('.').and_then(name).ok_or_else(wrong)?;
                Ok(Self::Below(name))
            }
            None => printed(text).map(Self::Host).ok_or_else(wrong),
        }
    }

    pub(super) fn domain(text: &str) -> Result<Self, PlanError> {
        name(text).map(Self::Domain).ok_or_else(|| PlanError::new(Kind::Domain, text))
    }

    /// The sites that `url` is in, whose [`host`](key::host) is `host`; the most specific first.
    pub(super) fn of<'a>(host: &'a str, url: &'a Url) -> impl Iterator<Item = Self> + 'a {
        let port = url.port_or_known_default().map(|port| Self::Host(format!("{host}:{port}")));
        let is_name = url.domain().is_some();
        let names = std::iter::successors(is_name.then_some(host), |name| Some(name.split_once('.')?.1));
        let around = names.enumerate().flat_map(|(depth, name)| {
            let below = (depth > 0).then(|| Self::Below(name.to_owned()));
            below.into_iter().chain([Self::Domain(name.to_owned())])
        });
        port.into_iter().chain([Self::Host(host.to_owned())]).chain(around).chain([Self::All])
    }
}

/// `text` as the host and port of a URL are printed: international names in ASCII, addresses in their usual form.
fn printed(text: &str) -> Option<String> {
    if text.is_empty() || text.contains(['/', '?', '#', '@', '\\', '*']) || text.chars().any(char::is_whitespace) {
        return None;
    }
    // A scheme without a port of its own, so that none named is left out, with the rules of the web's for hosts.
    let url = Url::parse(&format!("http://{text}/")).ok()?;
    let host = key::host(&url);
    if host.is_empty() {
        return None;
    }
    let after = &text[text.rfind(']').map_or(0, |end| end + 1)..];
    match after.rsplit_once(':') {
        Some((_, port)) => Some(format!("{host}:{}", port.parse::<u16>().ok()?)),
        None => Some(host.into_owned()),
    }
}

/// `text` as a URL prints a host's name.
fn name(text: &str) -> Option<String> {
    let url = Url::parse(&format!("http://{}/", printed(text)?)).ok()?;
    (url.port().is_none() && !text.contains(':')).then(|| url.domain().map(str::to_owned))?
}

/// The prefix of a path, in whole segments; without a slash at its end.
pub(super) fn prefix(text: &str) -> Result<String, PlanError> {
    let wrong = || PlanError::new(Kind::Path, text);
    if !text.starts_with('/') || text.contains(['?', '#']) {
        return Err(wrong());
    }
    let mut url = Url::parse("http://a/").map_err(|_| wrong())?;
    url.set_path(text);
    Ok(plain(url.path()).trim_end_matches('/').to_owned())
}

/// `path` with escapes only where they are needed, in upper case (RFC 3986, section 6.2.2): to a server, `/s%65arch` is
/// `/search`.
pub(super) fn plain(path: &str) -> Cow<'_, str> {
    let mut parts = path.split('%');
    let Some(first) = parts.next().filter(|first| first.len() < path.len()) else { return Cow::Borrowed(path) };
    let mut plain = first.to_owned();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).zip(part.get(2..));
        match escaped {
            Some((byte, rest)) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                plain.push(byte.into());
                plain += rest;
            }
            Some((byte, rest)) => plain += &format!("%{byte:02X}{rest}"),
            None => plain += &format!("%{part}"),
        }
    }
    Cow::Owned(plain)
}

/// Whether `path` is `prefix`, or goes on with another segment; both [`plain`].
pub(super) fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_urls_print_them() {
        for (text, expected) in [
            ("API.Example.com", "api.example.com"),
            ("api.example.com:443", "api.example.com:443"),
            ("a.example:80", "a.example:80"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("[::1]:81", "[::1]:81"),
            ("[0:0::1]", "[::1]"),
            ("127.1", "127.0.0.1"),
            ("[::ffff:127.0.0.1]:82", "127.0.0.1:82"),
            ("a.example.", "a.example"),
            ("a.example.:80", "a.example:80"),
        ] {
            assert_eq!(Site::host(text), Ok(Site::Host(expected.to_owned())), "{text}");
        }
        assert_eq!(Site::host("*.Example.com"), Ok(Site::Below("example.com".to_owned())));
        assert_eq!(Site::host("*"), Ok(Site::All));
    }

    #[test]
    fn what_is_no_host_domain_or_path_is_refused() {
        for text in [
            "",
            " ",
            "https://a.example",
            "a.example/x",
            "a b",
            "user@a.example",
            "a.example:x",
            "a.example:99999",
            "a.example:",
            "*a.example",
            "a.*.example",
            "*.",
            "*.127.0.0.1",
            "*.a.example:80",
            "::1",
        ] {
            assert_eq!(Site::host(text), Err(PlanError::new(Kind::Host, text)), "{text}");
        }
        for text in ["", "*.example.com", "example.com:80", "127.0.0.1", "[::1]", "https://example.com"] {
            assert_eq!(Site::domain(text), Err(PlanError::new(Kind::Domain, text)), "{text}");
        }
        for text in ["", "v2", "/v2?x=1", "/#a"] {
            assert_eq!(prefix(text), Err(PlanError::new(Kind::Path, text)), "{text}");
        }
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        let is_under = |path: &str, text: &str| is_under(&plain(path), &prefix(text).unwrap());
        for path in ["/v2/search", "/v2/search/", "/v2/search/x"] {
            assert!(is_under(path, "/v2/search") && is_under(path, "/v2/search/") && is_under(path, "/"), "{path}");
        }
        for path in ["/v2/searching", "/v2", "/V2/search", "/x/v2/search"] {
            assert!(!is_under(path, "/v2/search"), "{path}");
        }
        for (path, text) in
            [("/a%20b/c", "/a b"), ("/v2/se%61rch/x", "/v2/search"), ("/%7e%c3%bc", "/~ü"), ("/a%2fb", "/a%2Fb")]
        {
            assert!(is_under(path, text), "{path}");
        }
        for path in ["/v2%2Fsearch", "/v2/search%", "/v2/search%zz", "/v2/search%2", "/v2/%s%65arch"] {
            assert!(!is_under(path, "/v2/search"), "{path}");
        }
    }

    #[test]
    fn the_most_specific_site_stands_first() {
        let of = |url: &str| {
            let url = url.parse().unwrap();
            Site::of(&key::host(&url), &url).collect::<Vec<_>>()
        };
        let host = |text: &str| Site::Host(text.to_owned());
        let (below, domain) = (|text: &str| Site::Below(text.to_owned()), |text: &str| Site::Domain(text.to_owned()));
        assert_eq!(
            of("https://a.b.example/x"),
            [
                host("a.b.example:443"),
                host("a.b.example"),
                domain("a.b.example"),
                below("b.example"),
                domain("b.example"),
                below("example"),
                domain("example"),
                Site::All
            ]
        );
        assert_eq!(of("https://a.b.example./x"), of("https://a.b.example/x"));
        assert_eq!(of("http://127.0.0.1:81/"), [host("127.0.0.1:81"), host("127.0.0.1"), Site::All]);
    }
}

//! Hosts as rules name them.

use super::{
    error::{Kind, PlanError},
    key,
};
use reqwest::Url;

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
    fn what_is_no_host_or_domain_is_refused() {
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

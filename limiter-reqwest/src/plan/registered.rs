//! Hosts counted by the domain that somebody registered.

use super::{host_key, key::domain_key};
use crate::Limits;
use limiter_core::{KeyBuf, Store};
use reqwest::{Request, Url};

impl<S: Store> Limits<S> {
    /// Counts requests by registered domain: `example.co.uk` with all hosts below it, on whatever port, as the
    /// [public suffix list](https://publicsuffix.org) has it. Addresses and names without one are counted by host.
    ///
    /// Rules go by hosts as ever; each has its quota for every registered domain once. Needs the feature `psl`, whose list
    /// is that of the release that was built.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::Limits;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// // A crawler: `www.example.co.uk` and `img.example.co.uk` share one a second.
    /// let limits = Limits::new(Limiter::parse("sliding_log 1/s")?).by_domain();
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn by_domain(self) -> Self {
        self.key(|request: &Request| Some(registered(request.url())))
    }
}

fn registered(url: &Url) -> KeyBuf {
    let name = url.domain().map(|name| name.trim_end_matches('.'));
    let domain = name.and_then(|name| psl::domain(name.as_bytes())).filter(|domain| domain.suffix().is_known());
    domain.and_then(|domain| std::str::from_utf8(domain.as_bytes()).ok()).map_or_else(|| host_key(url), domain_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> KeyBuf {
        registered(&url.parse().unwrap())
    }

    #[test]
    fn hosts_of_one_registered_domain_are_one() {
        assert_eq!(of("https://www.example.co.uk/a"), of("http://example.co.uk:81"));
        assert_eq!(of("https://a.b.example.com"), of("https://EXAMPLE.com./"));
        assert_ne!(of("https://a.co.uk"), of("https://b.co.uk"));
        assert_ne!(of("https://one.github.io"), of("https://two.github.io"));
    }

    #[test]
    fn what_nobody_registered_is_counted_by_host() {
        for url in
            ["http://127.0.0.1:81/", "http://[::1]/", "http://localhost:3000/", "https://co.uk/", "http://printer.lan/"]
        {
            assert_eq!(of(url), host_key(&url.parse().unwrap()), "{url}");
        }
    }
}

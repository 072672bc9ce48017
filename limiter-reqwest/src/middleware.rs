//! The middleware.

use crate::{
    RateLimitError,
    key::{RequestKey, authority},
    obey,
};
use http::Extensions;
use limiter_core::{Algorithm, Key, KeyBuf, Limiter, MemoryStore, Permit, Store, http::DEFAULT_CAP};
use reqwest::{Request, Response, Url};
use reqwest_middleware::{Error, Middleware, Next};
use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Keeps the requests of a client inside a quota: each waits for its turn, and a host that asks for a pause gets it.
///
/// Clones share their limiters.
///
/// ```
/// use limiter_core::Limiter;
/// use limiter_reqwest::RateLimitMiddleware;
/// use reqwest_middleware::ClientBuilder;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// // Ten a second to each host; what the one documents, to that one.
/// let limits = RateLimitMiddleware::new(Limiter::parse("sliding_log 10/s")?)
///     .host("api.example.com", Limiter::parse("sliding_log 5/s, 100/min")?)
///     .max_wait(Duration::from_secs(10));
/// let client = ClientBuilder::new(reqwest::Client::new()).with(limits).build();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RateLimitMiddleware<S: Store = MemoryStore> {
    limiter: Limiter<S>,
    hosts: HashMap<String, Limiter<S>>,
    key: RequestKey,
    cost: Option<Arc<CostFn>>,
    max_wait: Duration,
    max_pause: Duration,
    restamp: Option<bool>,
}

type CostFn = dyn Fn(&Request) -> u64 + Send + Sync;

impl<S: Store> RateLimitMiddleware<S> {
    /// Keeps to `limiter`'s quota on each host: its scheme, name and port ([`host_key`](crate::host_key)).
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::RateLimitMiddleware;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let limits = RateLimitMiddleware::new(Limiter::parse("sliding_log 10/s, 200/min")?);
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(limiter: Limiter<S>) -> Self {
        Self {
            limiter,
            hosts: HashMap::new(),
            key: RequestKey::Host,
            cost: None,
            max_wait: Duration::from_secs(60),
            max_pause: DEFAULT_CAP,
            restamp: None,
        }
    }

    /// Keeps to another limiter's quota on the host `authority`: one port of it (`api.example.com:8080`), or, without
    /// a port, all those that have no limiter of their own.
    ///
    /// It is compared with the URL as that is printed: international names in ASCII, IPv6 addresses in brackets. What
    /// requests are counted by is the same for all limiters.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::RateLimitMiddleware;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let limits = RateLimitMiddleware::new(Limiter::parse("sliding_log 10/s")?)
    ///     .host("api.example.com", Limiter::parse("sliding_log 5/s, 100/min")?)
    ///     .host("api.example.com:8080", Limiter::parse("sliding_log 1/s")?);
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn host(mut self, authority: impl Into<String>, limiter: Limiter<S>) -> Self {
        let mut authority = authority.into();
        authority.make_ascii_lowercase();
        self.hosts.insert(authority, limiter);
        self
    }

    /// Counts all requests together: one quota for the whole client, or for each [`host`](Self::host) of its own
    /// limiter.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::RateLimitMiddleware;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// // One account with one quota, whichever of its hosts is asked.
    /// let limits = RateLimitMiddleware::new(Limiter::parse("sliding_log 1000/h")?).shared();
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.key = RequestKey::Shared;
        self
    }

    /// Counts requests by what `key` returns; those without a key are not limited.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::RateLimitMiddleware;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let limits = RateLimitMiddleware::new(Limiter::parse("sliding_log 30/min")?)
    ///     .key(|request| Some(request.headers().get("x-tenant")?.as_bytes().to_vec()));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn key<K: Key>(mut self, key: impl Fn(&Request) -> Option<K> + Send + Sync + 'static) -> Self {
        self.key = RequestKey::by(key);
        self
    }

    /// Charges each request what `cost` returns, in units of the quota; 1 where it is not said. A cost of 0 passes at
    /// once, also during a pause.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::RateLimitMiddleware;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let limits = RateLimitMiddleware::new(Limiter::parse("sliding_log 100/min")?)
    ///     .cost(|request| if request.url().path() == "/search" { 5 } else { 1 });
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn cost(mut self, cost: impl Fn(&Request) -> u64 + Send + Sync + 'static) -> Self {
        self.cost = Some(Arc::new(cost));
        self
    }

    /// How long a request waits at most, a minute by default and whatever the limiter's own bound is; one that cannot
    /// be sent in that time fails at once ([`RateLimitError`]).
    ///
    /// Timeouts of reqwest begin when the request is sent: they do not contain the wait.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::RateLimitMiddleware;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let limits = RateLimitMiddleware::new(Limiter::parse("sliding_log 10/s")?).max_wait(Duration::from_secs(5));
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn max_wait(mut self, limit: Duration) -> Self {
        self.max_wait = limit;
        self
    }

    /// The longest pause that a server can ask for, [`DEFAULT_CAP`] by default: what it asks above that is cut. Zero
    /// ignores what servers ask.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::RateLimitMiddleware;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let limits = RateLimitMiddleware::new(Limiter::parse("sliding_log 10/s")?).max_pause(Duration::from_secs(60));
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn max_pause(mut self, limit: Duration) -> Self {
        self.max_pause = limit;
        self
    }

    /// Whether a unit is counted again from the instant its answer arrives ([`Permit::restamp`]).
    ///
    /// We count a request when it may be sent, a server when it arrives there. Two that were delayed differently
    /// arrive closer together than they left, and the server may see more than its quota. It saw a request before the
    /// answer came back: counted from then, no window of the server's holds more than the quota, as long as answers
    /// take less than the quota's period. The price is throughput: of each period, as much as an answer takes.
    ///
    /// By default that is done where the quota is a `sliding_log`. The other algorithms promise nothing about windows
    /// at any instant, and a `gcra` bucket pays more: a request that takes as long as a unit drains counts twice.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::RateLimitMiddleware;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// // As fast as the quota lets us: a little jitter is forgiven there.
    /// let limits = RateLimitMiddleware::new(Limiter::parse("sliding_log 10/s")?).restamp(false);
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn restamp(mut self, restamp: bool) -> Self {
        self.restamp = Some(restamp);
        self
    }

    fn limiter(&self, url: &Url) -> &Limiter<S> {
        let of_host = || {
            let host = url.host_str()?;
            let of_port = |port| self.hosts.get(&format!("{host}:{port}"));
            url.port_or_known_default().and_then(of_port).or_else(|| self.hosts.get(host))
        };
        let of_host = if self.hosts.is_empty() { None } else { of_host() };
        of_host.unwrap_or(&self.limiter)
    }

    fn restamps(&self, limiter: &Limiter<S>, key: &KeyBuf) -> bool {
        let is_log = || limiter.with_quota_of(key, |quota| quota.algorithm() == Algorithm::SlidingLog);
        self.restamp.unwrap_or_else(is_log)
    }

    /// Pauses the key if the answer asks for it. A store that fails here pauses nobody; the answer is as good as ever.
    async fn obey(&self, response: &Response, limiter: &Limiter<S>, key: &KeyBuf) {
        let asked = obey::asked_pause(response.status(), response.headers(), SystemTime::now());
        let pause = asked.unwrap_or_default().min(self.max_pause);
        if !pause.is_zero() {
            let _ = obey::pause(limiter, key, pause).await;
        }
    }
}

#[async_trait::async_trait]
impl<S: Store> Middleware for RateLimitMiddleware<S> {
    async fn handle(&self, request: Request, extensions: &mut Extensions, next: Next<'_>) -> Result<Response, Error> {
        let Some(key) = self.key.of(&request) else {
            return next.run(request, extensions).await;
        };
        let limiter = self.limiter(request.url());
        let cost = self.cost.as_ref().map_or(1, |cost| cost(&request));
        let granted = limiter.acquire(&key).cost(cost).timeout(self.max_wait).await;
        let permit =
            granted.map_err(|reason| Error::middleware(RateLimitError::new(authority(request.url()), reason)))?;

        let sent = Sent { permit: Some(permit), restamp: self.restamps(limiter, &key) };
        let answer = next.run(request, extensions).await;
        if let Ok(response) = &answer {
            self.obey(response, limiter, &key).await;
        }
        match &answer {
            Err(error) if error.is_connect() => sent.give_back().await,
            _ => sent.end().await,
        }
        answer
    }
}

impl<S: Store> fmt::Debug for RateLimitMiddleware<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitMiddleware")
            .field("limiter", &self.limiter)
            .field("hosts", &self.hosts)
            .field("key", &self.key)
            .field("max_wait", &self.max_wait)
            .field("max_pause", &self.max_pause)
            .field("restamp", &self.restamp)
            .finish_non_exhaustive()
    }
}

/// A request on its way. Where the store fails, its units stay counted from the grant.
struct Sent<S: Store> {
    permit: Option<Permit<S>>,
    restamp: bool,
}

impl<S: Store> Sent<S> {
    /// No connection came about, so that no server can have counted it. After any other failure one may have. (Only
    /// where reqwest follows redirects can an earlier hop have arrived; its errors do not tell.)
    async fn give_back(mut self) {
        if let Some(permit) = self.permit.take() {
            let _ = permit.refund().await;
        }
    }

    /// Its answer is there, or never will be.
    async fn end(mut self) {
        if let Some(permit) = self.permit.take().filter(|_| self.restamp) {
            let _ = permit.restamp().await;
        }
    }
}

impl<S: Store> Drop for Sent<S> {
    /// Nobody waits for the answer any more, yet the server may have counted it until now.
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take().filter(|_| self.restamp) {
            permit.restamp_detached();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(name: &str) -> Limiter {
        Limiter::builder("sliding_log 1/s".parse().unwrap()).name(name).build()
    }

    #[test]
    fn the_limiter_of_a_port_goes_before_that_of_the_host() {
        let limits = RateLimitMiddleware::new(limiter("default"))
            .host("A.example", limiter("host"))
            .host("a.example:8080", limiter("port"))
            .host("b.example:443", limiter("https"))
            .host("[::1]:81", limiter("v6"));
        for (url, expected) in [
            ("https://a.example/x", "host"),
            ("http://user@a.example:81", "host"),
            ("http://a.example:8080", "port"),
            ("https://b.example", "https"),
            ("http://b.example", "default"),
            ("http://[::1]:81/", "v6"),
            ("http://aa.example", "default"),
        ] {
            assert_eq!(limits.limiter(&url.parse().unwrap()).name(), expected, "{url}");
        }
    }

    #[test]
    fn a_sliding_log_is_restamped_unless_told_otherwise() {
        let log = Limiter::parse("sliding_log 1/s").unwrap();
        let bucket = Limiter::parse("1/s").unwrap();
        let limits = RateLimitMiddleware::new(log.clone());
        let key = KeyBuf::new();
        assert!(limits.restamps(&log, &key) && !limits.restamps(&bucket, &key));
        assert!(limits.clone().restamp(true).restamps(&bucket, &key));
        assert!(!limits.restamp(false).restamps(&log, &key));
    }
}

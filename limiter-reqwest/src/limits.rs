//! The limits of a client: what is set, and what its parts share.

use crate::{
    Event, PlanError, Status,
    event::Hook,
    learn::Learning,
    obey::look,
    plan::{Plan, Policy, RequestKey},
    state::{Host, Hosts},
};
use limiter_core::{Error, Key, KeyBuf, Limiter, MemoryStore, Store, http::DEFAULT_CAP};
use reqwest::{Method, Request, Url};
use std::{fmt, sync::Arc, time::Duration};

/// Keeps the requests of a client inside quotas: each waits for its turn, and a host that asks for a pause gets it.
///
/// Clones share their limiters, and what is known of hosts.
///
/// ```
/// use limiter_core::Limiter;
/// use limiter_reqwest::Limits;
/// use reqwest_middleware::ClientBuilder;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Ten a second to each host; what the one documents, to that one.
/// let limits = Limits::new(Limiter::parse("sliding_log 10/s")?)
///     .host("api.example.com", Limiter::parse("sliding_log 5/s, 100/min")?)
///     .max_wait(Duration::from_secs(10))
///     .checked()?;
/// let client = ClientBuilder::new(reqwest::Client::new()).with(limits).build();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Limits<S: Store = MemoryStore> {
    plan: Plan<S>,
    cost: Option<Arc<CostFn>>,
    max_wait: Duration,
    max_pause: Duration,
    restamp: Option<bool>,
    resend: u32,
    redirects: u32,
    spread: bool,
    learning: Option<Learning>,
    hook: Hook,
    hosts: Arc<Hosts>,
}

type CostFn = dyn Fn(&Request) -> u64 + Send + Sync;

impl<S: Store> Limits<S> {
    /// Keeps to `limiter`'s quota on each host: its scheme, name and port ([`host_key`](crate::host_key)).
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::Limits;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let limits = Limits::new(Limiter::parse("sliding_log 10/s, 200/min")?);
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(limiter: Limiter<S>) -> Self {
        Self {
            plan: Plan::new(limiter),
            cost: None,
            max_wait: Duration::from_secs(60),
            max_pause: DEFAULT_CAP,
            restamp: None,
            resend: 0,
            redirects: 0,
            spread: false,
            learning: None,
            hook: Hook::default(),
            hosts: Arc::default(),
        }
    }

    /// Keeps to another limiter's quota on some hosts, each by itself: a name or address (`api.example.com`), one port of
    /// it (`api.example.com:8080`), every host below a name (`*.example.com`), or every host (`*`).
    ///
    /// The most specific rule for a request holds, and no other: one with a [`path`](Self::path) before those without,
    /// the longer path first, then a port's before a host's, a host's before those of names above it, the longer name
    /// first. Names are compared as URLs print them: in lower case, international ones in ASCII, but without a dot at the
    /// end; IPv6 addresses stand in brackets.
    ///
    /// A host that is none is an error of [`checked`](Self::checked), or of the first request.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::Limits;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limits = Limits::new(Limiter::parse("sliding_log 10/s")?)
    ///     .host("api.example.com", Limiter::parse("sliding_log 5/s, 100/min")?)
    ///     .host("api.example.com:8080", Limiter::parse("sliding_log 1/s")?)
    ///     .host("*.cdn.example.com", Limiter::parse("sliding_log 100/s")?)
    ///     .checked()?;
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn host(mut self, host: impl AsRef<str>, limiter: Limiter<S>) -> Self {
        self.plan.host(host.as_ref(), limiter);
        self
    }

    /// Keeps to another limiter's quota on a name and all hosts below it, together; see [`host`](Self::host) for which
    /// rule holds.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::Limits;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // `example.com`, `www.example.com` and `img.example.com` share one a second.
    /// let limits = Limits::new(Limiter::parse("sliding_log 10/s")?)
    ///     .domain("example.com", Limiter::parse("sliding_log 1/s")?)
    ///     .checked()?;
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn domain(mut self, name: impl AsRef<str>, limiter: Limiter<S>) -> Self {
        self.plan.domain(name.as_ref(), limiter);
        self
    }

    /// Keeps to another limiter's quota on the paths of a host that begin with `prefix`, in whole segments: `/v2/search`
    /// is met by `/v2/search` and `/v2/search/all`, not by `/v2/searching`. `host` is as for [`host`](Self::host).
    ///
    /// However a path is spelled, it meets the rule of what a server may take it for: escapes that are not needed
    /// (`/v2/se%61rch`), slashes in a row (`/v2//search`), dots (`/v2/./search`, `/v2/x/../search`) and escaped slashes
    /// (`/v2%2Fsearch`) make no other path. Letters of another case do.
    ///
    /// Those requests are counted by this rule alone, not by the host's too. Each prefix of each host has the quota to
    /// itself. Of several that a path begins with, the longest holds.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::Limits;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limits = Limits::new(Limiter::parse("sliding_log 10/s")?)
    ///     .path("api.example.com", "/v2/search", Limiter::parse("sliding_log 30/min")?)
    ///     .checked()?;
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn path(mut self, host: impl AsRef<str>, prefix: impl AsRef<str>, limiter: Limiter<S>) -> Self {
        self.plan.path(host.as_ref(), prefix.as_ref(), limiter);
        self
    }

    /// These limits, if every rule is one that a request can meet. Without this call, the first request says it.
    ///
    /// # Errors
    /// The first rule whose host, domain or path is none.
    pub fn checked(self) -> Result<Self, PlanError> {
        match self.plan.flaw() {
            Some(flaw) => Err(flaw.clone()),
            None => Ok(self),
        }
    }

    /// Counts all requests together: one quota for the whole client, or for each rule with a limiter of its own.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::Limits;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// // One account with one quota, whichever of its hosts is asked.
    /// let limits = Limits::new(Limiter::parse("sliding_log 1000/h")?).shared();
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.plan.key = RequestKey::Shared;
        self
    }

    /// Counts requests by what `key` returns, whichever rule holds; those without a key are not limited.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::Limits;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let limits = Limits::new(Limiter::parse("sliding_log 30/min")?)
    ///     .key(|request| Some(request.headers().get("x-tenant")?.as_bytes().to_vec()));
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn key<K: Key>(mut self, key: impl Fn(&Request) -> Option<K> + Send + Sync + 'static) -> Self {
        self.plan.key = RequestKey::by(key);
        self
    }

    /// Charges each request what `cost` returns, in units of the quota; 1 where it is not said. A cost of 0 passes at
    /// once, also during a pause. A request can say otherwise for itself ([`Cost`](crate::Cost)).
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::Limits;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let limits = Limits::new(Limiter::parse("sliding_log 100/min")?)
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
    /// be sent in that time fails at once ([`RateLimitError`](crate::RateLimitError)). A request can say otherwise for
    /// itself ([`MaxWait`](crate::MaxWait)).
    ///
    /// Timeouts of reqwest begin when the request is sent: they do not contain the wait.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::Limits;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let limits = Limits::new(Limiter::parse("sliding_log 10/s")?).max_wait(Duration::from_secs(5));
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
    /// use limiter_reqwest::Limits;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let limits = Limits::new(Limiter::parse("sliding_log 10/s")?).max_pause(Duration::from_secs(60));
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn max_pause(mut self, limit: Duration) -> Self {
        self.max_pause = limit;
        self
    }

    /// Whether what a server says is left is spread until it comes back: with `r` units for `t` seconds, the next request goes
    /// `t / (r + 1)` after the answer, where the quota would let it go sooner. Not by default.
    ///
    /// By default a burst goes through as fast as the quota lets it, and where nothing is left all wait until the reset. Spread,
    /// none waits as long, and each waits some: for crawlers rather than for people. It is done as pauses are, by a block that all
    /// see who share the store, after which requests come back one after the other. `RateLimit` fields of every generation count,
    /// as long as their units are requests.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::Limits;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let limits = Limits::new(Limiter::parse("sliding_log 10/s")?).spread(true);
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn spread(mut self, spread: bool) -> Self {
        self.spread = spread;
        self
    }

    /// Sends a refused request again, up to `times` times, each time after the pause that its answer asked for; never by
    /// default.
    ///
    /// Refused is what was answered with 429, or with 503 or 413 and `Retry-After`. It waits for its turn again, up to
    /// [`max_wait`](Self::max_wait), and is charged again. The answer is passed on where that would take too long, where
    /// there is no pause ([`max_pause`](Self::max_pause) of zero), and where the body cannot be sent twice, as it is a
    /// stream.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::Limits;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let limits = Limits::new(Limiter::parse("sliding_log 10/s")?).resend(2);
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn resend(mut self, times: u32) -> Self {
        self.resend = times;
        self
    }

    /// Follows redirects, up to `times` of them for a request: each hop waits for its turn with the host that it goes to, is
    /// charged there, and obeys what that answers. Never by default.
    ///
    /// The client is to be one that does not ([`redirect::Policy::none`](reqwest::redirect::Policy::none)): what it follows by
    /// itself is nothing that anybody waits for.
    ///
    /// As the Fetch standard has it, `POST` becomes `GET` on 301 and 302, and whatever but `HEAD` does on 303, without its
    /// body. On 307 and 308 the body goes along, where it can be sent twice. To another scheme, host or port go no
    /// `Authorization`, `Cookie`, `Proxy-Authorization` and `Host`; there is no `Referer`. The answer is passed on where
    /// it sends the request to no URL that can be asked, where the body is a stream, and once that was followed `times`
    /// times: so a loop ends. A hop that cannot be sent in [`max_wait`](Self::max_wait) is an error, as it is for any request.
    /// Timeouts of reqwest are for a hop.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::{Client, Limits};
    /// use reqwest::redirect::Policy;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limits = Limits::new(Limiter::parse("sliding_log 10/s")?).follow_redirects(10);
    /// let client = Client::new(reqwest::Client::builder().redirect(Policy::none()).build()?, limits);
    /// # let _ = client;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn follow_redirects(mut self, times: u32) -> Self {
        self.redirects = times;
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
    /// use limiter_reqwest::Limits;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// // As fast as the quota lets us: a little jitter is forgiven there.
    /// let limits = Limits::new(Limiter::parse("sliding_log 10/s")?).restamp(false);
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`Permit::restamp`]: limiter_core::Permit::restamp
    #[must_use]
    pub fn restamp(mut self, restamp: bool) -> Self {
        self.restamp = Some(restamp);
        self
    }

    /// Learns how fast each host may be asked that no rule is for ([`host`](Self::host), [`domain`](Self::domain),
    /// [`path`](Self::path)): from what it refuses, without being told. Never by default.
    ///
    /// Requests to such a host are evenly paced, at first slowly ([`Learning::start`]). The quota given to
    /// [`new`](Self::new) holds as well, as what is never exceeded. Refused is what was answered with 429 or 503; what was
    /// answered in any other way was admitted. Each request counts once, whatever its cost; one of cost 0 passes at once and
    /// teaches nothing. How that goes, and what cannot be learned, is told in
    /// [`learn`](crate::learn); [`Status::learned`] shows it.
    ///
    /// What is learned stays in this process, also where the store is shared: processes that ask the same host come to
    /// share its limit, each at a pace of its own. Pauses that a server names hold for all of them. Paces are kept by
    /// this machine's time, whatever the limiter's clock.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::{Limits, learn::Learning};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // What one host documents; of all others what they admit, but never above 50 a second.
    /// let limits = Limits::new(Limiter::parse("sliding_log 50/s")?)
    ///     .host("api.example.com", Limiter::parse("sliding_log 5/s, 100/min")?)
    ///     .learn(Learning::default())
    ///     .checked()?;
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn learn(mut self, learning: Learning) -> Self {
        self.learning = Some(learning);
        self
    }

    /// Tells `hook` of waits, pauses, refusals, and of what is sent again or given up. It is called in the requests' own
    /// tasks, and should be quick.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::{Event, Limits};
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let limits = Limits::new(Limiter::parse("sliding_log 10/s")?).on_event(|event| match event {
    ///     Event::Paused { host, pause, reason, .. } => eprintln!("{host} asks for {pause:?} ({reason})"),
    ///     event => println!("{event}"),
    /// });
    /// # let _ = limits;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn on_event(mut self, hook: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.hook = Hook::new(hook);
        self
    }

    /// How requests to `url` stand; `None` where they are not limited.
    ///
    /// A [`key`](Self::key) sees a `GET` without header fields.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::Limits;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limits = Limits::new(Limiter::parse("sliding_log 10/s")?);
    /// let client = reqwest_middleware::ClientBuilder::new(reqwest::Client::new()).with(limits.clone()).build();
    /// let status = limits.status(&"https://api.example.com/".parse()?).await?;
    /// assert_eq!(status.map(|status| (status.remaining, status.waiting)), Some((10, 0)));
    /// # let _ = client;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The store's.
    pub async fn status(&self, url: &Url) -> Result<Option<Status>, Error> {
        let request = Request::new(Method::GET, url.clone());
        let (policy, Some(key)) = self.plan.of(&request) else { return Ok(None) };
        let host = self.hosts.find(policy.id, &key);
        let host = host.unwrap_or_else(|| Arc::new(Host::new(crate::plan::authority(url))));
        status(policy, &key, &host).await.map(Some)
    }

    /// How requests stand to every host that was asked lately, by name.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::Limits;
    ///
    /// # async fn show(limits: Limits) -> Result<(), limiter_core::Error> {
    /// for host in limits.statuses().await? {
    ///     println!("{} {} waiting, paused for {:?}", host.host, host.waiting, host.paused_for);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The store's.
    pub async fn statuses(&self) -> Result<Vec<Status>, Error> {
        let mut statuses = Vec::new();
        for (policy, key, host) in self.hosts.all() {
            if let Some(policy) = self.plan.policy(policy) {
                statuses.push(status(policy, &key, &host).await?);
            }
        }
        statuses.sort_by(|a, b| a.host.cmp(&b.host));
        Ok(statuses)
    }
}

async fn status<S: Store>(policy: &Policy<S>, key: &KeyBuf, host: &Host) -> Result<Status, Error> {
    let decision = policy.limiter.peek_n_async(key, 0).await?;
    let (at, paced_until) = look(policy, key).await?;
    let counted = host.counted();
    Ok(Status {
        host: host.name.to_string(),
        quota: policy.limiter.quota_of(key),
        remaining: decision.remaining(),
        paused_for: decision.blocked_for(),
        paced_for: paced_until.saturating_since(at),
        waiting: counted.in_line,
        in_flight: counted.in_flight,
        last: counted.last,
        answered: counted.answered,
        refused: counted.refused,
        learned: host.learned(),
    })
}

/// For the parts of this crate.
impl<S: Store> Limits<S> {
    pub(crate) fn plan(&self) -> &Plan<S> {
        &self.plan
    }

    pub(crate) fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    pub(crate) fn hook(&self) -> &Hook {
        &self.hook
    }

    pub(crate) fn cost_of(&self, request: &Request) -> u64 {
        self.cost.as_ref().map_or(1, |cost| cost(request))
    }

    /// Whether a closure looks at requests.
    #[cfg(feature = "blocking")]
    pub(crate) fn reads_requests(&self) -> bool {
        self.cost.is_some() || self.plan.key.is_custom()
    }

    pub(crate) fn longest_wait(&self) -> Duration {
        self.max_wait
    }

    pub(crate) fn longest_pause(&self) -> Duration {
        self.max_pause
    }

    /// What may be learned of the hosts of `policy`, if anything.
    pub(crate) fn learning_of(&self, policy: &Policy<S>) -> Option<Learning> {
        self.learning.filter(|_| self.plan.is_default(policy))
    }

    pub(crate) fn resends(&self) -> u32 {
        self.resend
    }

    pub(crate) fn spreads(&self) -> bool {
        self.spread
    }

    pub(crate) fn redirects(&self) -> u32 {
        self.redirects
    }

    /// Whether units are counted again from their answers, where that was said.
    pub(crate) fn restamps(&self) -> Option<bool> {
        self.restamp
    }
}

impl<S: Store> fmt::Debug for Limits<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits")
            .field("plan", &self.plan)
            .field("max_wait", &self.max_wait)
            .field("max_pause", &self.max_pause)
            .field("restamp", &self.restamp)
            .field("resend", &self.resend)
            .field("redirects", &self.redirects)
            .field("spread", &self.spread)
            .field("learning", &self.learning)
            .field("hook", &self.hook)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

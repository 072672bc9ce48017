//! The client of the crawl, and the one place that knows how it is paced.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::Extensions;
use limiter_core::Limiter;
use limiter_reqwest::Limits;
use reqwest::{Client, Request, Response, StatusCode, Url, redirect};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use tokio::{sync::watch, time::timeout};

use super::crawl::Fetched;

/// What this program calls itself.
pub(crate) const AGENT: &str = "limiter-crawler-example";

/// How long a request may wait for its turn: a slow quota and many tasks make it long.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// How long an answer may take once the crawl is to stop.
const GRACE: Duration = Duration::from_secs(5);

/// A client, and the limits that it keeps to.
#[derive(Clone)]
pub(crate) struct Paced {
    client: ClientWithMiddleware,
    limits: Vec<Limits>,
}

impl Paced {
    /// A client that keeps to all of `limits`; to none, it asks as fast as it can. `is_local` says that it asks this
    /// machine's loopback alone, which a proxy named by the environment cannot reach.
    ///
    /// # Errors
    /// A client that cannot be set up.
    pub(crate) fn new(limits: Vec<Limits>, is_local: bool) -> anyhow::Result<Self> {
        let mut client = Client::builder()
            .user_agent(AGENT)
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(30))
            // The client would follow by itself, with requests that nobody paced.
            .redirect(redirect::Policy::none());
        if is_local {
            client = client.no_proxy();
        }
        let client = limits.iter().cloned().fold(ClientBuilder::new(client.build()?), ClientBuilder::with);
        Ok(Self { client: client.with(NoteSent).build(), limits })
    }

    /// A `GET` of `url` in its turn.
    ///
    /// # Errors
    /// No answer.
    pub(crate) async fn get(&self, url: Url) -> anyhow::Result<Response> {
        self.ask(url, Sent::default()).await
    }

    async fn ask(&self, url: Url, sent: Sent) -> anyhow::Result<Response> {
        // A URL can hold a password: errors are printed without it.
        let response = self.client.get(url).with_extension(sent).send().await;
        Ok(response.map_err(reqwest_middleware::Error::without_url)?)
    }

    /// Asks for `url` and reads the answer to its end, so that the connection can be used again. Once it is to stop, it
    /// leaves its place in line, and waits only for what was sent: the host may have counted that.
    pub(crate) async fn fetch(&self, url: Url, mut stop: watch::Receiver<bool>) -> Fetched {
        let sent = Sent::default();
        let mut read = pin!(self.read(url, sent.clone()));
        tokio::select! {
            biased;
            Ok(_) = stop.wait_for(|stop| *stop) => {}
            answer = &mut read => return answer.map_or_else(Fetched::Failed, Fetched::Answer),
        }
        if !sent.0.load(Ordering::Relaxed) {
            return Fetched::Stopped;
        }
        match timeout(GRACE, read).await {
            Ok(answer) => answer.map_or_else(Fetched::Failed, Fetched::Answer),
            Err(_) => Fetched::Stopped,
        }
    }

    async fn read(&self, url: Url, sent: Sent) -> anyhow::Result<StatusCode> {
        let mut response = self.ask(url, sent).await?;
        while let Some(_part) = response.chunk().await.map_err(reqwest::Error::without_url)? {}
        Ok(response.status())
    }

    /// How requests to `url` stand, as all limits together have it.
    pub(crate) async fn standing(&self, url: &Url) -> Standing {
        let mut standing = Standing::default();
        for limits in &self.limits {
            // These limits are in this process: a status does not fail.
            if let Ok(Some(status)) = limits.status(url).await {
                standing.add(status);
            }
        }
        standing
    }

    /// How all requests stand.
    pub(crate) async fn standing_of_all(&self) -> Standing {
        let mut standing = Standing::default();
        for limits in &self.limits {
            limits.statuses().await.unwrap_or_default().into_iter().for_each(|status| standing.add(status));
        }
        standing
    }

    /// The quota of `url`'s host, as text.
    pub(crate) async fn quota_of(&self, url: &Url) -> String {
        let mut quotas = Vec::new();
        for limits in &self.limits {
            quotas.extend(limits.status(url).await.ok().flatten().map(|status| status.quota.to_string()));
        }
        if quotas.is_empty() { "none".to_owned() } else { quotas.join(" and ") }
    }
}

/// How the requests of a host stand, or of several.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    /// In line for their turn.
    pub(crate) waiting: usize,
    /// How long the pause still lasts that the host asked for; of several, the longest.
    pub(crate) paused: Duration,
}

impl Standing {
    #[allow(clippy::needless_pass_by_value)] // for `for_each`
    fn add(&mut self, status: limiter_reqwest::Status) {
        self.waiting += status.waiting;
        self.paused = self.paused.max(status.paused_for);
    }
}

/// Each host within `quota`. Units are counted again from the instant their answers arrive, which is the default for
/// `sliding_log`: so no host ever sees more than its quota, however the network delays requests.
///
/// # Errors
/// A quota that is ill-formed.
pub(crate) fn limits(quota: &str) -> anyhow::Result<Limits> {
    Ok(Limits::new(limiter(quota)?).max_wait(LONGEST_WAIT))
}

/// A limiter of the quota that `text` says: never more than that in any window, unless it names another algorithm.
///
/// # Errors
/// A quota that is ill-formed.
pub(crate) fn limiter(text: &str) -> anyhow::Result<Limiter> {
    let names_algorithm = text.trim_start().starts_with(char::is_alphabetic);
    Ok(if names_algorithm { Limiter::parse(text) } else { Limiter::parse(&format!("sliding_log {text}")) }?)
}

/// One request at a time to each of some hosts, each its delay after the last answer; hosts as [`authority`] writes them.
///
/// # Errors
/// A delay that is none.
pub(crate) fn delays(delays: HashMap<String, Duration>) -> anyhow::Result<Limits> {
    let one_each = |delay: Duration| {
        let quota = format!("sliding_log 1/{}us", delay.as_micros()).parse()?;
        anyhow::Ok(Limiter::builder(quota).at_once(1).build())
    };
    let mut limits = Limits::new(one_each(Duration::from_secs(1))?).max_wait(LONGEST_WAIT);
    for (host, delay) in &delays {
        limits = limits.host(host, one_each(*delay)?);
    }
    Ok(limits.key(move |request| delays.contains_key(&authority(request.url())).then(|| authority(request.url()))))
}

/// The host of `url`, with its port if that is not the usual one: what a quota belongs to.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether a request has had its turn.
#[derive(Clone, Default)]
struct Sent(Arc<AtomicBool>);

/// Stands behind all limits.
struct NoteSent;

#[async_trait::async_trait]
impl Middleware for NoteSent {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        if let Some(Sent(sent)) = extensions.get() {
            sent.store(true, Ordering::Relaxed);
        }
        next.run(request, extensions).await
    }
}

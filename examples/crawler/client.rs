//! The client of the crawl, and the one place that knows how it is paced.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use limiter_core::Limiter;
use limiter_reqwest::RateLimitMiddleware;
use reqwest::{Client, StatusCode, Url, redirect};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};

/// How long a request may wait for its turn: a slow quota and many tasks make it long.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// The quota of one host.
#[derive(Clone, Debug)]
pub(crate) struct HostQuota {
    /// As [`authority`] writes it.
    pub(crate) host: String,
    /// Its rates, such as `24/1s, 36/1500ms`.
    pub(crate) quota: String,
}

/// A client that keeps to each host's quota if `limited`, and asks as fast as it can if not.
///
/// # Errors
/// A quota that is ill-formed, or a client that cannot be set up.
pub(crate) fn build(quotas: &[HostQuota], limited: bool) -> anyhow::Result<ClientWithMiddleware> {
    let mut client = Client::builder()
        .user_agent("limiter-crawler-example")
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(30))
        // The client would follow by itself, with requests that nobody paced.
        .redirect(redirect::Policy::none());
    let is_loopback = |address: SocketAddr| address.ip().is_loopback();
    if quotas.iter().all(|quota| quota.host.parse().is_ok_and(is_loopback)) {
        // A proxy named by the environment cannot reach this machine's loopback.
        client = client.no_proxy();
    }
    let mut client = ClientBuilder::new(client.build()?);
    if limited {
        client = client.with(limits(quotas)?);
    }
    Ok(client.build())
}

/// A limiter for each host. Its units are counted again from the instant their answers arrive, which is the default
/// for `sliding_log`: so no host ever sees more than its quota, however the network delays requests.
fn limits(quotas: &[HostQuota]) -> anyhow::Result<RateLimitMiddleware> {
    let mut limits = RateLimitMiddleware::new(limiter("10/s")?).max_wait(LONGEST_WAIT);
    for HostQuota { host, quota } in quotas {
        limits = limits.host(host, limiter(quota).with_context(|| format!("the quota of {host}"))?);
    }
    Ok(limits)
}

/// A limiter of the quota that `text` says: never more than that in any window, unless it names another algorithm.
fn limiter(text: &str) -> anyhow::Result<Limiter> {
    let names_algorithm = text.trim_start().starts_with(char::is_alphabetic);
    Ok(if names_algorithm { Limiter::parse(text) } else { Limiter::parse(&format!("sliding_log {text}")) }?)
}

/// Asks for `url` and reads the answer to its end, so that the connection can be used again.
pub(crate) async fn fetch(client: ClientWithMiddleware, url: Url) -> anyhow::Result<StatusCode> {
    // A URL can hold a password: errors are printed without it.
    let sent = client.get(url).send().await;
    let mut response = sent.map_err(reqwest_middleware::Error::without_url)?;
    while let Some(_part) = response.chunk().await.map_err(reqwest::Error::without_url)? {}
    Ok(response.status())
}

/// The host of `url`, with its port if that is not the usual one: what a quota belongs to.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

//! A crawl of the user's own list: what hosts allow, what they ask for, and what was done before.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    path::Path,
};

use anyhow::Context;
use futures_util::future::join_all;
use limiter_reqwest::Limits;
use reqwest::Url;

use super::{
    Args, BadInput, Plan,
    client::{self, AGENT, Paced},
    outcome::Outcome,
    quotas,
    robots::Robots,
    state::State,
    urls,
};

type UrlsByHost = Vec<(String, Vec<Url>)>;

/// Crawls the URLs of the file `list` as `args` say.
///
/// # Errors
/// [`BadInput`] for a file or a quota that is wrong; else what ended the crawl.
pub(crate) async fn crawl(args: &Args, list: &Path) -> anyhow::Result<Outcome> {
    let mut hosts = urls::read(list).context(BadInput)?;
    let mut limits = if args.no_limiter { vec![] } else { vec![quotas_of(args).context(BadInput)?] };
    let state = args.state.as_deref().map(State::open).transpose().context(BadInput)?;
    let state = state.map(|(state, done)| {
        leave_out(&mut hosts, &done);
        state
    });

    let is_loopback = |address: SocketAddr| address.ip().is_loopback();
    let is_local = hosts.iter().all(|(host, _)| host.parse().is_ok_and(is_loopback));
    let delay = args.delay.into_iter();
    let mut delays: HashMap<_, _> =
        delay.flat_map(|delay| hosts.iter().map(move |(host, _)| (host.clone(), delay))).collect();
    let mut failures = Vec::new();
    if args.robots {
        let asking = Paced::new(limits.clone(), is_local)?;
        let asked = hosts.into_iter().map(|host| ask(&asking, host));
        hosts = Vec::new();
        for answer in join_all(asked).await {
            match answer {
                Ok((host, robots)) => {
                    if let Some(delay) = robots.delay {
                        delays.entry(host.0.clone()).and_modify(|own| *own = delay.max(*own)).or_insert(delay);
                    }
                    hosts.push(host);
                }
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
    }
    if !delays.is_empty() {
        limits.insert(0, client::delays(delays).context(BadInput)?);
    }

    let client = Paced::new(limits, is_local)?;
    let mut plan = Vec::new();
    for (host, urls) in hosts {
        if let Some(first) = urls.first() {
            plan.push(Plan { host, quota: client.quota_of(first).await, urls });
        }
    }
    let mut outcome = super::crawl(args, &client, plan, state).await?;
    outcome.failures = failures;
    outcome.judge();
    Ok(outcome)
}

/// What the arguments say that hosts allow.
fn quotas_of(args: &Args) -> anyhow::Result<Limits> {
    let limits = client::limits(args.quota.as_deref().unwrap_or("10/s"))?;
    match &args.quotas {
        Some(file) => quotas::read(file, limits),
        None => Ok(limits),
    }
}

/// Leaves out what was answered before.
fn leave_out(hosts: &mut UrlsByHost, done: &HashSet<String>) {
    let count = |hosts: &UrlsByHost| hosts.iter().map(|(_, urls)| urls.len()).sum::<usize>();
    let all = count(hosts);
    hosts.iter_mut().for_each(|(_, urls)| urls.retain(|url| !done.contains(url.as_str())));
    hosts.retain(|(_, urls)| !urls.is_empty());
    let left = count(hosts);
    if left < all {
        eprintln!("{} of {all} URLs were answered before", all - left);
    }
}

/// Reads a host's robots.txt, and leaves out what it disallows.
async fn ask(client: &Paced, (host, mut urls): (String, Vec<Url>)) -> anyhow::Result<((String, Vec<Url>), Robots)> {
    let Some(first) = urls.first() else { return Ok(((host, urls), Robots::default())) };
    let robots = Robots::of(client, first, AGENT).await.with_context(|| format!("{host} was not crawled"))?;
    let all = urls.len();
    urls.retain(|url| robots.allows(url));
    if urls.len() < all {
        eprintln!("{host}: its robots.txt disallows {} of {all} URLs", all - urls.len());
    }
    Ok(((host, urls), robots))
}

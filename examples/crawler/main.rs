//! A crawler that never meets a 429: it keeps to the quota of every host it asks.
//!
//!     cargo run --release --example crawler
//!     cargo run --release --example crawler -- --help

use std::{
    fmt,
    pin::pin,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Parser;
use reqwest::Url;
use tokio::{signal::ctrl_c, sync::watch};

pub(crate) use args::Args;
use client::Paced;
use crawl::{Fetched, Host};
use outcome::Outcome;
use state::State;

mod args;
mod client;
mod crawl;
mod list;
mod outcome;
mod progress;
mod quotas;
mod report;
mod robots;
mod servers;
mod state;
mod urls;

/// How long the crawl of the program's own servers lasts at their pace: four times their longest period, and a bit.
const CRAWL: Duration = Duration::from_millis(12_500);

fn main() -> ExitCode {
    let outcome = match run(&Args::parse()) {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(if error.is::<BadInput>() { 2 } else { 1 });
        }
    };
    println!("{outcome}");
    for failure in &outcome.failures {
        eprintln!("failed: {failure}");
    }
    if outcome.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Crawls what `args` say.
///
/// # Errors
/// [`BadInput`] for a file or a quota that is wrong; else what kept the crawl from running at all, or ended it.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        match &args.urls {
            Some(list) => list::crawl(args, list).await,
            None => crawl_servers(args).await,
        }
    })
}

async fn crawl_servers(args: &Args) -> anyhow::Result<Outcome> {
    let servers = servers::start_all().context("cannot start the servers")?;
    let mut limits = client::limits("10/s")?;
    let mut plan = Vec::new();
    for server in &servers {
        let items = 0..server.items_in(CRAWL);
        let urls: Result<Vec<_>, _> = items.map(|id| Url::parse(&server.item_url(id))).collect();
        limits = limits.host(server.authority(), client::limiter(&server.quota())?);
        plan.push(Plan { host: server.name().to_owned(), quota: server.quota(), urls: urls? });
    }
    let client = Paced::new(if args.no_limiter { vec![] } else { vec![limits] }, true)?;
    let mut outcome = crawl(args, &client, plan, None).await?;
    for (report, server) in outcome.hosts.iter_mut().zip(&servers) {
        report.refused = server.refused();
        report.share = server.share();
    }
    outcome.table = report::share_table;
    outcome.judge();
    if !args.no_limiter && !outcome.interrupted {
        outcome.judge_shares();
    }
    Ok(outcome)
}

/// What to crawl of one host.
struct Plan {
    host: String,
    quota: String,
    urls: Vec<Url>,
}

/// Crawls hosts until done or interrupted, and notes in `state` what was answered.
async fn crawl(args: &Args, client: &Paced, plan: Vec<Plan>, state: Option<State>) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let mut quotas = Vec::new();
    let mut hosts = Vec::new();
    for Plan { host, quota, urls } in plan {
        hosts.push(Arc::new(Host::new(host, urls, started)));
        quotas.push(quota);
    }

    let (stop, stopped) = watch::channel(false);
    let (fetching, state) = (client.clone(), Arc::new(state));
    let fetch = move |url: Url| {
        let (client, state, stopped) = (fetching.clone(), Arc::clone(&state), stopped.clone());
        async move {
            let fetched = client.fetch(url.clone(), stopped).await;
            if let (Some(state), Fetched::Answer(status)) = (state.as_ref(), &fetched) {
                state.note(&url, *status)?;
            }
            Ok(fetched)
        }
    };
    let (done, interrupted) = progress::while_running(&hosts, client, async {
        let mut crawling = pin!(crawl::crawl(&hosts, args.concurrency.into(), fetch));
        tokio::select! {
            done = &mut crawling => return (done, false),
            Ok(()) = ctrl_c() => {}
        }
        let _ = stop.send(true);
        tokio::select! {
            done = &mut crawling => (done, true),
            Ok(()) = ctrl_c() => (Ok(()), true),
        }
    })
    .await?;
    done?;
    Ok(Outcome::new(&hosts, quotas, interrupted))
}

/// Marks an error that the caller's input caused.
#[derive(Debug)]
pub(crate) struct BadInput;

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad input")
    }
}

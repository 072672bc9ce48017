//! A crawler that never meets a 429: it keeps to the quota of every host it asks.
//!
//!     cargo run --release --example crawler
//!     cargo run --release --example crawler -- --help

use std::{
    fmt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Parser;
use reqwest::Url;

use client::HostQuota;
use crawl::Host;
use report::HostReport;

mod client;
mod crawl;
mod progress;
mod report;
mod servers;
mod urls;

/// How long the crawl of the program's own servers lasts at their pace: four times their longest period, and a bit.
const CRAWL: Duration = Duration::from_millis(12_500);

/// The least share of each quota that the limiter is to use.
const LEAST_SHARE: f64 = 0.95;

/// Crawls hosts with many tasks at once, and keeps to the quota of each.
///
/// Without --urls it starts four API servers on loopback sockets, each with three rates of its own,
/// crawls 1250 URLs of theirs in about 12 seconds, and needs nothing else.
#[derive(Debug, Parser)]
#[command(
    verbatim_doc_comment,
    after_help = "Exit status: 0 if all went well; 1 if any 429 was met, a request got no answer, or less than 95% of a\n\
                  quota was used; 2 if the arguments or the list are wrong."
)]
pub(crate) struct Args {
    /// Crawl without the limiter, to see the 429s
    #[arg(long)]
    no_limiter: bool,

    /// Crawl the URLs of FILE: one a line, http:// only; blank lines and # comments are skipped
    #[arg(long, value_name = "FILE")]
    urls: Option<PathBuf>,

    /// The quota of each host in FILE, such as "10/s" or "5/s, 100/m" [default: 10/s]
    #[arg(long, requires = "urls", conflicts_with = "no_limiter")]
    quota: Option<String>,

    /// Tasks a host
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,
}

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
/// [`BadInput`] for a list or a quota that is wrong; else what kept the crawl from running at all.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        match &args.urls {
            Some(list) => crawl_list(args, list).await,
            None => crawl_servers(args).await,
        }
    })
}

async fn crawl_servers(args: &Args) -> anyhow::Result<Outcome> {
    let servers = servers::start_all().context("cannot start the servers")?;
    let mut plan = Vec::new();
    for server in &servers {
        let items = 0..server.items_in(CRAWL);
        let urls: Result<Vec<_>, _> = items.map(|id| Url::parse(&server.item_url(id))).collect();
        plan.push((server.name().to_owned(), server.quota(), urls?));
    }
    let mut outcome = crawl(args, plan).await?;
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

async fn crawl_list(args: &Args, list: &Path) -> anyhow::Result<Outcome> {
    let quota = match &args.quota {
        Some(quota) => quota.clone(),
        None if args.no_limiter => "none".to_owned(),
        None => "10/s".to_owned(),
    };
    let hosts = urls::read(list).context(BadInput)?;
    let with_quota = |(host, urls)| (host, quota.clone(), urls);
    let plan = hosts.into_iter().map(with_quota).collect();
    let mut outcome = crawl(args, plan).await?;
    outcome.judge();
    Ok(outcome)
}

/// Crawls hosts, each with its name, its quota and its URLs, until done or interrupted.
async fn crawl(args: &Args, plan: Vec<(String, String, Vec<Url>)>) -> anyhow::Result<Outcome> {
    let quotas: Vec<_> = plan
        .iter()
        .map(|(_, quota, urls)| HostQuota {
            host: urls.first().map(client::authority).unwrap_or_default(),
            quota: quota.clone(),
        })
        .collect();
    let client = client::build(&quotas, !args.no_limiter).context(BadInput)?;
    let fetch = move |url| client::fetch(client.clone(), url);

    let started = Instant::now();
    let hosts: Vec<_> = plan.into_iter().map(|(name, _, urls)| Arc::new(Host::new(name, urls, started))).collect();
    let done = progress::while_running(&hosts, async {
        tokio::select! {
            done = crawl::crawl(&hosts, args.concurrency.into(), fetch) => Some(done),
            Ok(()) = tokio::signal::ctrl_c() => None,
        }
    })
    .await?;
    let interrupted = done.transpose()?.is_none();
    Ok(Outcome::new(&hosts, quotas, interrupted))
}

/// How the crawl went; its display is the report.
pub(crate) struct Outcome {
    pub(crate) hosts: Vec<HostReport>,
    /// What was not as it should be; empty after a good crawl.
    pub(crate) failures: Vec<String>,
    interrupted: bool,
    table: fn(&[HostReport]) -> String,
}

impl Outcome {
    fn new(hosts: &[Arc<Host>], quotas: Vec<HostQuota>, interrupted: bool) -> Self {
        let report = |(host, quota): (&Arc<Host>, HostQuota)| {
            let answers = host.answers().clone();
            HostReport {
                host: host.name.clone(),
                quota: quota.quota,
                refused: answers.iter().filter(|answer| answer.is_429()).count(),
                answers,
                share: None,
                first_error: host.first_error().map(str::to_owned),
            }
        };
        Self {
            hosts: hosts.iter().zip(quotas).map(report).collect(),
            failures: Vec::new(),
            interrupted,
            table: report::status_table,
        }
    }

    fn requests(&self) -> usize {
        self.hosts.iter().map(|host| host.answers.len()).sum()
    }

    /// An interruption, a 429 and a request without an answer are failures.
    fn judge(&mut self) {
        if self.interrupted {
            self.failures.push("interrupted".to_owned());
        }
        let requests = self.requests();
        let refused: usize = self.hosts.iter().map(|host| host.refused).sum();
        if refused > 0 {
            self.failures.push(format!("{refused} of {requests} requests were answered with 429"));
        }
        for host in &self.hosts {
            if let Some(error) = &host.first_error {
                let (name, failed) = (&host.host, host.failed());
                self.failures.push(format!("{failed} of the requests to {name} got no answer; the first: {error}"));
            }
        }
    }

    /// So is a share that is too small.
    fn judge_shares(&mut self) {
        for host in &self.hosts {
            let name = &host.host;
            match host.share {
                Some(share) if share >= LEAST_SHARE => {}
                Some(share) => self.failures.push(format!(
                    "{name}: {:.1}% of the quota was used, less than {:.0}%",
                    share * 100.0,
                    LEAST_SHARE * 100.0
                )),
                None => self.failures.push(format!("{name}: too short a crawl to tell its share")),
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, chart) = ((self.table)(&self.hosts), report::chart(&self.hosts));
        write!(f, "\n{table}\n{chart}")?;
        if self.failures.is_empty() {
            write!(f, "\n{} requests, not one 429", self.requests())?;
        }
        Ok(())
    }
}

/// Marks an error that the caller's input caused.
#[derive(Debug)]
pub(crate) struct BadInput;

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad input")
    }
}

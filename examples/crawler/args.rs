//! What the program can be asked for.

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use limiter_core::Rate;

/// Crawls hosts with many tasks at once, and keeps to the quota of each.
///
/// Without --urls it starts four API servers on loopback sockets, each with three rates of its own,
/// crawls 1250 URLs of theirs in about 12 seconds, and needs nothing else.
#[derive(Debug, Parser)]
#[command(
    verbatim_doc_comment,
    after_help = "The file of --quotas is TOML. The most specific line for a host holds, and no other:\n\
                  \n    \"api.example.com\" = \"sliding_log 5/s, 1000/h\"   # a host; without an algorithm, sliding_log\
                  \n    \"127.0.0.1:8080\" = \"20/s\"                        # one port of it\
                  \n    \"*.example.com\" = \"2/s\"                          # each host below a name\
                  \n    \"*\" = \"1/s\"                                      # each other host, instead of --quota\
                  \n    [domains]\
                  \n    \"shop.example\" = \"1/s\"                           # a name and all below it, together\
                  \n\nThe file of --state gets a line for each answer, when it is there: it outlives a crash. After it, or after\n\
                  Ctrl-C, the same command goes on where it was. The first Ctrl-C waits for what was sent, the second does not.\n\
                  \nExit status: 0 if all went well; 1 if any 429 was met, a request got no answer, or less than 95% of a\n\
                  quota was used; 2 if the arguments or a file are wrong."
)]
pub(crate) struct Args {
    /// Crawl without the limiter, to see the 429s
    #[arg(long, conflicts_with_all = ["quota", "quotas", "delay", "robots"])]
    pub(crate) no_limiter: bool,

    /// Crawl the URLs of FILE: one a line, http:// only; blank lines and # comments are skipped
    #[arg(long, value_name = "FILE")]
    pub(crate) urls: Option<PathBuf>,

    /// The quota of each host in FILE, such as "10/s" or "5/s, 100/m" [default: 10/s]
    #[arg(long, requires = "urls")]
    pub(crate) quota: Option<String>,

    /// Quotas by host and domain, from FILE; see below
    #[arg(long, value_name = "FILE", requires = "urls")]
    pub(crate) quotas: Option<PathBuf>,

    /// Ask each host for one URL at a time, this long after its last answer, such as "500ms" or "2s"
    #[arg(long, value_name = "TIME", requires = "urls", value_parser = delay)]
    pub(crate) delay: Option<Duration>,

    /// Read the robots.txt of each host first: skip what it disallows, and keep its Crawl-delay where that is longer
    #[arg(long, requires = "urls")]
    pub(crate) robots: bool,

    /// Note in FILE what was answered, and leave out what it says was
    #[arg(long, value_name = "FILE", requires = "urls")]
    pub(crate) state: Option<PathBuf>,

    /// Tasks a host
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) concurrency: u16,
}

/// A time as quotas write it.
fn delay(text: &str) -> Result<Duration, String> {
    const ALLOWED: &str = "write a whole number and us, ms, s, min or h, as in \"500ms\"";
    let rate: Result<Rate, _> = format!("1/{}", text.trim()).parse();
    match rate {
        Ok(rate) if rate.burst_size().is_none() => Ok(rate.period()),
        _ => Err(ALLOWED.to_owned()),
    }
}

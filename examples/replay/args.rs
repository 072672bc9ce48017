//! The command line.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum, builder::PossibleValue};
use limiter_core::Quota;

use super::{
    input::{Fields, Format, TimeUnit},
    store::StoreChoice,
};

const HELP: &str = r#"Quotas:
  "100/min"                      a bucket of 100 that drains continuously (gcra, the default)
  "100/min burst 20"             the same pace, but at most 20 at once
  "5/s, 1000/h"                  both at once
  "sliding_log 100/min"          never more than 100 in any minute
  "fixed_window 100/min"         100 in each calendar minute
  "sliding_window 100/min"       close to sliding_log, with two counters a key

Fields, for --time, --key and --cost:
  clf    addr ident user time request status bytes referer agent, and method, url and path, which are
         parts of the request; or their numbers, from 1. By default the key is addr.
  json   a member's name; with dots, that of a member inside a member (request.remote_ip)
  csv    a column's name in the first line, or its number, from 1
Where json and csv are not told, they look for the usual names (time, timestamp, ts, ...; key, client_ip,
remote_addr, ip, ...); a csv whose first line has none of them has the time in column 1 and the key in column 2.
A cost is a whole number of units, 1 where --cost is not given.

Times are dates of the Common Log Format with their zone, RFC 3339 (UTC where it names no zone), or numbers since
1970: seconds, milliseconds, microseconds or nanoseconds, told apart by their size.

Decisions:
  --decisions prints a line for each event of a trace, in order: its decision, {} for a reset, or
  {"error": "..."} where it has none, which changes nothing: a line that is no event, times before 1970 or
  after 2077, the same key of a quota twice in one decision, a trace whose quotas are refused. Standard error
  tells each with its file and line. A cost of 2^64 and more can never fit. A burst is for gcra, a resolution
  for sliding_log; with other algorithms they count for nothing.

Examples:
  replay --quota "100/min" access.log
  replay --quota "100/min" --quota "sliding_log 100/min" --report out.html access.log access.log.1.gz
  zcat access.log.*.gz | replay --quota "10/s burst 50" --key user -
  replay --quota "1000000/h" --cost bytes access.log
  replay --quota "5/s" --format csv --time 3 --key 1 requests.csv
  replay --quota "20/min" --time ts --key request.remote_ip --sort caddy.json
  replay --decisions trace.jsonl

Exit status: 0 if all went well, malformed lines of logs or not; 1 if something could not be read to its end or
written, or an event of a trace has no answer; 2 if the arguments are wrong."#;

/// What would this quota have done to my traffic?
///
/// Replays access logs through a limiter for each --quota, by the log's own time, and tells what each would have
/// admitted and denied, and to whom.
#[derive(Debug, Parser)]
#[command(name = "replay", after_help = HELP)]
pub(crate) struct Args {
    /// A quota to try; give it several times to compare
    #[arg(long, value_name = "QUOTA", required_unless_present = "decisions")]
    pub(crate) quota: Vec<Quota>,

    /// Access logs in Common or Combined Log Format, JSON lines or CSV, also gzipped; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) files: Vec<PathBuf>,

    /// The format of the lines; by default the first lines of each file tell
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,

    /// The field that holds the time
    #[arg(long, value_name = "FIELD")]
    pub(crate) time: Option<String>,

    /// What the times count, where they are numbers; by default their size tells
    #[arg(long, value_name = "UNIT")]
    pub(crate) time_unit: Option<TimeUnit>,

    /// The field to limit by
    #[arg(long, value_name = "FIELD")]
    pub(crate) key: Option<String>,

    /// The field that says how many units a request takes
    #[arg(long, value_name = "FIELD")]
    pub(crate) cost: Option<String>,

    /// Replay by time; by default lines are replayed as they stand, and a clock that steps back admits nothing extra
    #[arg(long)]
    pub(crate) sort: bool,

    /// Write a page with plots: the traffic, what each quota does to it, the worst keys
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Where the limiters keep their states: memory, shared:FILE, sqlite:FILE, redis://HOST, postgres://HOST/DATABASE
    #[arg(long, value_name = "STORE", default_value = "memory")]
    pub(crate) store: StoreChoice,

    /// Read decision traces instead of logs, and print the decision of each event as a line of JSON
    #[arg(long, conflicts_with_all = ["quota", "format", "time", "time_unit", "key", "cost", "sort", "report"])]
    pub(crate) decisions: bool,
}

impl Args {
    pub(crate) fn fields(&self) -> Fields {
        Fields { time: self.time.clone(), key: self.key.clone(), cost: self.cost.clone(), unit: self.time_unit }
    }
}

/// Whether `path` stands for standard input.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl ValueEnum for TimeUnit {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

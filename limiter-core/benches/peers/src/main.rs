//! Compares limiter-core with other crates: figures for ratios within one run, not absolutes.
//!
//! Contestants take turns, every figure is the median of its turns, and the `ratio` lines come last: the peer's figure
//! by ours, so that above 1 ours is the better one.

mod alloc;
mod cpu;
mod decisions;
mod harness;
mod waiting;

use harness::Ratios;
use std::process::ExitCode;

const USAGE: &str = "\
Compares limiter-core with other crates.

usage: limiter-peers [waiting|decisions|all] [--rounds N]

  waiting     10,000 tasks on one key, twice each, at 10,000/s; an acquire that need not wait
  decisions   nanoseconds a decision on 1 and 2 threads; bytes a key
  all         both (the default)
  --rounds N  turns of each contestant (default 5)";

fn main() -> ExitCode {
    match Options::from_args(std::env::args().skip(1)) {
        Ok(None) => println!("{USAGE}"),
        Ok(Some(options)) => run(&options),
        Err(problem) => {
            eprintln!("limiter-peers: {problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn run(options: &Options) {
    let mut ratios = Ratios::default();
    // The table of a million keys would leave the memory it touched behind; waiting comes first.
    if options.waiting {
        waiting::run(options.rounds, &mut ratios);
    }
    if options.decisions {
        decisions::run(options.rounds, &mut ratios);
    }
    print!("{ratios}");
}

struct Options {
    waiting: bool,
    decisions: bool,
    rounds: usize,
}

impl Options {
    /// `None` where help was asked for.
    fn from_args(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self { waiting: true, decisions: true, rounds: 5 };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "-h" | "--help" => return Ok(None),
                "waiting" => options.decisions = false,
                "decisions" => options.waiting = false,
                "all" => {}
                "--rounds" => {
                    let rounds = args.next().ok_or("--rounds needs a number")?;
                    options.rounds = rounds.parse().map_err(|_| format!("not a number of rounds: {rounds}"))?;
                }
                other => return Err(format!("unknown argument: {other}")),
            }
        }
        match options {
            Self { rounds: 0, .. } => Err("--rounds must be at least 1".to_owned()),
            Self { waiting: false, decisions: false, .. } => Err("say `all` for both".to_owned()),
            _ => Ok(Some(options)),
        }
    }
}

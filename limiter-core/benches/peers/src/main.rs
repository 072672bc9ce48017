//! Compares limiter-core and limiter-tower with other crates: figures for ratios within one run, not absolutes.
//!
//! Contestants take turns, every figure is the median of its turns, and the `ratio` lines come last: the peer's figure
//! by ours, so that above 1 ours is the better one.

mod alloc;
mod cpu;
mod decisions;
mod harness;
mod layer;
mod waiting;

use harness::Ratios;
use std::process::ExitCode;

const USAGE: &str = "\
Compares limiter-core and limiter-tower with other crates.

usage: limiter-peers [waiting|decisions|layer|all] [--rounds N]

  waiting     10,000 tasks on one key, twice each, at 10,000/s; an acquire that need not wait
  decisions   nanoseconds a decision on 1 and 2 threads; bytes a key
  layer       what a layer adds to a service; the slowest call of a million keys
  all         all of them (the default)
  --rounds N  turns of each contestant (default 5)";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &args[..] {
        // How `layer` runs this program when it counts instructions.
        [mode, subject, calls] if mode == "layer-calls" => calls
            .parse()
            .map_err(|_| format!("not a number of calls: {calls}"))
            .and_then(|calls| layer::calls(subject, calls)),
        _ => Options::from_args(args.into_iter()).map(|options| match options {
            None => println!("{USAGE}"),
            Some(options) => run(&options),
        }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("limiter-peers: {problem}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) {
    let mut ratios = Ratios::default();
    let is_wanted = |mode| options.only.is_none_or(|only| only == mode);
    // The table of a million keys would leave the memory it touched behind; waiting comes first.
    if is_wanted(Mode::Waiting) {
        waiting::run(options.rounds, &mut ratios);
    }
    if is_wanted(Mode::Layer) {
        layer::run(options.rounds, &mut ratios);
    }
    if is_wanted(Mode::Decisions) {
        decisions::run(options.rounds, &mut ratios);
    }
    print!("{ratios}");
}

struct Options {
    only: Option<Mode>,
    rounds: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Waiting,
    Decisions,
    Layer,
}

impl Options {
    /// `None` where help was asked for.
    fn from_args(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self { only: None, rounds: 5 };
        while let Some(arg) = args.next() {
            let mode = match arg.as_str() {
                "-h" | "--help" => return Ok(None),
                "waiting" => Mode::Waiting,
                "decisions" => Mode::Decisions,
                "layer" => Mode::Layer,
                "all" => continue,
                "--rounds" => {
                    let rounds = args.next().ok_or("--rounds needs a number")?;
                    options.rounds = rounds.parse().map_err(|_| format!("not a number of rounds: {rounds}"))?;
                    continue;
                }
                other => return Err(format!("unknown argument: {other}")),
            };
            if options.only.replace(mode).is_some() {
                return Err("say `all` for all of them".to_owned());
            }
        }
        if options.rounds == 0 {
            return Err("--rounds must be at least 1".to_owned());
        }
        Ok(Some(options))
    }
}

//! What would this quota have done to my traffic? Replays access logs through limiters.
//!
//!     cargo run --release --example replay -- --quota "100/min" access.log
//!     cargo run --release --example replay -- --help

use std::{
    fmt,
    fs::File,
    io::{self, BufWriter, Read, Write},
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;

use args::Args;

pub(crate) mod args;
mod chart;
mod decisions;
mod html;
mod input;
mod log;
mod progress;
mod replay;
mod report;
mod source;
mod store;
mod summary;
mod timeline;
mod trace;
mod utc;

fn main() -> ExitCode {
    let args = Args::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    let ran = run(&args, &mut io::stdin().lock(), &mut out, &mut io::stderr());
    let flushed = out.flush().map_err(Into::into);
    match ran.and(flushed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<BadArguments>() { 2 } else { 1 })
        }
    }
}

/// Does what `args` say; `stdin` is read where they name `-`.
///
/// # Errors
/// [`BadArguments`]; input that cannot be read, or not to its end (what came before is counted and shown first); events
/// of a trace that have no answer (all others are answered first, and `complaints` tells why); a report that cannot be
/// written.
pub(crate) fn run(
    args: &Args,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> anyhow::Result<()> {
    if args.decisions {
        return decisions::answer(args, stdin, out, complaints);
    }
    let (mut log, cut) = log::read(args, stdin)?;
    if args.sort {
        log.sort();
    }
    let outcomes = replay::replay_all(&log, args)?;
    summary::write(&log, &outcomes, out)?;
    if let Some(path) = &args.report {
        let create = || File::create(path).map(BufWriter::new);
        let written = create().and_then(|mut file| {
            report::write(&log, &outcomes, &mut file)?;
            file.flush()
        });
        written.with_context(|| path.display().to_string())?;
        writeln!(out, "\nreport: {}", path.display())?;
    }
    match cut {
        Some(error) => Err(error.context("not all of the input could be read; what came before it is counted")),
        None => Ok(()),
    }
}

/// Whoever read our output has had enough, as `head` has.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Marks an error that the arguments caused.
#[derive(Debug)]
pub(crate) struct BadArguments;

impl fmt::Display for BadArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad arguments")
    }
}

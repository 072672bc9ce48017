//! Decision traces: the answer to each event, through the public limiter and by the trace's own clock.
//!
//! Every event has its line. What cannot be answered (a line that is none of a trace, a quota, a time or a cost that the
//! limiter refuses, a key twice in one decision) has `{"error": "..."}`, and changes nothing.

use std::{
    collections::HashMap,
    io::{Read, Write},
    path::Path,
};

use anyhow::{Context, anyhow, ensure};
use indicatif::ProgressBar;
use limiter_core::{Decision, DynStore, Error, Limiter, ManualClock, Quota};

use super::{
    args::Args,
    input::Malformed,
    source::{Line, Lines},
    store::AnyStore,
    trace::{Answer, Demand, Event, Op, TraceLine},
};

/// Prints the answers to the traces in the files of `args`, each a line of JSON, and why some have none to `complaints`.
///
/// # Errors
/// A file that cannot be read, or written to; events without an answer, after all others were answered.
pub(crate) fn answer(
    args: &Args,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> anyhow::Result<()> {
    let no_bar = ProgressBar::hidden();
    let store = args.store.open()?;
    let mut answers = Answers { out, complaints, complained: false, events: 0, refused: 0 };
    for path in &args.files {
        let mut lines = Lines::open(path, stdin, &no_bar)?;
        let answered = answers.add(&mut lines, path, &store);
        answered.with_context(|| format!("{}:{}", path.display(), lines.number()))?;
    }
    let Answers { complained, events, refused, .. } = answers;
    ensure!(!complained, "{refused} of {events} events have no answer; what stands above tells why");
    Ok(())
}

/// What is printed: an answer for each event, in their order.
struct Answers<'a> {
    out: &'a mut dyn Write,
    complaints: &'a mut dyn Write,
    complained: bool,
    events: u64,
    /// Events without an answer.
    refused: u64,
}

impl Answers<'_> {
    fn add(&mut self, lines: &mut Lines<'_>, path: &Path, store: &AnyStore) -> anyhow::Result<()> {
        let mut trace = Err("an event before any header".to_owned());
        loop {
            let number = lines.number() + 1;
            let line = match lines.next_line()? {
                None => return Ok(()),
                Some(Line::Text(line)) if line.trim_ascii().is_empty() => continue,
                Some(Line::Text(line)) => TraceLine::parse(&line),
                Some(Line::TooLong) => TraceLine::Event(Err(anyhow!("{}", Malformed::TooLong))),
            };
            let complaint = match (line, &trace) {
                (TraceLine::Header(Ok(quotas)), _) => {
                    trace = Ok(Trace::start(quotas, store));
                    continue;
                }
                (TraceLine::Header(Err(error)), _) => {
                    trace = Err(format!("the trace was refused: {error:#}"));
                    Some(error)
                }
                (TraceLine::Event(event), trace) => {
                    let answer = match (event, trace) {
                        (Ok(event), Ok(trace)) => trace.answer(&event),
                        (Err(error), _) => Err(error),
                        (Ok(_), Err(why)) => Err(anyhow!("{why}")),
                    };
                    self.print(&answer)?;
                    answer.err()
                }
            };
            if let Some(error) = complaint {
                self.complained = true;
                writeln!(self.complaints, "{}:{number}: {error:#}", path.display())?;
            }
        }
    }

    /// A line for an event: its answer, `{}` for a reset, or why it has none.
    fn print(&mut self, answer: &anyhow::Result<Option<Answer>>) -> anyhow::Result<()> {
        self.events += 1;
        match answer {
            Ok(Some(answer)) => writeln!(self.out, "{answer}")?,
            Ok(None) => writeln!(self.out, "{{}}")?,
            Err(error) => {
                self.refused += 1;
                writeln!(self.out, r#"{{"error": {}}}"#, serde_json::to_string(&format!("{error:#}"))?)?;
            }
        }
        Ok(())
    }
}

/// A trace under way: a limiter for each quota, all over one store.
struct Trace {
    clock: ManualClock,
    limiters: HashMap<Option<String>, Limiter<DynStore>>,
}

/// A demand with the limiter that it asks.
struct Part<'a> {
    limiter: &'a Limiter<DynStore>,
    key: &'a str,
    cost: u64,
}

impl Trace {
    fn start(quotas: HashMap<Option<String>, Quota>, store: &AnyStore) -> Self {
        let (clock, fresh) = (ManualClock::default(), store.fresh_name());
        let limiter = |name: &Option<String>, quota| {
            let name = fresh(name.as_deref().unwrap_or_default());
            Limiter::builder(quota).name(name).store(store.store.clone()).clock(clock.clone()).build()
        };
        let limiters = quotas.into_iter().map(|(name, quota)| (name.clone(), limiter(&name, quota))).collect();
        Self { clock, limiters }
    }

    /// The answer to an event; a reset has none.
    fn answer(&self, event: &Event) -> anyhow::Result<Option<Answer>> {
        let parts = event.demands.iter().map(|demand| self.part(demand)).collect::<anyhow::Result<Vec<_>>>()?;
        let Part { limiter, key, cost } = parts[0];
        self.clock.set(event.at);
        let limiter = limiter.blocking();
        let decision = match event.op {
            Op::Take => take(&parts),
            Op::Peek => peek(&parts),
            Op::Charge => limiter.charge(key, cost),
            Op::Refund => limiter.refund(key, cost, event.taken()?),
            Op::Block => limiter.block_until(key, event.until()?),
            Op::Reset => {
                limiter.reset(key)?;
                return Ok(None);
            }
        };
        match decision {
            Ok(decision) => Ok(Some(Answer::of(&decision, event.op.asks() && parts.len() > 1))),
            Err(Error::NeverFits { .. }) => Ok(Some(never_fits(&parts)?)),
            Err(error) => Err(error.into()),
        }
    }

    fn part<'a>(&'a self, demand: &'a Demand) -> anyhow::Result<Part<'a>> {
        let Demand { quota, key, cost } = demand;
        let limiter = self.limiters.get(quota).with_context(|| match quota {
            Some(name) => format!("the header has no quota {name:?}"),
            None => "the header has named quotas; the event names none".to_owned(),
        })?;
        Ok(Part { limiter, key, cost: *cost })
    }
}

fn take(parts: &[Part<'_>]) -> Result<Decision, Error> {
    match parts {
        [part] => part.limiter.blocking().check_n(part.key, part.cost),
        _ => Limiter::all(parts.iter().map(|part| part.limiter.on(part.key).cost(part.cost))).blocking().check(),
    }
}

fn peek(parts: &[Part<'_>]) -> Result<Decision, Error> {
    match parts {
        [part] => part.limiter.blocking().peek_n(part.key, part.cost),
        _ => Limiter::all(parts.iter().map(|part| part.limiter.on(part.key).cost(part.cost))).blocking().peek(),
    }
}

/// The answer where one cost or more can never fit, which a limiter refuses as an error: a denial, with what is left.
fn never_fits(parts: &[Part<'_>]) -> Result<Answer, Error> {
    let state = Limiter::all(parts.iter().map(|part| part.limiter.on(part.key).cost(0))).blocking().peek()?;
    let mut denied = Vec::new();
    for (place, part) in parts.iter().enumerate() {
        match part.limiter.blocking().peek_n(part.key, part.cost) {
            Ok(decision) if decision.allowed() => {}
            Ok(_) | Err(Error::NeverFits { .. }) => denied.push(place),
            Err(error) => return Err(error),
        }
    }
    let denied = (parts.len() > 1).then_some(denied);
    Ok(Answer { allowed: false, retry_after: None, denied, ..Answer::of(&state, false) })
}

impl Answer {
    fn of(decision: &Decision, several: bool) -> Self {
        Self {
            allowed: decision.allowed(),
            remaining: decision.remaining(),
            reset_after: decision.reset_after(),
            retry_after: decision.retry_after(),
            denied: several.then(|| decision.denied().collect()),
        }
    }
}

//! Decision traces: the answer to each event, through the public limiter and by the trace's own clock.

use std::{
    collections::HashMap,
    io::{Read, Write},
};

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use limiter_core::{Decision, Error, Limiter, ManualClock, Quota, Timestamp};

use super::{
    args::Args,
    input::Malformed,
    source::{Line, Lines},
    store::{AnyStore, StoreChoice},
    trace::{Answer, Demand, Event, Op, TraceLine},
};

/// Prints the answers to the traces in the files of `args`, each a line of JSON.
pub(crate) fn answer(args: &Args, stdin: &mut dyn Read, out: &mut dyn Write) -> anyhow::Result<()> {
    let no_bar = ProgressBar::hidden();
    for path in &args.files {
        let mut lines = Lines::open(path, stdin, &no_bar)?;
        let answered = answer_lines(&mut lines, args.store, out);
        answered.with_context(|| format!("{}:{}", path.display(), lines.number()))?;
    }
    Ok(())
}

fn answer_lines(lines: &mut Lines<'_>, store: StoreChoice, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut trace = None;
    while let Some(line) = lines.next_line()? {
        let Line::Text(line) = line else { bail!("{}", Malformed::TooLong) };
        if line.trim_ascii().is_empty() {
            continue;
        }
        match TraceLine::parse(&line)? {
            TraceLine::Header(quotas) => trace = Some(Trace::start(quotas, &store.open()?)),
            TraceLine::Event(event) => {
                let trace = trace.as_ref().context("an event before any header")?;
                match trace.answer(event)? {
                    Some(answer) => writeln!(out, "{answer}")?,
                    None => writeln!(out, "{{}}")?,
                }
            }
        }
    }
    Ok(())
}

/// A trace under way: a limiter for each quota, all over one store.
struct Trace {
    clock: ManualClock,
    limiters: HashMap<Option<String>, Limiter<AnyStore>>,
}

/// A demand with the limiter that it asks.
struct Part<'a> {
    limiter: &'a Limiter<AnyStore>,
    key: &'a str,
    cost: u64,
}

impl Trace {
    fn start(quotas: HashMap<Option<String>, Quota>, store: &AnyStore) -> Self {
        let clock = ManualClock::default();
        let limiter = |name: &Option<String>, quota| {
            let name = name.clone().unwrap_or_default();
            Limiter::builder(quota).name(name).store(store.clone()).clock(clock.clone()).build()
        };
        let limiters = quotas.into_iter().map(|(name, quota)| (name.clone(), limiter(&name, quota))).collect();
        Self { clock, limiters }
    }

    /// The answer to an event; a reset has none.
    fn answer(&self, mut event: Event) -> anyhow::Result<Option<Answer>> {
        self.clock.set(Timestamp::from_micros(event.t_us));
        let demands = event.demands()?;
        let parts = demands.iter().map(|demand| self.part(demand)).collect::<anyhow::Result<Vec<_>>>()?;
        let Part { limiter, key, cost } = parts[0];
        let decision = match event.op {
            Op::Take => take(&parts),
            Op::Peek => peek(&parts),
            Op::Charge => limiter.charge(key, cost),
            Op::Refund => limiter.refund(key, cost, Timestamp::from_micros(event.taken_us()?)),
            Op::Block => limiter.block_until(key, Timestamp::from_micros(event.until_us()?)),
            Op::Reset => {
                limiter.reset(key)?;
                return Ok(None);
            }
        };
        let is_asked = matches!(event.op, Op::Take | Op::Peek);
        match decision {
            Ok(decision) => Ok(Some(Answer::of(&decision, is_asked && parts.len() > 1))),
            Err(Error::NeverFits { .. }) => Ok(Some(never_fits(&parts)?)),
            Err(error) => Err(error.into()),
        }
    }

    fn part<'a>(&'a self, demand: &'a Demand) -> anyhow::Result<Part<'a>> {
        let Demand { quota, key, cost } = demand;
        let limiter = self.limiters.get(quota).with_context(|| match quota {
            Some(name) => format!("the header has no quota {name:?}"),
            None => "the header has several quotas; the event names none".to_owned(),
        })?;
        Ok(Part { limiter, key, cost: *cost })
    }
}

fn take(parts: &[Part<'_>]) -> Result<Decision, Error> {
    match parts {
        [part] => part.limiter.check_n(part.key, part.cost),
        _ => Limiter::all(parts.iter().map(|part| part.limiter.on(part.key).cost(part.cost))).check(),
    }
}

fn peek(parts: &[Part<'_>]) -> Result<Decision, Error> {
    match parts {
        [part] => part.limiter.peek_n(part.key, part.cost),
        _ => Limiter::all(parts.iter().map(|part| part.limiter.on(part.key).cost(part.cost))).peek(),
    }
}

/// The answer where one cost or more can never fit, which a limiter refuses as an error: a denial, with what is left.
fn never_fits(parts: &[Part<'_>]) -> Result<Answer, Error> {
    let state = Limiter::all(parts.iter().map(|part| part.limiter.on(part.key).cost(0))).peek()?;
    let mut denied = Vec::new();
    for (place, part) in parts.iter().enumerate() {
        match part.limiter.peek_n(part.key, part.cost) {
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

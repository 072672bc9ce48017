//! The log's requests through a limiter for each quota, by the log's own time.

use std::cmp::Reverse;

use limiter_core::{Error, Limiter, ManualClock, Quota};

use super::{
    args::Args,
    log::{Event, Log},
    progress::{self, Steps},
    store::AnyStore,
    timeline::Peak,
};

/// What a quota did to the traffic.
pub(crate) struct Outcome {
    pub(crate) quota: Quota,
    pub(crate) requests: Tally,
    /// What the requests cost.
    pub(crate) units: Tally,
    /// The denied requests whose cost is above what the quota can ever hold.
    pub(crate) never_fit: u64,
    /// By the place of the key in the log.
    pub(crate) keys: Vec<Tally>,
    /// By the cell of the log's timeline.
    pub(crate) over_time: Vec<Tally>,
    /// The most that were admitted.
    pub(crate) peak: Peak,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) admitted: u64,
    pub(crate) denied: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Admitted,
    Denied,
    NeverFits,
}

/// What each quota of `args` does to the traffic.
pub(crate) fn replay_all(log: &Log, args: &Args) -> anyhow::Result<Vec<Outcome>> {
    let decisions = log.events.len() as u64 * args.quota.len() as u64;
    let bar = progress::of_decisions(decisions);
    let mut steps = Steps::new(&bar);
    let mut outcomes = Vec::new();
    for quota in &args.quota {
        bar.set_message(quota.to_string());
        let verdicts = verdicts(log, quota, args.store.open()?, &mut steps)?;
        outcomes.push(Outcome::new(log, quota.clone(), &verdicts));
    }
    bar.finish_and_clear();
    Ok(outcomes)
}

/// What a limiter says to each request of the log.
fn verdicts(log: &Log, quota: &Quota, store: AnyStore, steps: &mut Steps<'_>) -> Result<Vec<Verdict>, Error> {
    let clock = ManualClock::default();
    let name = store.fresh_name()("");
    let limiter = Limiter::builder(quota.clone()).name(name).store(store.store).clock(clock.clone()).build();
    let limiter = limiter.blocking();
    let verdict = |event: &Event| {
        steps.step();
        clock.set(event.at);
        match limiter.check_n(&*log.keys[event.key], event.cost) {
            Ok(decision) if decision.allowed() => Ok(Verdict::Admitted),
            Ok(_) => Ok(Verdict::Denied),
            Err(Error::NeverFits { .. }) => Ok(Verdict::NeverFits),
            Err(error) => Err(error),
        }
    };
    log.events.iter().map(verdict).collect()
}

impl Outcome {
    fn new(log: &Log, quota: Quota, verdicts: &[Verdict]) -> Self {
        let events = log.events.iter().zip(verdicts);
        let admitted = events.clone().filter(|(_, verdict)| **verdict == Verdict::Admitted);
        let timeline = log.timeline();
        let mut outcome = Self {
            quota,
            requests: Tally::default(),
            units: Tally::default(),
            never_fit: 0,
            keys: vec![Tally::default(); log.keys.len()],
            over_time: vec![Tally::default(); timeline.map_or(0, |timeline| timeline.cells)],
            peak: Peak::of(admitted.map(|(event, _)| event.at)),
        };
        for (event, verdict) in events {
            let tallies = [&mut outcome.requests, &mut outcome.keys[event.key]];
            tallies.into_iter().for_each(|tally| tally.add(*verdict, 1));
            outcome.units.add(*verdict, event.cost);
            if let Some(timeline) = timeline {
                outcome.over_time[timeline.cell(event.at)].add(*verdict, 1);
            }
            outcome.never_fit += u64::from(*verdict == Verdict::NeverFits);
        }
        outcome
    }

    pub(crate) fn keys_hit(&self) -> usize {
        self.keys.iter().filter(|key| key.denied > 0).count()
    }

    /// The keys that were denied most, by their places, up to `most` of them.
    pub(crate) fn worst_keys(&self, most: usize) -> Vec<(usize, Tally)> {
        let denied = self.keys.iter().copied().enumerate().filter(|(_, key)| key.denied > 0);
        let mut worst: Vec<_> = denied.collect();
        let order = |&(place, key): &(usize, Tally)| (Reverse(key.denied), key.admitted, place);
        if worst.len() > most {
            worst.select_nth_unstable_by_key(most, order);
            worst.truncate(most);
        }
        worst.sort_unstable_by_key(order);
        worst
    }
}

impl Tally {
    pub(crate) fn total(&self) -> u64 {
        self.admitted.saturating_add(self.denied)
    }

    /// How many of 100 were denied.
    pub(crate) fn denied_percent(&self) -> f64 {
        if self.denied == 0 { 0.0 } else { self.denied as f64 * 100.0 / self.total() as f64 }
    }

    fn add(&mut self, verdict: Verdict, amount: u64) {
        let side = if verdict == Verdict::Admitted { &mut self.admitted } else { &mut self.denied };
        *side = side.saturating_add(amount);
    }
}

//! A learner against a server, over a network, in virtual time.

use crate::{random::Rng, servers::Kind};
use limiter_core::Timestamp;
use limiter_reqwest::learn::{Learning, Pace, Sent};
use std::{cmp::Reverse, collections::BinaryHeap};

const SECOND: f64 = 1e6;

/// What happens to requests and answers on their way; all in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    pub(crate) round_trip: f64,
    /// Each way takes up to so much longer.
    pub(crate) jitter: f64,
    /// So much too late on the average, now and then much more, is sent what was to be; and as much later, each for
    /// itself, is it at the server, and its answer back.
    pub(crate) late: f64,
    /// Requests on their way at the same time, at most.
    pub(crate) callers: usize,
}

impl Network {
    /// A Weibull distribution of shape 1/2: mostly little, and now and then ten times the mean.
    fn lateness(&self, random: f64) -> u64 {
        (self.late / 2.0 * (1.0 - random).ln().powi(2) * SECOND) as u64
    }
}

/// A machine room away, over a network that is not busy.
pub(crate) const NEAR: Network = Network { round_trip: 0.02, jitter: 0.000_2, late: 0.0, callers: 256 };
/// The other side of an ocean.
pub(crate) const FAR: Network = Network { round_trip: 0.1, jitter: 0.005, late: 0.0, callers: 256 };

/// One experiment: a limit of `rate` requests a second, that is so many times as high from each of `changes` on.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) kind: Kind,
    pub(crate) rate: f64,
    pub(crate) seconds: f64,
    pub(crate) changes: Vec<(f64, f64)>,
    /// Not judged: the first seconds, and those after each change.
    pub(crate) grace: (f64, f64),
    pub(crate) network: Network,
    pub(crate) learning: Learning,
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Parts of what the server would have admitted, and of what was sent; in the time that is judged.
    pub(crate) used: f64,
    pub(crate) refused: f64,
    /// How many were refused in the time that is not.
    pub(crate) refused_early: usize,
    /// When nine tenths were first used for as long as a tenth of the run.
    pub(crate) settled: f64,
    pub(crate) fastest: f64,
}

/// What arrives somewhere: when (and the how manieth event), whether at the server, which request.
type Event = Reverse<(u64, u64, bool, usize)>;

impl Run {
    pub(crate) fn new(kind: Kind, rate: f64) -> Run {
        let seconds = (4000.0 / rate).clamp(60.0, 4000.0);
        let learning = Learning::default();
        Run { kind, rate, seconds, changes: Vec::new(), grace: (10.0, 10.0), network: NEAR, learning, seed: 0 }
    }

    fn limit_at(&self, second: f64) -> f64 {
        let changed = self.changes.iter().rev().find(|(at, _)| second >= *at);
        self.rate * changed.map_or(1.0, |(_, factor)| *factor)
    }

    fn is_judged(&self, second: f64) -> bool {
        let changing = self.changes.iter().any(|(at, _)| (0.0..self.grace.1).contains(&(second - at)));
        second >= self.grace.0 && !changing
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let mut rng = Rng::new(self.seed);
        let mut random = || rng.below(1 << 32) as f64 / (1_u64 << 32) as f64;
        let mut server = self.kind.server(self.rate, random());
        let begin = 1_000_000_000_u64;
        let end = begin + (self.seconds * SECOND) as u64;
        let mut changes = self.changes.iter().map(|(at, factor)| (begin + (at * SECOND) as u64, *factor)).peekable();
        let mut pace = Pace::new(self.learning);
        let mut events: BinaryHeap<Event> = BinaryHeap::new();
        let mut requests: Vec<(Sent, bool)> = Vec::new();
        let mut arrivals: Vec<(f64, bool)> = Vec::new();
        let (mut now, mut number, mut on_their_way, mut fastest) = (begin, 0_u64, 0_usize, 0_f64);
        let (mut due, mut late) = (0_u64, 0_u64);
        loop {
            let wait = if on_their_way < self.network.callers { pace.wait(Timestamp::from_micros(now)) } else { None };
            let may = wait.map(|wait| now.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)));
            if let Some(may) = may.filter(|may| *may > now && may.abs_diff(due) > 2) {
                (due, late) = (may, self.network.lateness(random()));
            }
            let sends = may.map(|_| (due + late).max(now));
            let event = events.peek().map(|Reverse(event)| event.0);
            let at = sends.into_iter().chain(event).min().expect("a request to send or one on its way");
            if at >= end {
                break;
            }
            now = at;
            while let Some((_, factor)) = changes.next_if(|(at, _)| now >= *at) {
                server.change(self.rate * factor);
            }
            let mut travel = || {
                let late = self.network.lateness(random());
                late + ((self.network.round_trip / 2.0 + self.network.jitter * random()) * SECOND) as u64
            };
            number += 1;
            if event.is_none_or(|event| event > at) {
                requests.push((pace.sent(Timestamp::from_micros(now)), false));
                on_their_way += 1;
                fastest = fastest.max(pace.rate());
                events.push(Reverse((now + travel(), number, true, requests.len() - 1)));
                continue;
            }
            let Reverse((_, _, at_server, request)) = events.pop().expect("the event that was peeked at");
            if at_server {
                let admitted = server.admits(now);
                requests[request].1 = admitted;
                arrivals.push(((now - begin) as f64 / SECOND, admitted));
                events.push(Reverse((now + travel(), number, false, request)));
            } else {
                on_their_way -= 1;
                match requests[request] {
                    (sent, true) => pace.admitted(Timestamp::from_micros(now), sent),
                    (sent, false) => pace.refused(Timestamp::from_micros(now), sent, None),
                }
            }
        }
        self.judge(&arrivals, fastest)
    }

    fn judge(&self, arrivals: &[(f64, bool)], fastest: f64) -> Outcome {
        let judged: Vec<_> = arrivals.iter().filter(|(at, _)| self.is_judged(*at)).collect();
        let admitted = judged.iter().filter(|(_, admitted)| *admitted).count() as f64;
        let refused = judged.len() as f64 - admitted;
        let all_refused = arrivals.iter().filter(|(_, admitted)| !admitted).count();
        // In steps fine enough for any change.
        let steps = 10_000;
        let step = self.seconds / f64::from(steps);
        let instants = (0..steps).map(|i| f64::from(i) * step);
        let capacity: f64 = instants.filter(|at| self.is_judged(*at)).map(|at| self.limit_at(at) * step).sum();
        Outcome {
            used: admitted / capacity,
            refused: refused / (judged.len().max(1) as f64),
            refused_early: all_refused - refused as usize,
            settled: self.settled(arrivals),
            fastest,
        }
    }

    fn settled(&self, arrivals: &[(f64, bool)]) -> f64 {
        let span = self.seconds / 10.0;
        let in_span = |from: f64| {
            let first = arrivals.partition_point(|(at, _)| *at < from);
            let last = arrivals.partition_point(|(at, _)| *at < from + span);
            arrivals[first..last].iter().filter(|(_, admitted)| *admitted).count() as f64
        };
        let starts = (0..90).map(|i| f64::from(i) * self.seconds / 100.0);
        let mut good = starts.filter(|from| in_span(*from) >= 0.9 * self.limit_at(*from) * span);
        good.next().unwrap_or(f64::NAN)
    }

    /// The mean over several seeds; for what is early and late, the worst.
    pub(crate) fn outcomes(&self, seeds: u64) -> Outcome {
        let mut all = Outcome::default();
        for seed in 0..seeds {
            let one = Run { seed, ..self.clone() }.outcome();
            all.used += one.used / seeds as f64;
            all.refused += one.refused / seeds as f64;
            all.refused_early = all.refused_early.max(one.refused_early);
            all.settled = all.settled.max(one.settled);
            all.fastest = all.fastest.max(one.fastest);
        }
        all
    }
}

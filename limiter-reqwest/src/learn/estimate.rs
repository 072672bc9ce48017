//! The guess of a limit, and the pace that follows from it.

use super::Learning;
use std::collections::VecDeque;

/// How unsure the guess may be: the part of it by which the pace falls below it, and half of it the first step beyond.
const SUREST: f64 = 0.03;
const LEAST_SURE: f64 = 0.5;
/// Requests from the pace after a refusal back to the guess, once that is as sure as can be and a probe costs one
/// refusal: together with those beyond it, one in 150.
const CLIMB: f64 = 120.0;
/// From this limit down ten seconds are too short for a probe or two among a hundred requests, and climbs take up to so
/// many instead.
const SLOW: f64 = 20.0;
const SLOW_CLIMB: f64 = 200.0;
/// The time that such a climb takes at least, in seconds.
const CLIMB_TIME: f64 = 2.5;
/// Requests, and seconds, in which the part beyond the guess doubles.
const DOUBLING: f64 = 16.0;
const DOUBLING_TIME: f64 = 1.0;
/// The growth a request before the first refusal, and the time in which the pace at most doubles then.
const FIRST_GROWTH: f64 = 1.25;
const FIRST_DOUBLING_TIME: f64 = 0.5;
/// Whoever is refused before this part of the climb is done is still too fast.
const SOON: f64 = 0.25;
/// A guess is sure from this spread down.
const SETTLED: f64 = 0.1;
/// More refused than this part of so many requests, as jitter may bring about, and the climb takes longer.
const SHARE: f64 = 0.005;
const LATELY: f64 = 500.0;
/// A stop that ends with a window of the server's costs no more as a rule, but for one in a few that is to check that.
const SHOWN_COST: u32 = 1;
/// Fewer admitted measure nothing.
const FEW: f64 = 8.0;
const SAMPLES: usize = 64;

/// What is known about a limit, in requests and seconds.
///
/// The pace runs in cycles, each from the request that ended a [`Stop`] to the next that does.
#[derive(Clone, Debug)]
pub(super) struct Estimate {
    settings: Learning,
    rate: f64,
    /// The guess; none before the first refusal.
    limit: Option<f64>,
    /// The part of the guess by which it may be wrong.
    spread: f64,
    /// The pace that the climb began with, how much of the way to the guess is done, and the doublings beyond it.
    base: f64,
    climb: f64,
    beyond: f64,
    grown_at: f64,
    /// What the last whole cycle admitted, until refusals in a row contradict it.
    proven: Option<f64>,
    /// The most that whole cycles admitted lately: where a pace that comes back to it becomes careful.
    reference: f64,
    careful: bool,
    /// Refusals in a row, each soon after the last.
    soon: u32,
    /// How long stops last: whoever limits by windows shows the consequences of a pace only that much later.
    stops: f64,
    /// How many refusals a probe costs.
    cost: f64,
    /// The last stop ended with a window of the server's, whose count is the limit.
    shown: bool,
    /// The part of what was sent lately that was refused, while the guess was sure.
    share: f64,
    begin: f64,
    admitted: f64,
    /// How much was admitted in this cycle until when.
    samples: VecDeque<(f64, f64)>,
}

/// A time in which the server admitted nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// When the first and the last of the refused were sent, and the pace of the first.
    pub(super) first: f64,
    pub(super) last: f64,
    pub(super) rate: f64,
    pub(super) refusals: u32,
    /// Refusals one after the other, each after a longer pause.
    pub(super) streak: u32,
}

impl Estimate {
    pub(super) fn new(settings: Learning) -> Self {
        Self {
            settings,
            rate: settings.first_rate(),
            limit: None,
            spread: LEAST_SURE,
            base: 0.0,
            climb: 0.0,
            beyond: 0.0,
            grown_at: 0.0,
            proven: None,
            reference: 0.0,
            careful: false,
            soon: 0,
            stops: 0.0,
            cost: 1.0,
            shown: false,
            share: 0.0,
            begin: 0.0,
            admitted: 0.0,
            samples: VecDeque::new(),
        }
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    pub(super) fn limit(&self) -> Option<f64> {
        self.limit
    }

    pub(super) fn stops(&self) -> f64 {
        self.stops
    }

    /// The first request goes.
    pub(super) fn begin(&mut self, at: f64) {
        self.begin = at;
        self.grown_at = at;
    }

    /// Nothing was to be sent for so long.
    pub(super) fn idle(&mut self, seconds: f64) {
        self.begin += seconds;
        for (at, _) in &mut self.samples {
            *at += seconds;
        }
    }

    /// One more was admitted.
    pub(super) fn count(&mut self) {
        self.admitted += 1.0;
        self.share -= self.share / LATELY;
    }

    /// One that went at the pace `rate` was admitted while nothing was refused: faster.
    pub(super) fn grow(&mut self, now: f64, rate: f64) {
        self.sample(now);
        let faster = match self.limit {
            None => {
                let doublings = (now - self.grown_at).clamp(0.0, FIRST_DOUBLING_TIME) / FIRST_DOUBLING_TIME;
                (self.rate * doublings.exp2().min(FIRST_GROWTH)).min(2.0 * rate)
            }
            Some(limit) if self.climb < 1.0 => self.climb_to(limit),
            Some(limit) => {
                let hasty = if self.shown { 2.0 } else { 1.0 };
                self.beyond += hasty / DOUBLING.max(self.rate * DOUBLING_TIME.max(self.stops));
                let beyond = limit * self.spread / 2.0 * (self.beyond.min(60.0).exp2() - 1.0);
                (limit + beyond).min(2.0 * rate)
            }
        };
        self.grown_at = now;
        let slower = self.rate;
        self.rate = self.settings.within(faster.max(slower));
        let limit = self.limit.unwrap_or(f64::INFINITY);
        if limit < self.reference && slower < self.reference && self.rate >= self.reference {
            self.back_at_reference();
        }
    }

    /// A step of the way from the pace after the refusal to the guess: the deeper the fall, the faster.
    fn climb_to(&mut self, limit: f64) -> f64 {
        let depth = self.spread.max(1.0 - self.base / limit);
        let dear = self.cost * (self.share / SHARE).clamp(1.0, 4.0);
        let climb = (CLIMB * SLOW / limit).clamp(CLIMB, SLOW_CLIMB);
        let requests = climb * dear * SUREST / depth;
        let time = if depth < SETTLED { CLIMB_TIME.max(3.0 * self.stops) } else { self.stops };
        self.climb = (self.climb + 1.0 / requests.max(limit * time).max(1.0)).min(1.0);
        self.base + (limit - self.base) * self.climb
    }

    /// A limit that had been found, and was left for refusals that were in truth the echo of an earlier burst: a
    /// sliding log hands its units back in the order in which they were taken.
    fn back_at_reference(&mut self) {
        self.careful = true;
        self.spread = 2.0 * SUREST;
        self.climb_from(self.reference, self.reference * (1.0 - SUREST));
    }

    fn climb_from(&mut self, limit: f64, base: f64) {
        let limit = self.settings.within(limit);
        self.limit = Some(limit);
        self.base = self.settings.within(base.min(limit));
        self.rate = self.base;
        self.climb = 0.0;
        self.beyond = 0.0;
    }

    /// The request sent at `at` ended `stop`: a new guess, and a pace below it. A window of the server's may have `shown`
    /// the limit, and the part of it by which that may be wrong.
    pub(super) fn resume(&mut self, at: f64, stop: &Stop, shown: Option<(f64, f64)>) {
        let admitted = (self.admitted - 1.0).max(0.0);
        let lasted = (at - stop.first).max(0.0);
        self.stops *= 0.95;
        if lasted * stop.rate >= 3.0 {
            self.stops = self.stops.max(lasted);
        }
        if self.spread < SETTLED {
            self.share += f64::from(stop.refusals) / LATELY;
        }
        let high = self.refused_rate(stop);
        let low = (admitted / (at - self.begin).max(1e-6)).clamp(high / 1e3, high);
        // That fits what was admitted since the last stop, unless the limit has fallen or there are no windows.
        let shown = shown.filter(|(limit, _)| *limit >= 0.8 * low);
        self.shown = shown.is_some();
        match (shown, self.limit) {
            (Some(shown), _) => self.was_shown(shown, low, admitted, stop),
            (None, None) => self.first_guess(low, high, admitted, stop),
            (None, Some(limit)) if (self.climb < SOON && !self.careful) || admitted < FEW => {
                self.refused_soon(limit, low, high, admitted, stop);
            }
            (None, Some(limit)) => self.next_guess(limit, low, high, admitted, stop),
        }
        if self.spread >= SETTLED || self.soon > 1 {
            self.share = 0.0; // that was not jitter
        }
        if self.soon > 1 {
            self.cost = 1.0; // nor what a probe costs
        }
        self.careful = false;
        self.begin = at;
        self.admitted = 1.0;
        self.samples.clear();
        self.grown_at = at;
    }

    /// The rate that was too much: the pace at the refusal; if the server kept refusing, what it let through lately.
    fn refused_rate(&self, stop: &Stop) -> f64 {
        if stop.streak < 2 {
            return stop.rate;
        }
        let span = (2.0 * self.stops).max(2.0 * FEW / stop.rate);
        let sample = self.samples.iter().rev().find(|(at, _)| stop.last - at >= span);
        let (from, before) = sample.copied().unwrap_or((self.begin, 0.0));
        let through = (self.admitted - before) / (stop.last - from).max(1e-6);
        through.clamp(stop.rate / 8.0, stop.rate)
    }

    fn first_guess(&mut self, low: f64, high: f64, admitted: f64, stop: &Stop) {
        if stop.streak < 3 {
            self.spread = 0.4;
            self.climb_from(0.8 * stop.rate, 0.48 * stop.rate);
        } else {
            let (middle, apart) = between(low.max(stop.rate / 64.0), high);
            self.spread = apart.clamp(LEAST_SURE / 2.0, LEAST_SURE);
            self.prove(low, admitted);
            self.descend(middle);
        }
    }

    /// A whole cycle: the limit lies between what it admitted and what was refused, and near the last guess unless they
    /// exclude that.
    fn next_guess(&mut self, limit: f64, low: f64, high: f64, admitted: f64, stop: &Stop) {
        let (lowest, highest) = (limit * (1.0 - self.spread), limit * (1.0 + self.spread));
        let (middle, apart) = between(low, high);
        let middle = if low < highest && high > lowest {
            self.spread = apart.clamp(self.spread / 4.0, self.spread * 0.75);
            between(low, high.min(highest)).0
        } else {
            self.spread = apart.max(self.spread / 2.0);
            middle
        };
        self.spread = self.spread.clamp(SUREST, LEAST_SURE);
        if self.spread < 0.2 {
            self.cost += 0.3 * (f64::from(stop.refusals) - self.cost);
        }
        self.prove(low, admitted);
        self.descend(middle);
    }

    /// The window that was full held the limit, whatever the pace: nothing is to be sought.
    fn was_shown(&mut self, (limit, unsure): (f64, f64), low: f64, admitted: f64, stop: &Stop) {
        self.spread = unsure.clamp(SUREST, LEAST_SURE);
        self.cost += 0.3 * (f64::from(stop.refusals.min(SHOWN_COST)) - self.cost);
        self.prove(low, admitted);
        self.climb_from(limit, limit * (1.0 - self.spread));
    }

    fn prove(&mut self, low: f64, admitted: f64) {
        self.soon = 0;
        self.proven = (admitted >= FEW).then_some(low);
        if admitted >= 4.0 * FEW {
            self.reference = low.max(0.7 * self.reference);
        }
    }

    /// To where the climb begins: below the guess by what is unsure, hardly below what was admitted.
    fn descend(&mut self, limit: f64) {
        let proven = 0.95 * self.proven.unwrap_or_default();
        let base = (limit * (1.0 - self.spread)).max(proven).min(limit * (1.0 - SUREST));
        self.climb_from(limit, base);
    }

    /// Refused again before the climb had begun in earnest: down, each time in a row twice as far.
    fn refused_soon(&mut self, limit: f64, low: f64, high: f64, admitted: f64, stop: &Stop) {
        self.soon = self.soon.saturating_add(1);
        let hard = stop.streak >= 3 && admitted < 5.0;
        if self.soon >= 3 || (hard && self.soon >= 2) {
            self.proven = None;
        }
        if hard {
            let through = between(low, high).0.max(stop.rate / 8.0);
            if self.proven.is_none() {
                self.spread = LEAST_SURE;
            }
            let guess = self.proven.map_or(through, |proven| limit.min(proven.max(through)));
            self.climb_from(guess, through / 2.0);
        } else {
            if self.proven.is_none() {
                self.spread = (2.0 * self.spread).min(LEAST_SURE);
            }
            let guess = limit.min(stop.rate.max(self.proven.unwrap_or_default()));
            let fall = (SUREST * f64::from(1_u32 << self.soon.min(5))).min(0.5);
            self.climb_from(guess, stop.rate * (1.0 - fall));
        }
    }

    fn sample(&mut self, now: f64) {
        if self.samples.back().is_none_or(|(at, _)| now - at >= (self.stops / 8.0).max(0.1)) {
            self.samples.push_back((now, self.admitted));
            if self.samples.len() > SAMPLES {
                self.samples.pop_front();
            }
        }
    }
}

/// The geometric mean, and how far it is from either, as a part of it.
fn between(low: f64, high: f64) -> (f64, f64) {
    ((low * high).sqrt(), (high / low).ln() / 2.0)
}

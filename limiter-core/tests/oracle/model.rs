//! The oracle: what a decision must be, told as slowly and plainly as it can be.
//!
//! A bucket is a level in fractions of a unit, a log is a list of every unit, a window is a count; all in 128 bits.

use limiter_core::{Algorithm, Decision, Quota, Rate};
use std::{fmt::Debug, time::Duration};

/// One rate, in numbers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct RateSpec {
    pub(crate) limit: u64,
    pub(crate) period: u64,
    pub(crate) burst: Option<u64>,
    pub(crate) cells: Option<u32>,
}

/// A quota, in numbers; its rates by growing period.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Spec {
    pub(crate) algorithm: Algorithm,
    pub(crate) rates: Vec<RateSpec>,
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) spec: Spec,
    meters: Vec<Box<dyn Meter>>,
    blocked_until: i128,
    /// The last change of the quota: nothing comes back of what was taken before it.
    changed_at: i128,
    /// Whether anything was ever written: of a key that only was looked at, nothing is known.
    is_written: bool,
}

/// All keys, by number.
#[derive(Clone, Default, Debug)]
pub(crate) struct World(pub(crate) Vec<Key>);

/// What a decision must say.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Answer {
    pub(crate) allowed: bool,
    pub(crate) remaining: i128,
    pub(crate) reset_after: i128,
    /// `None`: it can never fit.
    pub(crate) retry_after: Option<i128>,
    pub(crate) denied: Vec<usize>,
    /// The demand, the capacity, what is left and when all is back, rate by rate.
    pub(crate) rates: Vec<(usize, i128, i128, i128)>,
}

/// How one rate counts; the same words as in the reference model. `now` is the argument of each.
trait Meter: Debug + Send {
    fn capacity(&self) -> i128;
    fn retry_after(&self, now: i128, cost: i128) -> i128;
    fn remaining(&self, now: i128) -> i128;
    fn reset_after(&self, now: i128) -> i128;
    fn is_ahead(&self, now: i128) -> bool;
    fn take(&mut self, now: i128, cost: i128);
    fn refund(&mut self, now: i128, cost: i128, taken: i128);
    fn in_use(&self, now: i128) -> i128;
    fn copy(&self) -> Box<dyn Meter>;
}

impl World {
    pub(crate) fn of(spec: &Spec, keys: usize) -> Self {
        Self((0..keys).map(|_| Key::new(spec)).collect())
    }

    /// Decides on (key, cost) pairs together.
    pub(crate) fn decide(&mut self, demands: &[(usize, u64)], now: u64, takes: bool) -> Answer {
        let now = i128::from(now);
        let waits: Vec<Option<i128>> = demands.iter().map(|&(key, cost)| self.0[key].wait(now, cost.into())).collect();
        let wait = waits.iter().copied().collect::<Option<Vec<_>>>().map(|waits| waits.into_iter().max().unwrap());
        if let Some(wait) = wait.filter(|_| takes) {
            for &(key, cost) in demands.iter().filter(|(_, cost)| *cost > 0) {
                self.0[key].settle(now, if wait > 0 { 0 } else { cost.into() });
            }
        }
        let states = demands.iter().map(|&(key, _)| self.0[key].state(now));
        let (remaining, reset_after): (Vec<_>, Vec<_>) = states.unzip();
        let rates = demands.iter().enumerate().flat_map(|(i, &(key, _))| {
            let meters = self.0[key].meters.iter();
            meters.map(move |m| (i, m.capacity(), m.remaining(now), m.reset_after(now)))
        });
        Answer {
            allowed: wait == Some(0),
            remaining: remaining.into_iter().min().unwrap(),
            reset_after: reset_after.into_iter().max().unwrap(),
            retry_after: wait,
            denied: (0..waits.len()).filter(|&i| waits[i] != Some(0)).collect(),
            rates: rates.collect(),
        }
    }

    /// What is answered after a change without asking.
    pub(crate) fn look(&mut self, key: usize, now: u64) -> Answer {
        self.decide(&[(key, 0)], now, false)
    }
}

impl Key {
    pub(crate) fn new(spec: &Spec) -> Self {
        let meters = spec.rates.iter().map(|rate| rate.meter(spec.algorithm)).collect();
        Self { spec: spec.clone(), meters, blocked_until: 0, changed_at: -1, is_written: false }
    }

    fn wait(&self, now: i128, cost: i128) -> Option<i128> {
        if self.meters.iter().any(|m| cost > m.capacity()) {
            return None;
        }
        let waits = self.meters.iter().map(|m| m.retry_after(now, cost));
        if cost == 0 { Some(0) } else { waits.chain([self.blocked_until - now]).max() }.map(|wait| wait.max(0))
    }

    fn settle(&mut self, now: i128, cost: i128) {
        self.is_written |= cost > 0;
        for meter in self.meters.iter_mut().filter(|m| cost > 0 || m.is_ahead(now)) {
            meter.take(now, cost);
        }
    }

    fn state(&self, now: i128) -> (i128, i128) {
        let blocked = (self.blocked_until - now).max(0);
        let remaining = self.meters.iter().map(|m| m.remaining(now)).min().unwrap();
        let reset_after = self.meters.iter().map(|m| m.reset_after(now)).max().unwrap();
        (if blocked > 0 { 0 } else { remaining }, reset_after.max(blocked))
    }

    pub(crate) fn charge(&mut self, now: u64, cost: u64) {
        self.is_written = true;
        self.meters.iter_mut().for_each(|m| m.take(now.into(), cost.into()));
    }

    pub(crate) fn refund(&mut self, now: u64, cost: u64, taken: u64) {
        self.is_written = true;
        if i128::from(taken) >= self.changed_at {
            self.meters.iter_mut().for_each(|m| m.refund(now.into(), cost.into(), taken.into()));
        }
    }

    pub(crate) fn block(&mut self, until: u64) {
        self.is_written |= until > 0;
        self.blocked_until = until.into();
    }

    /// Puts the key under another quota: what is in use stays in use.
    pub(crate) fn change(&mut self, spec: &Spec, now: u64) {
        let used: Vec<i128> = self.meters.iter().map(|m| m.in_use(now.into())).collect();
        let most = used.iter().copied().max().unwrap();
        let mut changed = Self { blocked_until: self.blocked_until, ..Self::new(spec) };
        let mut had_room = true;
        for (rate, meter) in spec.rates.iter().zip(&mut changed.meters) {
            let same = self.spec.rates.iter().position(|old| old.period == rate.period);
            let units = same.map_or(most, |i| used[i]);
            had_room &= units <= meter.capacity();
            if units > 0 {
                meter.take(now.into(), units.min(meter.capacity()));
            }
        }
        (changed.changed_at, changed.is_written) = (i128::from(now) + i128::from(!had_room), self.is_written);
        if !self.is_written {
            changed.changed_at = -1;
        }
        *self = changed;
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        let meters = self.meters.iter().map(|m| m.copy()).collect();
        Self { spec: self.spec.clone(), meters, ..*self }
    }
}

impl Spec {
    pub(crate) fn quota(&self) -> Quota {
        Quota::new(self.algorithm, self.rates.iter().map(RateSpec::rate)).unwrap()
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.rates.iter().map(RateSpec::capacity).min().unwrap()
    }
}

impl RateSpec {
    pub(crate) fn new(limit: u64, period: u64) -> Self {
        Self { limit, period, burst: None, cells: None }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.burst.unwrap_or(self.limit)
    }

    fn rate(&self) -> Rate {
        let mut rate = Rate::new(self.limit, Duration::from_micros(self.period)).unwrap();
        if let Some(burst) = self.burst {
            rate = rate.burst(burst).unwrap();
        }
        match self.cells {
            Some(cells) => rate.resolution(cells).unwrap(),
            None => rate,
        }
    }

    fn meter(&self, algorithm: Algorithm) -> Box<dyn Meter> {
        let (limit, period, capacity) = (self.limit.into(), self.period.into(), self.capacity().into());
        match algorithm {
            Algorithm::Gcra => {
                let (unit, drain) = interval(limit, period);
                Box::new(Bucket { unit, drain, capacity, level: 0, as_of: 0 })
            }
            Algorithm::FixedWindow => Box::new(Fixed { limit, period, index: -1, count: 0 }),
            Algorithm::SlidingWindow => Box::new(Sliding { limit, period, index: -2, count: 0, previous: 0 }),
            _ => {
                let cell = self.cells.map_or(1, |cells| div_up(period, cells.into()));
                Box::new(Log { limit: usize::try_from(limit).unwrap(), period, cell, units: Vec::new() })
            }
        }
    }
}

/// Microseconds a unit, as a fraction of denominator at most 4096: exact, or the least above.
fn interval(limit: i128, period: i128) -> (i128, i128) {
    if let Some(l) = (1..=4096).find(|l| (period * l) % limit == 0) {
        return (period * l / limit, l);
    }
    let above = (1..=4096).map(|l| (div_up(period * l, limit), l));
    above.reduce(|a, b| if b.0 * a.1 < a.0 * b.1 { b } else { a }).unwrap()
}

fn div_up(a: i128, b: i128) -> i128 {
    -(-a).div_euclid(b)
}

/// Holds `level` of its parts at `as_of`; a unit is `unit` parts and each microsecond drains `drain` of them.
#[derive(Clone, Debug)]
struct Bucket {
    unit: i128,
    drain: i128,
    capacity: i128,
    level: i128,
    as_of: i128,
}

impl Bucket {
    fn unbounded(&self, now: i128) -> i128 {
        (self.level - (now - self.as_of) * self.drain).max(0)
    }

    fn most(&self) -> i128 {
        2 * self.capacity * self.unit
    }

    fn level(&self, now: i128) -> i128 {
        self.unbounded(now).min(self.most())
    }
}

impl Meter for Bucket {
    fn capacity(&self) -> i128 {
        self.capacity
    }

    fn retry_after(&self, now: i128, cost: i128) -> i128 {
        div_up((self.level(now) + (cost - self.capacity) * self.unit).max(0), self.drain)
    }

    fn remaining(&self, now: i128) -> i128 {
        (self.capacity * self.unit - self.level(now)).max(0) / self.unit
    }

    fn reset_after(&self, now: i128) -> i128 {
        div_up(self.level(now), self.drain)
    }

    fn is_ahead(&self, now: i128) -> bool {
        self.unbounded(now) > self.most()
    }

    fn take(&mut self, now: i128, cost: i128) {
        (self.level, self.as_of) = ((self.level(now) + cost * self.unit).min(self.most()), now);
    }

    fn refund(&mut self, now: i128, cost: i128, taken: i128) {
        let undrained = (cost * self.unit - (now - taken).max(0) * self.drain).max(0);
        (self.level, self.as_of) = ((self.level(now) - undrained).max(0), now);
    }

    fn in_use(&self, now: i128) -> i128 {
        div_up(self.level(now), self.unit)
    }

    fn copy(&self) -> Box<dyn Meter> {
        Box::new(self.clone())
    }
}

/// Counts units in the aligned window `index`.
#[derive(Clone, Debug)]
struct Fixed {
    limit: i128,
    period: i128,
    index: i128,
    count: i128,
}

impl Fixed {
    /// The window that counts now, and what is in it.
    fn at(&self, now: i128) -> (i128, i128) {
        let here = now / self.period;
        let index = here.max(self.index.min(here + 1));
        (index, if self.index >= index { self.count } else { 0 })
    }

    fn left(&self, now: i128) -> i128 {
        (self.at(now).0 + 1) * self.period - now
    }
}

impl Meter for Fixed {
    fn capacity(&self) -> i128 {
        self.limit
    }

    fn retry_after(&self, now: i128, cost: i128) -> i128 {
        if self.at(now).1 + cost <= self.limit { 0 } else { self.left(now) }
    }

    fn remaining(&self, now: i128) -> i128 {
        (self.limit - self.at(now).1).max(0)
    }

    fn reset_after(&self, now: i128) -> i128 {
        if self.at(now).1 > 0 { self.left(now) } else { 0 }
    }

    fn is_ahead(&self, now: i128) -> bool {
        self.index > now / self.period + 1
    }

    fn take(&mut self, now: i128, cost: i128) {
        let (index, count) = self.at(now);
        (self.index, self.count) = (index, (count + cost).min(2 * self.limit));
    }

    fn refund(&mut self, now: i128, cost: i128, taken: i128) {
        let (index, count) = self.at(now);
        let is_inside = taken / self.period == index;
        (self.index, self.count) = (index, if is_inside { (count - cost).max(0) } else { count });
    }

    fn in_use(&self, now: i128) -> i128 {
        self.at(now).1
    }

    fn copy(&self) -> Box<dyn Meter> {
        Box::new(self.clone())
    }
}

/// Counts units in the aligned window `index` and in the one before.
#[derive(Clone, Debug)]
struct Sliding {
    limit: i128,
    period: i128,
    index: i128,
    count: i128,
    previous: i128,
}

impl Sliding {
    /// The window that counts now, what is in it, and what is in the one before.
    fn at(&self, now: i128) -> (i128, i128, i128) {
        let here = now / self.period;
        let index = here.max(self.index.min(here + 1));
        match index - self.index {
            ..=0 => (index, self.count, self.previous),
            1 => (index, 0, self.count),
            _ => (index, 0, 0),
        }
    }

    fn left(&self, now: i128) -> i128 {
        (self.at(now).0 + 1) * self.period - now
    }

    fn used(&self, now: i128) -> i128 {
        let (_, count, previous) = self.at(now);
        previous * self.left(now).min(self.period) / self.period + count
    }

    /// The longest time before a window's end at which `counted` units weigh no more than `room`.
    fn longest_left(&self, counted: i128, room: i128) -> i128 {
        if counted == 0 { self.period } else { self.period.min(div_up((room + 1) * self.period, counted) - 1) }
    }
}

impl Meter for Sliding {
    fn capacity(&self) -> i128 {
        self.limit
    }

    fn retry_after(&self, now: i128, cost: i128) -> i128 {
        let (_, count, previous) = self.at(now);
        if self.used(now) + cost <= self.limit {
            0
        } else if count + cost <= self.limit {
            self.left(now) - self.longest_left(previous, self.limit - count - cost)
        } else {
            self.left(now) + self.period - self.longest_left(count, self.limit - cost)
        }
    }

    fn remaining(&self, now: i128) -> i128 {
        (self.limit - self.used(now)).max(0)
    }

    fn reset_after(&self, now: i128) -> i128 {
        match self.at(now) {
            (_, 1.., _) => self.left(now) + self.period,
            (_, _, 1..) => self.left(now),
            _ => 0,
        }
    }

    fn is_ahead(&self, now: i128) -> bool {
        self.index > now / self.period + 1
    }

    fn take(&mut self, now: i128, cost: i128) {
        let (index, count, previous) = self.at(now);
        let room = 2 * self.limit - (self.used(now) - count);
        (self.index, self.count, self.previous) = (index, count.max(room.min(count + cost)), previous);
    }

    fn refund(&mut self, now: i128, cost: i128, taken: i128) {
        let (index, count, previous) = self.at(now);
        let (from_count, from_previous) = match index - taken / self.period {
            0 => (cost, 0),
            1 => (0, cost),
            _ => (0, 0),
        };
        (self.index, self.count, self.previous) =
            (index, (count - from_count).max(0), (previous - from_previous).max(0));
    }

    fn in_use(&self, now: i128) -> i128 {
        let (_, count, previous) = self.at(now);
        div_up(previous * self.left(now).min(self.period), self.period) + count
    }

    fn copy(&self) -> Box<dyn Meter> {
        Box::new(self.clone())
    }
}

/// Keeps the instant of every unit, rounded up to its cell.
#[derive(Clone, Debug)]
struct Log {
    limit: usize,
    period: i128,
    cell: i128,
    units: Vec<i128>,
}

impl Log {
    fn stamp(&self, at: i128) -> i128 {
        div_up(at, self.cell) * self.cell
    }

    fn newest(&self) -> i128 {
        self.units.last().copied().unwrap_or(0)
    }

    /// What a take now is stamped with.
    fn next_stamp(&self, now: i128) -> i128 {
        let own = self.stamp(now);
        own.max(self.newest().min(own + self.period))
    }

    /// The units of the closed window that ends now.
    fn inside(&self, now: i128) -> Vec<i128> {
        let stamp = self.next_stamp(now);
        self.units.iter().filter(|&&unit| unit >= now - self.period).map(|&unit| unit.min(stamp)).collect()
    }
}

impl Meter for Log {
    fn capacity(&self) -> i128 {
        i128::try_from(self.limit).unwrap()
    }

    fn retry_after(&self, now: i128, cost: i128) -> i128 {
        let (inside, cost) = (self.inside(now), usize::try_from(cost).unwrap());
        match (inside.len() + cost).checked_sub(self.limit) {
            None | Some(0) => 0,
            Some(over) => inside[over - 1] + self.period + 1 - now,
        }
    }

    fn remaining(&self, now: i128) -> i128 {
        i128::try_from(self.limit.saturating_sub(self.inside(now).len())).unwrap()
    }

    fn reset_after(&self, now: i128) -> i128 {
        self.inside(now).last().map_or(0, |newest| newest + self.period + 1 - now)
    }

    fn is_ahead(&self, now: i128) -> bool {
        self.newest() > self.next_stamp(now)
    }

    fn take(&mut self, now: i128, cost: i128) {
        let (mut units, stamp) = (self.inside(now), self.next_stamp(now));
        let room = 2 * self.limit - units.len();
        let more = usize::try_from(cost).unwrap_or(usize::MAX).min(room);
        units.extend(std::iter::repeat_n(stamp, more));
        self.units = units;
    }

    fn refund(&mut self, now: i128, cost: i128, taken: i128) {
        let (mut left, stamp) = (cost, self.stamp(taken));
        self.units = self.inside(now);
        self.units.retain(|&unit| {
            let is_returned = unit == stamp && left > 0;
            left -= i128::from(is_returned);
            !is_returned
        });
    }

    fn in_use(&self, now: i128) -> i128 {
        i128::try_from(self.inside(now).len()).unwrap()
    }

    fn copy(&self) -> Box<dyn Meter> {
        Box::new(self.clone())
    }
}

impl Answer {
    /// What a decision says, in the oracle's words.
    pub(crate) fn of(decision: &Decision) -> Self {
        let micros = |duration: Duration| i128::try_from(duration.as_micros()).unwrap();
        let rates = decision.rates().iter();
        Self {
            allowed: decision.allowed(),
            remaining: decision.remaining().into(),
            reset_after: micros(decision.reset_after()),
            retry_after: decision.retry_after().map(micros),
            denied: decision.denied().collect(),
            rates: rates
                .map(|rate| {
                    (rate.demand(), rate.capacity().into(), rate.remaining().into(), micros(rate.reset_after()))
                })
                .collect(),
        }
    }
}

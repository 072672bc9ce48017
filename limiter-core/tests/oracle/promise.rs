//! What each algorithm promises, checked over every closed window between two admissions.

use super::model::{RateSpec, Spec};
use limiter_core::Algorithm;
use std::{collections::BTreeMap, fmt::Display};

/// Units that were admitted and kept, by the instant they count from.
#[derive(Clone, Default, Debug)]
pub(crate) struct Kept(BTreeMap<u64, u64>);

impl Kept {
    pub(crate) fn add(&mut self, at: u64, units: u64) {
        *self.0.entry(at).or_default() += units;
    }

    pub(crate) fn remove(&mut self, at: u64, units: u64) {
        let held = self.0.get_mut(&at).unwrap();
        *held = held.checked_sub(units).unwrap();
    }

    /// No window holds more than promised, on a clock that only runs on.
    pub(crate) fn check(&self, spec: &Spec, context: &dyn Display) {
        for rate in &spec.rates {
            if spec.algorithm == Algorithm::FixedWindow {
                let mut windows = BTreeMap::<u64, u64>::new();
                for (at, units) in &self.0 {
                    *windows.entry(at / rate.period).or_default() += units;
                }
                for (index, units) in windows {
                    assert!(units <= rate.limit, "{context}: {units} in window {index} of {rate:?}: {self:?}");
                }
            }
            self.check_curve(spec.algorithm, rate, context);
        }
    }

    /// The same where instants are not the clock's, but the time that passed: a step back of the clock is no time, a
    /// step forward is all of it.
    pub(crate) fn check_elapsed(&self, spec: &Spec, context: &dyn Display) {
        spec.rates.iter().for_each(|rate| self.check_curve(spec.algorithm, rate, context));
    }

    fn check_curve(&self, algorithm: Algorithm, rate: &RateSpec, context: &dyn Display) {
        let all: Vec<(u64, u64)> = self.0.iter().map(|(&at, &units)| (at, units)).filter(|&(_, u)| u > 0).collect();
        for (i, &(from, _)) in all.iter().enumerate() {
            let mut sum = 0;
            for &(to, units) in &all[i..] {
                sum += u128::from(units);
                assert!(
                    is_promised(algorithm, rate, sum, to - from),
                    "{context}: {sum} units from {from} to {to}, under {rate:?} of {algorithm}: {all:?}"
                );
            }
        }
    }
}

/// Whether `units` in a closed window of length `w` are within the promise.
fn is_promised(algorithm: Algorithm, rate: &RateSpec, units: u128, w: u64) -> bool {
    let (limit, period, w) = (u128::from(rate.limit), u128::from(rate.period), u128::from(w));
    match algorithm {
        Algorithm::Gcra => units.saturating_sub(rate.capacity().into()) * period <= limit * w,
        // What aligned windows of `limit` each amount to.
        Algorithm::FixedWindow => units <= limit * (w.div_ceil(period) + 1),
        Algorithm::SlidingWindow => units <= limit + (limit * w).div_ceil(period),
        _ => w > period || units <= limit,
    }
}

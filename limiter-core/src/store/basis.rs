//! What a demand rests on.

use super::{Demand, Resets};
use crate::sync::atomic::{AtomicBool, Ordering};
use std::{fmt, sync::Arc};

/// What a demand rests on: that its limiter has not been given other quotas since it was made, and, where it gives units
/// back, that the key has not been reset since they were taken. A limiter knows that of this process only.
///
/// A call takes time, and what it rests on may change while it is under way on another thread. So a store asks once more,
/// inside its atomic step; see the contract of [`Store`](super::Store). If it did not, a late call could carry a state
/// from a larger quota back to the smaller one before, which forgets what that has no room for; and it could give back
/// units that were taken after a reset.
///
/// ```
/// use limiter_core::{Quota, store::{Demand, Scope}};
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let (scope, quota): (_, Quota) = (Scope::new("api"), "5/s".parse()?);
/// let demand = Demand::new(&scope, b"ada", &quota, 1);
/// let basis = demand.basis(); // owned: it can go where the demand cannot
/// assert!(demand.holds() && basis.holds()); // a demand that no limiter made rests on nothing
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Basis {
    term: Option<Term>,
    granted: Option<(Arc<Resets>, u64, u64)>,
}

/// The time that a limiter's quotas are in force.
#[derive(Clone)]
pub(crate) struct Term(Arc<AtomicBool>);

/// Units asked for when `resets` counted `since`, and granted.
#[derive(Clone, Copy)]
pub(crate) struct Granted<'a> {
    pub(crate) resets: &'a Arc<Resets>,
    pub(crate) since: u64,
}

impl Basis {
    pub(super) fn of(demand: &Demand<'_>) -> Self {
        let granted =
            demand.granted.map(|granted| (Arc::clone(granted.resets), granted.resets.hash(demand.key), granted.since));
        Self { term: demand.term.cloned(), granted }
    }

    /// Whether it still holds: to be asked inside the atomic step, after any lock.
    #[must_use]
    pub fn holds(&self) -> bool {
        let is_forgotten = |(resets, key, since): &(Arc<Resets>, _, _)| resets.have_forgotten(|| *key, *since);
        !self.term.as_ref().is_some_and(Term::is_over) && !self.granted.as_ref().is_some_and(is_forgotten)
    }
}

impl Term {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    /// To be called before anything can be asked under the next quotas.
    pub(crate) fn end(&self) {
        self.0.store(true, Ordering::Release);
    }

    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Granted<'_> {
    /// Whether a reset has forgotten the units of `key`.
    #[inline]
    pub(crate) fn is_forgotten(&self, key: &[u8]) -> bool {
        self.resets.have_forgotten(|| self.resets.hash(key), self.since)
    }
}

impl fmt::Debug for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basis").field("holds", &self.holds()).finish()
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Term").field("is_over", &self.is_over()).finish()
    }
}

impl fmt::Debug for Granted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted").field("since", &self.since).finish_non_exhaustive()
    }
}

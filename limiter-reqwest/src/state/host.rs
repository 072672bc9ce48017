//! What is known of one host: of whatever is counted together.

use crate::{
    learn::{Learned, Learning, Line},
    obey::Pause,
};
use limiter_core::Timestamp;
use reqwest::StatusCode;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// How long it is trusted that nobody else was told to pause. Pauses last a second or more nearly always: one that began
/// since still holds.
const LOOKED_LATELY: Duration = Duration::from_millis(500);

/// What is known of a key in this process.
#[derive(Debug)]
pub(crate) struct Host {
    /// The host of the request that came first.
    pub(crate) name: Box<str>,
    known: Mutex<Known>,
    line: OnceLock<Line>,
    in_line: AtomicUsize,
    at_pace: AtomicUsize,
    in_flight: AtomicUsize,
}

/// Instants are the store's.
#[derive(Debug, Default)]
struct Known {
    /// When it was last known what this says of pauses.
    looked_at: Option<Timestamp>,
    /// The end of the last pause that this process was told of.
    paused_until: Option<Timestamp>,
    paced_until: Option<Timestamp>,
    /// About the same, by this machine's time.
    paced_about_until: Option<Instant>,
    /// How often, one after the other, who had waited as told was refused again.
    refused_again: u32,
    last: Option<StatusCode>,
    answered: u64,
    refused: u64,
}

/// A snapshot for [`Status`](super::Status).
pub(crate) struct Counted {
    pub(crate) last: Option<StatusCode>,
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    pub(crate) in_line: usize,
    pub(crate) in_flight: usize,
}

impl Host {
    pub(crate) fn new(name: impl Into<Box<str>>) -> Self {
        Self {
            name: name.into(),
            known: Mutex::default(),
            line: OnceLock::new(),
            in_line: AtomicUsize::new(0),
            at_pace: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Whether requests seem to have to come back one after the other; also as long as some still do, whom nobody is to
    /// overtake.
    pub(crate) fn seems_paced(&self) -> bool {
        self.at_pace.load(Ordering::Relaxed) > 0
            || self.lock().paced_about_until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether requests granted at `granted` come back one after the other; `None` where somebody else may have been
    /// told since this process last looked.
    pub(crate) fn is_paced(&self, granted: Timestamp) -> Option<bool> {
        let mut known = self.lock();
        if known.paced_until.is_some_and(|until| granted < until) {
            return Some(true);
        }
        known.paced_about_until = None;
        // Looks of others may be a little later; much later, the store's clock has stepped back.
        let apart = |at: Timestamp| granted.saturating_since(at).max(at.saturating_since(granted));
        known.looked_at.is_some_and(|at| apart(at) < LOOKED_LATELY).then_some(false)
    }

    /// Notes what the store says of pauses at `at`.
    pub(crate) fn looked(&self, at: Timestamp, paced_until: Timestamp) {
        let mut known = self.lock();
        known.looked_at = Some(at);
        known.pace(at, paced_until);
    }

    /// Notes a pause that this process was told to make, or has made by itself.
    pub(crate) fn paused(&self, pause: &Pause, is_told: bool) {
        let mut known = self.lock();
        if is_told {
            known.paused_until = known.paused_until.max(Some(pause.until));
        }
        known.pace(pause.at, pause.paced_until);
    }

    /// Notes an answer to a request granted at `granted`; how often, this one included, a request has been refused again
    /// that had waited as told.
    pub(crate) fn answered(&self, status: StatusCode, is_refusal: bool, granted: Timestamp) -> u32 {
        let mut known = self.lock();
        known.last = Some(status);
        known.answered += 1;
        known.refused += u64::from(is_refusal);
        let has_waited = known.paused_until.is_some_and(|until| granted >= until);
        if has_waited {
            let right_after = known.paced_until.is_some_and(|until| granted < until);
            known.refused_again = if is_refusal && right_after { known.refused_again.saturating_add(1) } else { 0 };
            if !is_refusal {
                known.paused_until = None; // it was long enough
            }
        }
        known.refused_again
    }

    pub(crate) fn counted(&self) -> Counted {
        let known = self.lock();
        Counted {
            last: known.last,
            answered: known.answered,
            refused: known.refused,
            in_line: self.in_line.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }

    /// Where requests wait for the pace that is learned of this host.
    pub(crate) fn line(&self, learning: Learning) -> Line {
        self.line.get_or_init(|| Line::new(learning)).clone()
    }

    pub(crate) fn learned(&self) -> Option<Learned> {
        self.line.get().map(Line::learned)
    }

    /// Whether something would be lost were it forgotten: that requests have to wait, for a while. Not what was learned: that
    /// begins slowly again.
    pub(crate) fn is_of_note(&self) -> bool {
        self.seems_paced() || self.line.get().is_some_and(Line::is_held)
    }

    /// Counts a request that waits for its turn.
    pub(crate) fn enter_line(&self) -> Counting<'_> {
        Counting::new(&self.in_line)
    }

    /// Counts a request that comes back one after the other.
    pub(crate) fn enter_pace(&self) -> Counting<'_> {
        Counting::new(&self.at_pace)
    }

    /// Counts a request that was sent and has no answer yet.
    pub(crate) fn enter_flight(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn pace(&mut self, at: Timestamp, until: Timestamp) {
        if until > at && self.paced_until < Some(until) {
            self.paced_until = Some(until);
            self.paced_about_until = Instant::now().checked_add(until.saturating_since(at));
        }
    }
}

/// One more, until dropped.
pub(crate) struct Counting<'a>(&'a AtomicUsize);

impl<'a> Counting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that was sent and has no answer yet, until dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Host>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn paused(host: &Host, from: u64, until: u64) {
        host.paused(&Pause { at: at(from), until: at(until), paced_until: at(until + 10) }, true);
    }

    #[test]
    fn refusals_count_up_only_right_after_waiting_as_told() {
        let (host, many) = (Host::new("a"), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(host.answered(many, true, at(1)), 0);
        paused(&host, 1, 3);
        assert_eq!(host.answered(many, true, at(1)), 0); // was on its way already
        assert_eq!(host.answered(many, true, at(3)), 1);
        paused(&host, 3, 5);
        assert_eq!(host.answered(many, true, at(5)), 2);
        assert_eq!(host.answered(StatusCode::OK, false, at(4)), 2); // from before that pause
        assert_eq!(host.answered(StatusCode::OK, false, at(5)), 0);
        assert_eq!(host.answered(many, true, at(6)), 0); // was let in between
        paused(&host, 6, 7);
        assert_eq!(host.answered(many, true, at(100)), 0); // long after
    }

    #[test]
    fn what_others_were_told_is_looked_for_again_after_a_while() {
        let host = Host::new("a");
        assert_eq!(host.is_paced(at(1)), None);
        host.looked(at(1), at(1));
        assert_eq!((host.is_paced(at(1)), host.is_paced(at(2))), (Some(false), None));
        host.looked(at(2), at(5));
        assert!(host.seems_paced());
        assert_eq!((host.is_paced(at(4)), host.is_paced(at(5))), (Some(true), None));
        assert!(!host.seems_paced());
    }

    #[test]
    fn a_store_whose_clock_steps_back_is_still_looked_at() {
        let host = Host::new("a");
        host.looked(at(3600), at(3600));
        assert_eq!(host.is_paced(at(1)), None);
        host.looked(at(1), at(1));
        assert_eq!((host.is_paced(at(1)), host.is_paced(at(2))), (Some(false), None));
    }
}

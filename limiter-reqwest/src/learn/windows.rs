//! Whether the server counts by windows of a second, when they end, and how much one holds.

/// In seconds. Longer windows are rarely seen to end, and then not to the interval between two requests.
const PERIOD: f64 = 1.0;
/// Requests are delayed differently on their way: an end is known no better than this, in seconds.
const BLUR: f64 = 0.004;
/// In one stop of so many it is tried before its end, else nothing could show that there are no windows.
const CHECK: u32 = 4;
/// How often stops have to have ended where windows would, and the logarithm of how unlikely that has to be by chance.
const OFTEN: u32 = 3;
const CONVINCED: f64 = 6.0;
/// The part of a period in which its end has to be known, where its count is to be used.
const EXACT: f64 = 0.05;

/// Whoever limits by windows ends every stop when the next begins: stops end a whole number of seconds apart.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    /// Between these instants, and any number of periods later, a window ends; none before the first stop.
    end: Option<(f64, f64)>,
    /// How often that has been seen since it was last seen not to be so, and how unlikely it was each time.
    seen: u32,
    evidence: f64,
    /// Since when what was admitted is counted; the last two windows, by their ends, with what was admitted in each.
    since: f64,
    counted: [(f64, f64); 2],
    /// Stops in which that was not tried, one after the other.
    trusted: u32,
}

impl Windows {
    pub(super) fn new() -> Self {
        let counted = [(f64::NEG_INFINITY, 0.0); 2];
        Self { end: None, seen: 0, evidence: 0.0, since: 0.0, counted, trusted: 0 }
    }

    /// One that was sent at `at` was admitted.
    pub(super) fn count(&mut self, at: f64) {
        let Some(end) = self.end_after(at).map(middle) else { return };
        let [newer, older] = &mut self.counted;
        if is_same(newer.0, end) {
            newer.1 += 1.0;
        } else if is_same(older.0, end) {
            older.1 += 1.0;
        } else if end > newer.0 {
            self.counted = [(end, 1.0), *newer];
        }
    }

    /// When the window ends in which one that was sent at `at` was refused, which may be `longest` later, and whether that
    /// is to be relied on: else it is to be tried before.
    pub(super) fn end_of(&mut self, at: f64, longest: f64) -> Option<(f64, bool)> {
        let (_, end) = self.end_after(at).filter(|(_, end)| self.are_there() && end - at <= longest)?;
        self.trusted = (self.trusted + 1) % CHECK;
        Some((end, self.trusted != 0))
    }

    /// What the window held that was found full by a request sent at `at`, in requests a second, and the part of it by
    /// which that may be wrong. One that has hardly begun is not full; `at` is too near to its beginning to tell.
    pub(super) fn limit(&self, at: f64) -> Option<(f64, f64)> {
        let (from, to) = self.end_after(at).filter(|(_, to)| self.are_there() && to - at < 0.9 * PERIOD)?;
        let unsure = (to - from) / PERIOD;
        let is_whole = from - PERIOD >= self.since - 2.0 * BLUR;
        let (_, count) = self.counted.iter().find(|(end, _)| is_same(*end, middle((from, to))))?;
        (is_whole && unsure <= EXACT).then_some((count / PERIOD, unsure))
    }

    /// A stop ended between two requests, sent at `refused` and at `admitted`.
    pub(super) fn stop_ended(&mut self, refused: f64, admitted: f64) {
        let (from, to) = (refused - BLUR, admitted + BLUR);
        if to - from >= PERIOD / 2.0 {
            return; // anything would fit
        }
        // The window before the one that `from` is in may reach into this.
        let known = self.end_after(from).into_iter().flat_map(|(a, b)| [(a - PERIOD, b - PERIOD), (a, b)]);
        let met = known.map(|(a, b)| (a.max(from), b.min(to), b - a)).find(|(a, b, _)| a < b);
        let Some((a, b, before)) = met else {
            *self = Self { end: Some((from, to)), since: admitted, ..Self::new() };
            return;
        };
        self.seen = self.seen.saturating_add(1);
        self.evidence -= ((before + to - from) / PERIOD).min(1.0).ln();
        let middle = middle((a, b));
        self.end = Some((a.min(middle - BLUR), b.max(middle + BLUR)));
    }

    fn are_there(&self) -> bool {
        self.seen >= OFTEN && self.evidence >= CONVINCED
    }

    /// The end of the window that holds `at`: not before, and not after.
    fn end_after(&self, at: f64) -> Option<(f64, f64)> {
        let (from, to) = self.end?;
        let later = (((at - to) / PERIOD).floor() + 1.0) * PERIOD;
        Some((from + later, to + later))
    }
}

fn middle((from, to): (f64, f64)) -> f64 {
    (from + to) / 2.0
}

/// The end of a window becomes known better with time: by less than half of one.
fn is_same(end: f64, other: f64) -> bool {
    (end - other).abs() < PERIOD / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After stops that ended by trial, `apart` seconds from one another.
    fn after_stops(apart: f64) -> Windows {
        let mut windows = Windows::new();
        for stop in 0..6 {
            let end = 7.3 + apart * f64::from(stop);
            windows.stop_ended(end - 0.05, end + 0.02);
        }
        windows
    }

    /// Forty were admitted in the second before `end`, evenly.
    fn fill(windows: &mut Windows, end: f64) {
        for request in 0..40 {
            windows.count(end - 1.0 + (f64::from(request) + 0.5) / 40.0);
        }
    }

    #[test]
    fn stops_that_end_whole_seconds_apart_are_those_of_windows() {
        let mut windows = after_stops(4.0);
        let (end, _) = windows.end_of(40.2, 1.0).unwrap();
        assert!((40.3..40.35).contains(&end), "{end}");
        let mut windows = after_stops(4.3);
        assert_eq!(windows.end_of(40.2, 1.0), None);
    }

    #[test]
    fn one_stop_in_four_is_tried_before_its_end_and_one_that_would_take_long_is_not_waited_out() {
        let mut windows = after_stops(4.0);
        let relied_on: Vec<_> = (0..8).filter_map(|_| Some(windows.end_of(40.2, 1.0)?.1)).collect();
        assert_eq!(relied_on, [true, true, true, false, true, true, true, false]);
        assert_eq!(windows.end_of(40.5, 0.5), None);
    }

    #[test]
    fn a_full_window_shows_the_limit() {
        let mut windows = after_stops(4.0);
        windows.stop_ended(31.28, 31.301);
        fill(&mut windows, 40.3);
        let (limit, unsure) = windows.limit(40.28).unwrap();
        assert!((38.0..=41.0).contains(&limit) && unsure <= EXACT, "{limit} {unsure}");
        // What was refused as a window began says nothing of that one.
        windows.count(40.31);
        assert_eq!(windows.limit(40.33), None);
    }

    #[test]
    fn a_stop_that_ends_within_a_window_refutes_them() {
        let mut windows = after_stops(4.0);
        fill(&mut windows, 40.3);
        windows.stop_ended(40.7, 40.75);
        assert_eq!((windows.end_of(41.2, 1.0), windows.limit(40.28)), (None, None));
    }

    #[test]
    fn stops_that_are_not_ended_exactly_prove_nothing() {
        let mut windows = Windows::new();
        for stop in 0..20 {
            windows.stop_ended(f64::from(stop), f64::from(stop) + 0.6);
        }
        assert_eq!(windows.end_of(40.2, 1.0), None);
    }
}

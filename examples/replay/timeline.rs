//! Counts over time: cells for the plots, and the busiest second and minute.

use std::collections::HashMap;

use limiter_core::Timestamp;

use super::utc::{DAY, MINUTE, SECOND};

/// Widths that people think in: microseconds of a unit, and how many of it.
const ROUND: [(u64, &[u64]); 5] = [
    (1000, &[1, 2, 5, 10, 20, 50, 100, 200, 500]),
    (SECOND, &[1, 2, 5, 10, 15, 30]),
    (MINUTE, &[1, 2, 5, 10, 15, 30]),
    (60 * MINUTE, &[1, 2, 3, 6, 12]),
    (DAY, &[1, 2, 5, 7, 14, 30, 90, 180, 365, 1825, 3650, 7300]),
];

/// The smallest round width of which `span` holds at most `most`.
pub(crate) fn round_width(span: u64, most: u64) -> u64 {
    let mut widths = ROUND.iter().flat_map(|(unit, counts)| counts.iter().map(move |count| unit * count));
    widths.find(|width| span / width <= most).unwrap_or(span.max(1))
}

/// A stretch of time in cells of one width.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    /// Microseconds, a multiple of the width.
    pub(crate) start: u64,
    pub(crate) width: u64,
    pub(crate) cells: usize,
}

impl Timeline {
    const MOST_CELLS: u64 = 180;

    /// Cells from the `first` instant to the `last`, none finer than `finest` microseconds.
    pub(crate) fn covering((first, last): (Timestamp, Timestamp), finest: u64) -> Self {
        let (first, last) = (first.as_micros(), last.as_micros());
        let width = round_width(last - first, Self::MOST_CELLS).max(finest);
        let start = first / width * width;
        let cells = usize::try_from((last - start) / width + 1).unwrap_or(1);
        Self { start, width, cells }
    }

    pub(crate) fn cell(&self, at: Timestamp) -> usize {
        let cell = at.as_micros().saturating_sub(self.start) / self.width;
        usize::try_from(cell).map_or(0, |cell| cell.min(self.cells - 1))
    }

    pub(crate) fn end(&self) -> u64 {
        self.start + self.width * self.cells as u64
    }
}

/// The busiest calendar second and minute.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Peak {
    pub(crate) second: Busiest,
    pub(crate) minute: Busiest,
}

/// How many at most in a cell of time, and when first.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Busiest {
    pub(crate) count: u64,
    pub(crate) start: Timestamp,
}

impl Peak {
    pub(crate) fn of(times: impl Iterator<Item = Timestamp> + Clone) -> Self {
        Self { second: Busiest::of(SECOND, times.clone()), minute: Busiest::of(MINUTE, times) }
    }
}

impl Busiest {
    fn of(width: u64, times: impl Iterator<Item = Timestamp>) -> Self {
        let mut counts = HashMap::<u64, u64>::new();
        let (mut cell, mut count) = (0, 0);
        for at in times {
            let next = at.as_micros() / width;
            if next != cell {
                // Neighbours mostly share a cell: the map is asked once a run of them.
                *counts.entry(cell).or_default() += count;
                (cell, count) = (next, 0);
            }
            count += 1;
        }
        *counts.entry(cell).or_default() += count;
        let busiest = counts.into_iter().max_by_key(|&(cell, count)| (count, std::cmp::Reverse(cell)));
        let (cell, count) = busiest.unwrap_or_default();
        Self { count, start: Timestamp::from_micros(cell * width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(seconds: &[u64]) -> Vec<Timestamp> {
        seconds.iter().map(|second| Timestamp::from_micros(second * SECOND)).collect()
    }

    #[test]
    fn a_peak_counts_calendar_seconds_and_minutes_in_any_order() {
        let times = times(&[59, 60, 61, 61, 59, 119]);
        let peak = Peak::of(times.iter().copied());
        // Two seconds have two; the earlier one is told.
        assert_eq!(peak.second, Busiest { count: 2, start: Timestamp::from_micros(59 * SECOND) });
        assert_eq!(peak.minute, Busiest { count: 4, start: Timestamp::from_micros(MINUTE) });
        assert_eq!(Peak::of(std::iter::empty()), Peak::default());
    }

    #[test]
    fn every_instant_has_its_cell() {
        for (first, last) in [(0, 0), (5, 7), (59, 86_400), (0, Timestamp::MAX.as_micros() / SECOND)] {
            let [first, last] = times(&[first, last])[..] else { unreachable!() };
            let timeline = Timeline::covering((first, last), 1);
            assert!((1..=182).contains(&timeline.cells), "{timeline:?}");
            assert_eq!(timeline.cell(first), 0);
            assert_eq!(timeline.cell(last), timeline.cells - 1);
            assert!(timeline.start <= first.as_micros() && last.as_micros() < timeline.end());
        }
    }
}

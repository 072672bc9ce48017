//! A straight line through the processor's counter and the time, published by one thread and read by all.

use crate::sync::atomic::{AtomicU64, Ordering};

/// The time as a function of the counter, for some time from where it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Line {
    /// The counter where it begins.
    pub(super) ticks: u64,
    /// The time there.
    pub(super) nanos: u64,
    /// 2⁻³² nanoseconds a tick.
    pub(super) scale: u64,
}

impl Line {
    /// The time `ticks` after its beginning.
    #[inline]
    #[cfg_attr(all(test, limiter_loom), allow(dead_code))] // the models read no counter
    pub(super) fn after(&self, ticks: u64) -> u64 {
        self.nanos.wrapping_add(ticks.wrapping_mul(self.scale) >> 32)
    }
}

/// The newest line. Readers take no lock and write nothing; the two places take turns, and a number tells a reader that
/// the place it read has been written to meanwhile.
pub(super) struct Published {
    /// Which line it is, the first being 1; 0 while there is none.
    number: AtomicU64,
    places: [[AtomicU64; 3]; 2],
}

impl Published {
    #[cfg(not(all(test, limiter_loom)))]
    pub(super) const fn new() -> Self {
        Self { number: AtomicU64::new(0), places: [const { [const { AtomicU64::new(0) }; 3] }; 2] }
    }

    #[cfg(all(test, limiter_loom))]
    pub(super) fn new() -> Self {
        let place = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { number: AtomicU64::new(0), places: [place(), place()] }
    }

    /// What `read` makes of the newest line, if there is one. It was the newest when `read` was done.
    #[inline]
    pub(super) fn read<R>(&self, read: impl Fn(Line) -> R) -> Option<R> {
        loop {
            let number = self.number.load(Ordering::Acquire);
            if number == 0 {
                return None;
            }
            // Whoever reads a word of a later line here sees, below, that its turn has come: each was written after.
            let [ticks, nanos, scale] = self.place(number);
            let line = Line {
                ticks: ticks.load(Ordering::Acquire),
                nanos: nanos.load(Ordering::Acquire),
                scale: scale.load(Ordering::Acquire),
            };
            let result = read(line);
            if self.number.load(Ordering::Acquire) == number {
                return Some(result);
            }
        }
    }

    /// Makes `line` the newest, as the `number`-th. One thread at a time, with numbers that grow by one.
    pub(super) fn publish(&self, number: u64, line: Line) {
        let [ticks, nanos, scale] = self.place(number);
        ticks.store(line.ticks, Ordering::Release);
        nanos.store(line.nanos, Ordering::Release);
        scale.store(line.scale, Ordering::Release);
        self.number.store(number, Ordering::Release);
    }

    /// From now on there is none.
    pub(super) fn withdraw(&self) {
        self.number.store(0, Ordering::Release);
    }

    #[inline]
    fn place(&self, number: u64) -> &[AtomicU64; 3] {
        &self.places[usize::from(number % 2 == 1)]
    }
}

#[cfg(all(test, limiter_loom))]
mod models {
    use super::*;
    use loom::{model::Builder, thread};
    use std::sync::Arc;

    #[test]
    fn no_line_is_read_in_parts() {
        let mut builder = Builder::new();
        builder.preemption_bound = Some(4);
        builder.check(|| {
            let nth = |n| Line { ticks: n, nanos: n, scale: n };
            let published = Arc::new(Published::new());
            published.publish(1, nth(1));
            let writer = {
                let published = Arc::clone(&published);
                thread::spawn(move || {
                    (2..4).for_each(|n| published.publish(n, nth(n)));
                    published.withdraw();
                    published.publish(4, nth(4));
                })
            };
            if let Some(line) = published.read(|line| line) {
                assert_eq!(line, nth(line.ticks));
            }
            writer.join().unwrap();
            assert_eq!(published.read(|line| line), Some(nth(4)));
        });
    }
}

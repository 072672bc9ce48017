//! How many bytes go out at once.

use limiter_core::Quota;
use std::time::Duration;

/// The most at once where a store in this process is asked, which costs next to nothing.
const MOST: u64 = 16 * 1024;
/// The most at once where each time is a round trip.
const MOST_REMOTE: u64 = 256 * 1024;
/// Less is not worth a frame of its own, however slow the pace.
const LEAST: u64 = 512;
/// How much of a quota's pace goes out at once: often enough that nobody takes the peer for dead.
const INTERVAL: Duration = Duration::from_millis(100);

/// The bytes to ask for at once, at most, under `quota`: a tenth of a second's worth of them, where that is neither too
/// little nor too much, and never more than the quota can hold.
pub(super) fn piece(quota: &Quota, is_local: bool) -> u64 {
    let in_interval = |limit: u64, period: Duration| {
        u64::try_from(u128::from(limit) * INTERVAL.as_micros() / period.as_micros().max(1)).unwrap_or(u64::MAX)
    };
    let pace = quota.rates().iter().map(|rate| in_interval(rate.limit(), rate.period())).min().unwrap_or(LEAST);
    pace.clamp(LEAST, if is_local { MOST } else { MOST_REMOTE }).min(quota.capacity())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_a_tenth_of_a_second_between_a_frames_worth_and_a_buffers() {
        for (quota, local, remote) in [
            ("50000/s burst 100000", 5000, 5000),
            ("1000/s", 512, 512),
            ("100/s", 100, 100),
            ("10/day", 10, 10),
            ("10000000/s", 16 * 1024, 256 * 1024),
            ("1000000/s burst 3000", 3000, 3000),
            ("fixed_window 1000000/s, 3000000/min", 5000, 5000),
        ] {
            let quota: Quota = quota.parse().unwrap();
            assert_eq!((piece(&quota, true), piece(&quota, false)), (local, remote), "{quota}");
        }
    }
}

//! One clock for all processes of a file: the boot-time clock, and one wall time it is anchored to.

use super::error::Fault;
use crate::{Timestamp, clock::micros_up};
use rustix::time::{ClockId, clock_gettime};
use std::{fs, time::SystemTime};

/// Microseconds since the boot, also those the machine slept.
#[inline]
pub(super) fn since_boot() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000).saturating_add(nanos / 1000)
}

/// What wall time the boot-time clock's zero is, so that the time now is the wall's, but at least `least`.
pub(super) fn anchor(least: u64) -> u64 {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, micros_up);
    wall.max(least).saturating_sub(since_boot())
}

#[inline]
pub(super) fn now(anchor: u64) -> Timestamp {
    Timestamp::from_micros(anchor.saturating_add(since_boot()))
}

/// What tells this boot from every other, in two words.
pub(super) fn boot_id() -> Result<[u64; 2], Fault> {
    let what = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(what).map_err(|error| Fault::NoProc { what, error: Some(error) })?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16).map_err(|_| Fault::NoProc { what, error: None })?;
    let half = |shift: u32| u64::try_from((number >> shift) & u128::from(u64::MAX)).unwrap_or(0);
    Ok([half(64), half(0)])
}

/// The namespaces that process ids and the boot-time clock are of, by number; 0 where the kernel has none.
pub(super) fn namespaces() -> [u64; 2] {
    use std::os::unix::fs::MetadataExt;
    ["/proc/self/ns/pid", "/proc/self/ns/time"].map(|path| fs::metadata(path).map_or(0, |found| found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_shows_the_wall_time_and_never_less_than_the_least() {
        let wall = Timestamp::from(SystemTime::now());
        let shown = now(anchor(0));
        assert!(shown >= wall && shown.saturating_since(wall).as_secs() < 60);
        let least = wall.as_micros() + 3_600_000_000;
        assert!(now(anchor(least)).as_micros() >= least);
    }
}

//! The time that the processes of one host share through a file.
//!
//! The file holds the boot's id and one anchor: what the wall clock was ahead of the boot-time clock when the first process
//! of this boot came. Each process adds that to the boot-time clock, which never steps back and runs on while the machine
//! sleeps; so all of them read one clock, however the wall time is corrected meanwhile. Whoever comes first after a new boot
//! anchors anew.

use crate::Timestamp;
use std::{sync::OnceLock, time::SystemTime};

/// The wall time over the boot-time clock, for one boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Anchor {
    /// The boot it holds for; 0 where the system has no such clock, and the wall time is all there is.
    pub(crate) boot: u128,
    /// Microseconds from the boot-time clock to the time since the Unix epoch.
    pub(crate) offset_us: u64,
}

impl Anchor {
    /// An anchor for this boot: the wall time, but never before `newest`, the latest instant at which state was written.
    pub(crate) fn new(newest: Timestamp) -> Self {
        let boot = boot_id();
        let wall = Timestamp::from(SystemTime::now()).max(newest);
        let offset_us = if boot == 0 { 0 } else { wall.as_micros().saturating_sub(since_boot_us()) };
        Self { boot, offset_us }
    }

    /// Whether it was made in this boot.
    #[cfg(any(feature = "sqlite", test))]
    pub(crate) fn is_of_this_boot(&self) -> bool {
        self.boot == boot_id()
    }

    /// Whether its time never steps back. Where it may, a store goes no further back than the state it decides on.
    pub(crate) fn is_steady(&self) -> bool {
        self.boot != 0
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        if self.is_steady() {
            Timestamp::from_micros(self.offset_us.saturating_add(since_boot_us()))
        } else {
            SystemTime::now().into()
        }
    }
}

/// Where Linux tells the boot's id.
#[cfg(target_os = "linux")]
pub(crate) const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A number that no other boot has; 0 where the system does not tell.
pub(crate) fn boot_id() -> u128 {
    static BOOT: OnceLock<u128> = OnceLock::new();
    *BOOT.get_or_init(system::boot_id)
}

/// Microseconds since the boot, the time asleep included.
#[inline]
fn since_boot_us() -> u64 {
    u64::try_from(system::since_boot().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::time::{ClockId, clock_gettime};
    use std::{fs, time::Duration};

    pub(super) fn boot_id() -> u128 {
        let text = fs::read_to_string(super::BOOT_ID).unwrap_or_default();
        u128::from_str_radix(&text.trim().replace('-', ""), 16).unwrap_or(0)
    }

    pub(super) fn since_boot() -> Duration {
        Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::time::Duration;

    pub(super) fn boot_id() -> u128 {
        0
    }

    pub(super) fn since_boot() -> Duration {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn an_anchor_tells_the_wall_time_and_does_not_step_back() {
        let (wall, anchor) = (Timestamp::from(SystemTime::now()), Anchor::new(Timestamp::MIN));
        assert!(anchor.is_of_this_boot());
        let first = anchor.now();
        assert!(first.saturating_since(wall) < DAY && wall.saturating_since(first) < Duration::from_secs(1));
        assert!(anchor.now() >= first);
    }

    #[test]
    fn an_anchor_is_never_before_the_newest_state() {
        let newest = Timestamp::from(SystemTime::now()).saturating_add(DAY);
        let anchor = Anchor::new(newest);
        assert!(!anchor.is_steady() || anchor.now() >= newest);
    }

    #[test]
    fn an_anchor_of_another_boot_is_told_from_ours() {
        let ours = Anchor::new(Timestamp::MIN);
        assert!(!Anchor { boot: ours.boot ^ 1, ..ours }.is_of_this_boot());
    }
}

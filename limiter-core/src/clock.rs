//! Time: the instant every decision is made at, and who tells it.
//!
//! Decisions count microseconds since the Unix epoch, so that processes and servers can share them. A store reads its
//! own time inside its atomic step; a [`Clock`] handed to it takes that place, which is how virtual time works.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(all(test, limiter_loom))))]
mod counter;
#[cfg(any(all(target_arch = "x86_64", target_os = "linux"), all(test, limiter_loom)))]
mod line;
mod manual;

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(all(test, limiter_loom))))]
use counter::nanos;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(all(test, limiter_loom)))))]
use steady_nanos as nanos;

pub use manual::ManualClock;

/// An instant: whole microseconds since the Unix epoch, from 1970 to [`Timestamp::MAX`] in the year 2077.
///
/// What lies outside is moved to the nearer end, so that arithmetic on an instant never overflows, in any store.
///
/// ```
/// use limiter_core::Timestamp;
/// use std::time::Duration;
///
/// let noon = Timestamp::from_micros(1_760_000_000_000_000);
/// let later = noon.saturating_add(Duration::from_millis(5));
/// assert_eq!(later.saturating_since(noon), Duration::from_millis(5));
/// assert_eq!(noon.saturating_since(later), Duration::ZERO);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The earliest instant, the Unix epoch.
    pub const MIN: Self = Self(0);
    /// The latest instant, 3·2⁵⁰ − 1 µs: with the 2⁵⁰ µs a bucket may lie ahead, and 4096 ticks a microsecond, the
    /// state of a bucket still fits 64 bits.
    pub const MAX: Self = Self(3 * (1 << 50) - 1);

    /// The instant `micros` microseconds after the Unix epoch, at most [`Timestamp::MAX`].
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        if micros > Self::MAX.0 { Self::MAX } else { Self(micros) }
    }

    /// Whole microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// This instant moved later by `duration`, at most to [`Timestamp::MAX`]; parts of a microsecond count as a whole.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(micros_up(duration)))
    }

    /// The time from `earlier` to this instant; zero where `earlier` is the later one.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl From<SystemTime> for Timestamp {
    /// The instant `time` shows; before 1970 it is [`Timestamp::MIN`].
    fn from(time: SystemTime) -> Self {
        time.duration_since(UNIX_EPOCH).map_or(Self::MIN, |since| Self::MIN.saturating_add(since))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.0)
    }
}

/// Tells the time.
///
/// A clock may step back: limits then hold still, they never admit more. The implementation for [`Timestamp`] is a
/// clock that stands still there.
///
/// ```
/// use limiter_core::{Clock, Limiter, Timestamp};
/// use std::sync::{
///     Arc,
///     atomic::{AtomicU64, Ordering},
/// };
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// /// A game's time: 60 frames a second, however long they take.
/// #[derive(Default)]
/// struct Frames(AtomicU64);
///
/// impl Clock for Frames {
///     fn now(&self) -> Timestamp {
///         Timestamp::from_micros(self.0.load(Ordering::Relaxed) * 1_000_000 / 60)
///     }
/// }
///
/// let frames = Arc::new(Frames::default());
/// let shots = Limiter::builder("1/s".parse()?).clock(Arc::clone(&frames)).build();
/// assert!(shots.check("player")?.allowed());
/// frames.0.store(59, Ordering::Relaxed);
/// assert!(!shots.check("player")?.allowed());
/// frames.0.store(60, Ordering::Relaxed);
/// assert!(shots.check("player")?.allowed());
/// # Ok(())
/// # }
/// ```
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

impl Clock for Timestamp {
    fn now(&self) -> Timestamp {
        *self
    }
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

/// A clock that never steps back: the wall time at its creation, carried on by the machine's monotonic clock.
///
/// The default of in-process stores. It does not follow later corrections of the wall time. It never steps back on a
/// thread; what two threads read at once is the same to 2 µs. On Linux on x86-64 it is read off the processor's counter,
/// which takes half the time of [`Instant::now`], and held to that some thousand times a second.
///
/// ```
/// use limiter_core::{Clock, MonotonicClock};
///
/// let clock = MonotonicClock::new();
/// let earlier = clock.now();
/// assert!(clock.now() >= earlier);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    /// This process's own time at its creation.
    anchor_nanos: u64,
    wall: Timestamp,
}

/// Nanoseconds since a time in this process, by the system's monotonic clock.
#[cfg_attr(all(target_arch = "x86_64", target_os = "linux"), allow(dead_code))]
fn steady_nanos() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGAN.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

impl MonotonicClock {
    /// A clock anchored to the wall time now.
    #[must_use]
    pub fn new() -> Self {
        Self { anchor_nanos: nanos(), wall: SystemTime::now().into() }
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicClock {
    #[inline]
    fn now(&self) -> Timestamp {
        let micros = nanos().saturating_sub(self.anchor_nanos) / 1000;
        Timestamp::from_micros(self.wall.0.saturating_add(micros))
    }
}

/// The machine's wall time, with every step that an administrator or a time server makes in it.
///
/// For limits that must follow the calendar; [`MonotonicClock`] is the better default.
///
/// ```
/// use limiter_core::{Limiter, SystemClock};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A thousand a day, from midnight to midnight in UTC.
/// let limiter = Limiter::builder("fixed_window 1000/day".parse()?).clock(SystemClock).build();
/// assert!(limiter.check("ada")?.allowed());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

/// Whole microseconds of a duration, rounded up.
pub(crate) fn micros_up(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_saturate_at_both_ends() {
        assert_eq!(Timestamp::from_micros(u64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MAX.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_secs(1)), Timestamp::MIN);
    }

    #[test]
    fn parts_of_a_microsecond_round_up() {
        assert_eq!(Timestamp::MIN.saturating_add(Duration::from_nanos(1)).as_micros(), 1);
        assert_eq!(Timestamp::MIN.saturating_add(Duration::from_nanos(2000)).as_micros(), 2);
    }

    #[test]
    fn the_monotonic_clock_starts_at_the_wall_time_and_does_not_step_back() {
        let (wall, clock) = (Timestamp::from(SystemTime::now()), MonotonicClock::new());
        let first = clock.now();
        assert!(first.saturating_since(wall) < Duration::from_secs(60));
        assert!(clock.now() >= first);
    }
}

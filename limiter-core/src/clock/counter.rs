//! The machine's monotonic time, read off the processor's counter where that can be done.
//!
//! Asking the system for the time takes two to three times as long as reading the counter from which it makes it. So
//! the counter's course is laid as a [`Line`] through two readings of [`Instant`](std::time::Instant), some half a millisecond to a
//! millisecond apart, and followed for as long again; then it is laid anew. Nothing adds up: however the system speeds
//! its clock up or slows it down (NTP, at most 500 ppm), and however long nobody asks, the time is within 2 µs of
//! `Instant`.
//!
//! It is done on Linux on x86-64, where the system itself makes its time from that counter. Where lines turn out
//! wrong, as on a counter that is not steady after all, and everywhere else, the time is `Instant`'s.

#![allow(unsafe_code)] // for `_rdtsc` alone

use super::{
    line::{Line, Published},
    steady_nanos,
};
use std::{cell::Cell, fs, sync::Mutex};

/// How far the time read here is from [`Instant`](std::time::Instant) at most. As a rule it is some 50 ns.
const BOUND_NANOS: u64 = 2000;

/// Ticks for which a line is followed: 0.7 ms at 3 GHz.
const REACH: u64 = 1 << 21;

/// The least time between the two readings that a line is laid through.
const BASE_NANOS: u64 = 400_000;

/// Ticks between two readings of the counter, of which the system's time in between is the same instant.
const TOGETHER: u64 = 1 << 9;

/// How often to try for two such readings: whoever is interrupted between them tries again.
const TRIES: usize = 4;

/// How many lines may turn out to be wrong until the counter is left alone for good. A virtual machine that moves to
/// another host has one of them.
const MOST_FAULTS: u32 = 8;

/// After this many lines those that were wrong are forgotten.
const FORGIVEN_AFTER: u64 = 10_000;

static NEWEST: Published = Published::new();
static COURSE: Mutex<Course> = Mutex::new(Course::new());

thread_local! {
    /// The last time told to this thread.
    static TOLD: Cell<u64> = const { Cell::new(0) };
}

/// Nanoseconds since an instant in this process. They never step back on a thread; between threads by less than
/// 2 µs.
#[inline]
pub(super) fn nanos() -> u64 {
    let on_line = NEWEST.read(|line| {
        let passed = ticks().wrapping_sub(line.ticks);
        (passed < REACH).then(|| line.after(passed))
    });
    let nanos = on_line.flatten().unwrap_or_else(lay);
    TOLD.with(|told| {
        let nanos = nanos.max(told.get());
        told.set(nanos);
        nanos
    })
}

#[inline]
fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction. Where a process has forbidden it to itself (`PR_SET_TSC`), the
    // system's own clock, which uses it too, would end it as well.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// How the counter has gone so far.
struct Course {
    /// Whether the system trusts the counter; asked once.
    is_trusted: Option<bool>,
    /// The counter and the time, read together when a line was last laid or begun.
    last: Option<(u64, u64)>,
    /// The newest line, and how fast the counter went before it.
    laid: Option<(Line, u64)>,
    /// Lines so far.
    number: u64,
    /// Lines that turned out wrong, the latest few.
    faults: u32,
}

/// Lays a new line where nobody else is at it, and tells the time.
#[cold]
fn lay() -> u64 {
    let Ok(mut course) = COURSE.try_lock() else { return steady_nanos() };
    if !*course.is_trusted.get_or_insert_with(is_trusted) || course.faults >= MOST_FAULTS {
        return steady_nanos();
    }
    match read_together() {
        Some((ticks, nanos)) => course.go_on(ticks, nanos, &NEWEST),
        None => steady_nanos(),
    }
}

impl Course {
    const fn new() -> Self {
        Self { is_trusted: None, last: None, laid: None, number: 0, faults: 0 }
    }

    /// Goes on from the counter at `ticks`, which is the time `nanos`; the time to tell.
    fn go_on(&mut self, ticks: u64, nanos: u64, newest: &Published) -> u64 {
        let Some((last_ticks, last_nanos)) = self.last else {
            self.last = Some((ticks, nanos));
            return nanos;
        };
        let took = nanos.saturating_sub(last_nanos);
        if took < BASE_NANOS {
            return nanos;
        }
        self.last = Some((ticks, nanos));
        let scale = scale(ticks.wrapping_sub(last_ticks), took);
        // The latest that the line before can have told. The next one does not take that back: it begins there, and
        // goes so much slower that it is right at its end.
        let mut ahead = 0;
        let mut is_right = scale > 0;
        if let Some((line, before)) = self.laid {
            let told = line.after(ticks.wrapping_sub(line.ticks).min(REACH));
            ahead = told.saturating_sub(nanos);
            is_right &= is_near(before, scale) && ahead <= BOUND_NANOS;
        }
        if !is_right {
            newest.withdraw();
            self.laid = None;
            self.faults += 1;
            return nanos;
        }
        let reach = (REACH.wrapping_mul(scale) >> 32).max(BOUND_NANOS);
        let line = Line { ticks, nanos: nanos + ahead, scale: scale - scale * ahead / reach };
        self.laid = Some((line, scale));
        self.number += 1;
        if self.number.is_multiple_of(FORGIVEN_AFTER) {
            self.faults = 0;
        }
        newest.publish(self.number, line);
        line.nanos
    }
}

/// 2⁻³² nanoseconds a tick; 0 where no counter goes like that.
fn scale(ticks: u64, nanos: u64) -> u64 {
    let scale = (u128::from(nanos) << 32).checked_div(u128::from(ticks)).unwrap_or(0);
    // From 100 MHz to 16 GHz.
    u64::try_from(scale).ok().filter(|scale| (1 << 28..10 << 32).contains(scale)).unwrap_or(0)
}

/// Whether two scales differ by no more than readings and corrections of the time explain: 0.4%.
fn is_near(a: u64, b: u64) -> bool {
    a.abs_diff(b) <= a / 256
}

/// The counter and the time at one instant.
fn read_together() -> Option<(u64, u64)> {
    (0..TRIES).find_map(|_| {
        let (before, nanos, after) = (ticks(), steady_nanos(), ticks());
        let between = after.wrapping_sub(before);
        (between < TOGETHER).then(|| (before.wrapping_add(between / 2), nanos))
    })
}

/// Whether Linux makes its own time from the counter, or would if it were not the guest of a host that offers a better
/// one. It does not where processors disagree about it, or where it stops while they rest.
fn is_trusted() -> bool {
    let read = |name| {
        let path = format!("/sys/devices/system/clocksource/clocksource0/{name}_clocksource");
        fs::read_to_string(path).unwrap_or_default()
    };
    match read("current").trim() {
        "tsc" => true,
        "kvm-clock" => read("available").split_whitespace().any(|name| name == "tsc"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        hint, thread,
        time::{Duration, Instant},
    };

    /// A time from the counter, and how far it is before or after the system's, read on both sides of it.
    fn distance() -> (u64, u64) {
        let (before, told, after) = (steady_nanos(), nanos(), steady_nanos());
        (told, before.saturating_sub(told).max(told.saturating_sub(after)))
    }

    #[test]
    fn the_time_is_the_systems_to_the_bound_and_never_steps_back_on_a_thread() {
        let until = Instant::now() + Duration::from_secs(3);
        let watch = |pause: Duration| {
            let (mut last, mut furthest, mut reads) = (0, 0, 0_u64);
            while Instant::now() < until {
                let (told, distance) = distance();
                assert!(told >= last, "{told} after {last}");
                (last, furthest, reads) = (told, furthest.max(distance), reads + 1);
                if !pause.is_zero() {
                    thread::sleep(pause);
                }
            }
            (furthest, reads)
        };
        // More threads than processors, with and without pauses in which lines end.
        let pauses = [0, 0, 0, 0, 300, 2_000, 50_000].map(Duration::from_micros);
        thread::scope(|scope| {
            let watchers = pauses.map(|pause| scope.spawn(move || watch(pause)));
            for watcher in watchers {
                let (furthest, reads) = watcher.join().unwrap();
                assert!(furthest <= BOUND_NANOS, "{furthest} ns off, of {reads} readings");
            }
        });
    }

    #[test]
    fn most_readings_are_the_counters_where_the_system_trusts_it() {
        if is_trusted() {
            let told = || {
                let until = Instant::now() + Duration::from_millis(20);
                while Instant::now() < until {
                    nanos();
                    hint::spin_loop();
                }
                NEWEST.read(|line| line).is_some()
            };
            assert!((0..10).any(|_| told()), "no line was laid");
        }
    }

    /// A millisecond at 2 GHz.
    const MILLI: (u64, u64) = (2_000_000, 1_000_000);

    #[test]
    fn what_a_line_has_told_is_not_taken_back() {
        let (mut course, newest) = (Course::new(), Published::new());
        let (mut ticks, mut nanos) = (0, 0);
        let mut end = 0; // what the line before tells at its end
        // The system's clock is slowed down and sped up by 500 ppm, as NTP does at most.
        for slowed in [0, 0, 500, 500, 0, 0, 500, 0, 500, 0] {
            (ticks, nanos) = (ticks + MILLI.0, nanos + MILLI.1 - slowed);
            let told = course.go_on(ticks, nanos, &newest);
            assert!(told >= end && told <= nanos + 1_000, "{told} at {nanos} after {end}");
            end = newest.read(|line| line.after(MILLI.0)).unwrap_or(told);
            assert!(end <= nanos + MILLI.1 + 500, "{end} a millisecond after {nanos}");
        }
        assert_eq!((course.number, course.faults), (9, 0));
    }

    #[test]
    fn a_counter_that_jumps_is_followed_again_and_in_the_end_left_alone() {
        for jump in [1_u64 << 30, 1 << 40, 0_u64.wrapping_sub(1 << 30), 0_u64.wrapping_sub(1_000_000)] {
            let (mut course, newest) = (Course::new(), Published::new());
            let (mut ticks, mut nanos) = (1 << 41, 0);
            for faults in 1..=MOST_FAULTS {
                for laid in [false, true, true] {
                    assert_eq!(course.go_on(ticks, nanos, &newest), nanos);
                    assert_eq!(newest.read(|_| ()).is_some(), laid);
                    (ticks, nanos) = (ticks + MILLI.0, nanos + MILLI.1);
                }
                ticks = ticks.wrapping_add(jump);
                assert_eq!(course.go_on(ticks, nanos, &newest), nanos, "by {jump}");
                assert_eq!((newest.read(|_| ()), course.faults), (None, faults), "by {jump}");
                course.last = None; // the next turn begins as the first did
                (ticks, nanos) = (ticks + MILLI.0, nanos + MILLI.1);
            }
        }
    }
}

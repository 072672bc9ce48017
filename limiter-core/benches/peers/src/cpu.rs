//! The processors: the time this process has used, and which one a thread runs on.
#![allow(unsafe_code)]

use std::{mem::MaybeUninit, time::Duration};

/// User and system time of all threads so far.
pub fn used() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is valid for a write of the type that the call fills in.
    let status = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    assert_eq!(status, 0, "getrusage failed");
    // SAFETY: it has succeeded, so it has filled it in.
    let usage = unsafe { usage.assume_init() };
    of(usage.ru_utime) + of(usage.ru_stime)
}

fn of(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
}

/// Keeps this thread on one processor: the `number`-th of those that the process may use.
#[cfg(target_os = "linux")]
pub fn pin(number: usize) {
    // SAFETY: a set of processors is plain bits, of which all may be zero.
    let (mut allowed, mut one): (libc::cpu_set_t, libc::cpu_set_t) = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: both sets are valid for their size, and every processor asked about is below what a set can hold.
    let status = unsafe {
        libc::sched_getaffinity(0, size, &raw mut allowed);
        let limit = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
        let usable: Vec<usize> = (0..limit).filter(|&cpu| libc::CPU_ISSET(cpu, &allowed)).collect();
        libc::CPU_SET(usable[number % usable.len()], &mut one);
        libc::sched_setaffinity(0, size, &raw const one)
    };
    assert_eq!(status, 0, "sched_setaffinity failed");
}

/// Elsewhere the scheduler decides.
#[cfg(not(target_os = "linux"))]
pub fn pin(_number: usize) {}

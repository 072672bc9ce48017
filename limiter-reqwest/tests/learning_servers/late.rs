//! How late this machine is at the time.

use std::{
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// As often as the busiest of the rows sends.
const STEP: Duration = Duration::from_millis(25);

/// A thread that does nothing but wake up, until it is asked how late that was.
pub(crate) struct Lateness {
    end: Sender<()>,
    thread: JoinHandle<f64>,
}

impl Lateness {
    pub(crate) fn measure() -> Self {
        let (end, ended) = mpsc::channel();
        let thread = thread::spawn(move || {
            let (mut late, mut times) = (Duration::ZERO, 0_u32);
            loop {
                let due = Instant::now() + STEP;
                if ended.recv_timeout(STEP) != Err(RecvTimeoutError::Timeout) {
                    return late.as_secs_f64() / f64::from(times.max(1));
                }
                (late, times) = (late + due.elapsed(), times + 1);
            }
        });
        Self { end, thread }
    }

    /// How late two such threads are in turn on the average, in seconds: a timer's wakes the request's own, at least.
    pub(crate) fn of_two(self) -> f64 {
        drop(self.end);
        2.0 * self.thread.join().unwrap()
    }
}

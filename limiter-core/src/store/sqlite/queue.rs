//! What callers ask of the store's thread.

use super::{
    builder::Settings,
    error::Fault,
    oneshot::{Promise, Promised, promise},
    worker::Worker,
};
use crate::{
    Clock, Decision, KeyState, Quota, Timestamp,
    algorithm::Mode,
    store::{Adjust, Basis, Scope},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

/// One call.
pub(super) struct Job {
    pub(super) work: Work,
    /// The time of an injected clock.
    pub(super) injected: Option<Timestamp>,
    /// It is not begun after this.
    pub(super) deadline: Instant,
    pub(super) promise: Promise<Answer>,
}

pub(super) type Answer = Result<Reply, Arc<Fault>>;

pub(super) enum Work {
    Decide { mode: Mode, asked: Vec<Asked> },
    Adjust { asked: Asked, adjust: Adjust },
    Reset { scope: Scope, key: Vec<u8> },
    Snapshot { asked: Asked },
    Now,
    Sweep,
    Check,
}

/// A demand that owns what it names.
pub(super) struct Asked {
    pub(super) scope: Scope,
    /// As it is stored.
    pub(super) key: Vec<u8>,
    pub(super) quota: Quota,
    pub(super) cost: u64,
    pub(super) basis: Basis,
}

#[allow(clippy::large_enum_variant)] // the largest is nearly all there are
pub(super) enum Reply {
    Decision(Decision),
    State(Box<KeyState>, Timestamp),
    Time(Timestamp),
    Count(usize),
    Done,
}

impl Job {
    /// Whether it may be left out: it would take or look for somebody who no longer waits. What gives back, charges or
    /// forgets is done all the same.
    pub(super) fn is_unwanted(&self) -> bool {
        let only_for_the_answer = !matches!(self.work, Work::Adjust { .. } | Work::Reset { .. });
        only_for_the_answer && !self.promise.is_awaited()
    }
}

/// The way to the thread. The thread is started at the first call, ends once the queue is closed, and is started again
/// should it ever end before.
pub(super) struct Queue {
    jobs: Mutex<Jobs>,
    filled: Condvar,
}

struct Jobs {
    waiting: VecDeque<Job>,
    /// The process whose thread it is, if there is one: after a fork it is the parent's.
    thread_of: Option<u32>,
    is_closed: bool,
}

/// Jobs that are done in one transaction at most.
const MOST_AT_ONCE: usize = 256;

impl Queue {
    pub(super) fn new() -> Self {
        let jobs = Jobs { waiting: VecDeque::new(), thread_of: None, is_closed: false };
        Self { jobs: Mutex::new(jobs), filled: Condvar::new() }
    }

    /// Hands work over. An injected clock is read under the queue's lock: jobs stand in the order of their instants.
    pub(super) fn push(
        self: &Arc<Self>,
        settings: &Arc<Settings>,
        work: Work,
        clock: Option<&dyn Clock>,
    ) -> Result<Promised<Answer>, Fault> {
        let (promise, promised) = promise();
        let deadline = Instant::now() + settings.budget;
        let mut jobs = self.lock();
        let process = std::process::id();
        if jobs.thread_of != Some(process) {
            if jobs.thread_of.is_some() {
                // The parent's, which does them; nobody here is to be woken.
                std::mem::forget(std::mem::take(&mut jobs.waiting));
            }
            let (queue, settings) = (Arc::clone(self), Arc::clone(settings));
            let run = move || {
                let ending = Ending(&queue);
                Worker::new(settings).run(&queue);
                drop(ending);
            };
            thread::Builder::new().name("limiter-sqlite".into()).spawn(run).map_err(Fault::NoThread)?;
            jobs.thread_of = Some(process);
        }
        let injected = clock.map(Clock::now);
        jobs.waiting.push_back(Job { work, injected, deadline, promise });
        drop(jobs);
        self.filled.notify_one();
        Ok(promised)
    }

    /// Lets the thread end once it has done what waits.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
    }

    /// The next jobs, in order; none at once where the thread has more to do. `None` ends the thread.
    pub(super) fn next(&self, has_more_to_do: bool) -> Option<Vec<Job>> {
        let mut jobs = self.lock();
        while jobs.waiting.is_empty() && !jobs.is_closed && !has_more_to_do {
            jobs = self.filled.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
        if jobs.waiting.is_empty() && jobs.is_closed {
            return None;
        }
        let count = jobs.waiting.len().min(MOST_AT_ONCE);
        Some(jobs.waiting.drain(..count).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Breaks the promises of what still waits when the thread ends, also by a panic.
struct Ending<'a>(&'a Queue);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let left = {
            let mut jobs = self.0.lock();
            jobs.thread_of = None;
            std::mem::take(&mut jobs.waiting)
        };
        drop(left);
    }
}

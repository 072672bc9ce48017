//! `acquire`: take now, or wait in line.

use super::{
    Permit, driver,
    line::{Join, Line, Seen},
    task::{Task, block_on},
    waiter::{Gone, Waiter},
};
use crate::{
    Decision, Error, KeyBuf, Limiter, Timestamp,
    limiter::{Core, fits, never_fits},
    store::Store,
};
use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// A request for units that waits for them: awaited, or [`blocking`](Self::blocking). Made by [`Limiter::acquire`].
///
/// ```
/// use limiter_core::Limiter;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::parse("sliding_log 100/s")?;
/// let permit = limiter.acquire("ada").cost(3).timeout(Duration::from_secs(1)).await?;
/// assert_eq!(permit.decision().remaining(), 97);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is asked until it is awaited, or `blocking` is called"]
pub struct Acquire<S: Store> {
    core: Arc<Core<S>>,
    key: KeyBuf,
    cost: u64,
    timeout: Option<Duration>,
}

impl<S: Store> Acquire<S> {
    pub(crate) fn new(limiter: &Limiter<S>, key: KeyBuf) -> Self {
        let core = Arc::clone(limiter.core());
        Self { timeout: core.max_wait, core, key, cost: 1 }
    }

    /// The units asked for, 1 where it is not said. A cost of 0 is granted at once and takes nothing.
    pub fn cost(mut self, units: u64) -> Self {
        self.cost = units;
        self
    }

    /// How long to wait at most; without it, as long as the limiter's own `max_wait` says, or for ever.
    ///
    /// What cannot be granted in that time is refused at once, without queueing.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// The same from code without a runtime: blocks this thread until the units are granted.
    ///
    /// # Errors
    /// As awaiting it.
    pub fn blocking(self) -> Result<Permit<S>, Error> {
        block_on(self.into_future())
    }
}

impl<S: Store> IntoFuture for Acquire<S> {
    type Output = Result<Permit<S>, Error>;
    type IntoFuture = AcquireFuture<S>;

    fn into_future(self) -> AcquireFuture<S> {
        AcquireFuture(Stage::Start(self))
    }
}

impl<S: Store> fmt::Debug for Acquire<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").field("cost", &self.cost).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// The future of an [`Acquire`]. It borrows nothing, so it can be spawned.
///
/// Dropping it leaves the line, and returns units that were granted and not yet read.
///
/// # Errors
/// [`Error::NeverFits`] at once for a cost above the quota's capacity; [`Error::WaitTooLong`] at once where the units
/// cannot be there in time, or as soon as that shows; [`Error::QueueFull`]; [`Error::Closed`]; [`Error::Store`].
#[must_use = "futures do nothing unless polled"]
pub struct AcquireFuture<S: Store>(Stage<S>);

enum Stage<S: Store> {
    Start(Acquire<S>),
    Waiting(Pin<Box<dyn Future<Output = Result<Permit<S>, Error>> + Send>>),
    Finished,
}

impl<S: Store> Future for AcquireFuture<S> {
    type Output = Result<Permit<S>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match std::mem::replace(&mut this.0, Stage::Finished) {
                Stage::Start(request) => match request.at_once() {
                    AtOnce::Answer(answer) => return Poll::Ready(answer),
                    AtOnce::Wait(denied, nudged) => this.0 = Stage::Waiting(Box::pin(request.in_line(denied, nudged))),
                },
                Stage::Waiting(mut waiting) => {
                    let polled = waiting.as_mut().poll(cx);
                    if polled.is_pending() {
                        this.0 = Stage::Waiting(waiting);
                    }
                    return polled;
                }
                Stage::Finished => return Poll::Pending,
            }
        }
    }
}

impl<S: Store> fmt::Debug for AcquireFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireFuture").finish_non_exhaustive()
    }
}

/// What can be said without waiting.
enum AtOnce<S: Store> {
    Answer(Result<Permit<S>, Error>),
    /// The units are not there, or others wait; with the denial met, where the store was asked, and the nudges before.
    Wait(Option<Decision>, u64),
}

impl<S: Store> Acquire<S> {
    /// The way without waiting, and without an allocation: nobody is in line and the store decides in place.
    fn at_once(&self) -> AtOnce<S> {
        if self.core.queues.is_closed() {
            return AtOnce::Answer(Err(Error::Closed));
        }
        let key = self.key.as_slice();
        let nudged = self.core.queues.nudged(key);
        let behind_others = self.cost > 0 && self.core.queues.has(key);
        let decided = self.core.with_demand(key, self.cost, |demand| match fits(demand.quota, self.cost) {
            Err(error) => Some(Err(error)),
            Ok(()) if behind_others => None,
            Ok(()) => Some(self.core.take_now(demand)?.map_err(Error::from)),
        });
        match decided {
            Some(Ok(decision)) if decision.allowed() => AtOnce::Answer(Ok(self.permit(decision))),
            Some(Ok(denied)) => AtOnce::Wait(Some(denied), nudged),
            Some(Err(error)) => AtOnce::Answer(Err(error)),
            None => AtOnce::Wait(None, nudged),
        }
    }

    /// The way through the line of the key; `nudged` is what the line's nudges were before the denial.
    async fn in_line(self, mut denied: Option<Decision>, mut nudged: u64) -> Result<Permit<S>, Error> {
        let key: Arc<[u8]> = self.key.as_slice().into();
        let (mut asked, mut seen, mut tries) = (None, None, 0);
        loop {
            if denied.is_none() && (self.cost == 0 || !self.core.queues.has(&key)) {
                nudged = self.core.queues.nudged(&key);
                let decision = self.core.take(&key, self.cost).await?;
                if decision.allowed() {
                    return Ok(self.permit(decision));
                }
                denied = Some(decision);
            }
            let asked = match (asked, &denied, self.timeout) {
                (Some(asked), ..) => asked,
                (None, Some(denied), _) => *asked.insert(denied.at()),
                (None, None, Some(_)) => *asked.insert(self.core.now().await?),
                (None, None, None) => Timestamp::MIN,
            };
            let first_wait = match &denied {
                Some(denied) => self.wait_of(denied, asked)?,
                None => Duration::ZERO,
            };
            let waiter = Waiter::new(self.cost, self.timeout.map(|allowed| (asked, allowed)));
            let driver = |line| Task::paused(driver::drive(Arc::clone(&self.core), Arc::clone(&key), line, first_wait));
            let denied_since = denied.take().map(|_| nudged);
            let quota = self.core.quota(&key);
            let (line, waiter) = match self.core.queues.join(&key, &quota, waiter, denied_since, seen.take(), driver) {
                Join::Queued(line, waiter) => (line, waiter),
                Join::First(line, waiter, driver) => {
                    driver.run();
                    (line, waiter)
                }
                Join::Vanished => continue,
                Join::Unknown(version) => {
                    tries += 1;
                    seen = Some(Seen { version, state: self.core.snapshot(&key).await, last: tries > 3 });
                    continue;
                }
                Join::Refused(error) => return Err(error),
            };
            let place = Place { core: &self.core, key: &key, line, waiter };
            let decision = std::future::poll_fn(|cx| place.waiter.poll(cx)).await?;
            return Ok(self.permit(decision));
        }
    }

    /// The wait that a denial names, where the caller allows it.
    fn wait_of(&self, denied: &Decision, asked: Timestamp) -> Result<Duration, Error> {
        let quota = || self.core.quota(self.key.as_slice());
        let wait = denied.retry_after().ok_or_else(|| never_fits(&quota(), self.cost))?;
        let due = denied.at().saturating_add(wait.saturating_add(self.core.buffer));
        let needed = due.saturating_since(asked);
        match self.timeout {
            Some(allowed) if needed > allowed => Err(Error::WaitTooLong { needed, allowed }),
            _ => Ok(wait),
        }
    }

    fn permit(&self, decision: Decision) -> Permit<S> {
        Permit::new(Arc::clone(&self.core), self.key.clone(), self.cost, decision)
    }
}

/// A place in line, left when dropped.
struct Place<'a, S: Store> {
    core: &'a Arc<Core<S>>,
    key: &'a Arc<[u8]>,
    line: Arc<Line>,
    waiter: Arc<Waiter>,
}

impl<S: Store> Drop for Place<'_, S> {
    fn drop(&mut self) {
        match self.waiter.go() {
            Gone::Finished => {}
            Gone::Waiting => self.line.leave(&self.core.queues, &self.waiter),
            Gone::Granted(taken) => {
                let (core, key, cost) = (Arc::clone(self.core), Arc::clone(self.key), self.waiter.cost);
                // Whoever drops us may be inside anything; the store's future runs on by itself.
                Task::start(async move {
                    driver::give_back(&core, &key, cost, taken).await;
                });
            }
        }
    }
}

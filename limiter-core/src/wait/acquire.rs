//! `acquire`: take now, or wait in line.

use super::{
    Permit, Slot, driver,
    line::{Join, Line, Seen},
    queue::NoSlot,
    task::{Task, block_on},
    waiter::{Gone, Granted, Waiter},
};
use crate::{
    Decision, Error, KeyBuf, Limiter, Timestamp,
    clock::micros_up,
    limiter::{Core, fits, never_fits},
    store::Store,
};
use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
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
    priority: u8,
}

impl<S: Store> Acquire<S> {
    #[inline]
    pub(crate) fn new(limiter: &Limiter<S>, key: KeyBuf) -> Self {
        let core = Arc::clone(limiter.core());
        Self { timeout: core.max_wait, core, key, cost: 1, priority: 0 }
    }

    /// The units asked for, 1 where it is not said. A cost of 0 is granted at once and takes nothing.
    #[inline]
    pub fn cost(mut self, units: u64) -> Self {
        self.cost = units;
        self
    }

    /// How long to wait at most; without it, as long as the limiter's own `max_wait` says, or for ever.
    ///
    /// What cannot be granted in that time is refused at once, without queueing.
    #[inline]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Goes before those of a lower priority who came up to a step earlier a level; 0 where it is not said.
    ///
    /// Means nothing unless the limiter has a [`priority_step`](crate::LimiterBuilder::priority_step).
    pub fn priority(mut self, level: u8) -> Self {
        self.priority = level;
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

    #[inline]
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
        if let Stage::Start(request) = &this.0 {
            let asked = request.at_once();
            let Stage::Start(request) = std::mem::replace(&mut this.0, Stage::Finished) else { return Poll::Pending };
            // Written where the caller wants it, without a stop on the way: it is most of what this costs.
            match asked.taken {
                Some(Ok(decision)) if decision.allowed() => {
                    let Acquire { cost, .. } = request;
                    return Poll::Ready(Ok(Permit::new(
                        request.core,
                        request.key,
                        cost,
                        decision,
                        asked.slot,
                        asked.since,
                    )));
                }
                Some(Err(error)) => return Poll::Ready(Err(error)),
                refused => {
                    let refused = Refused::new(refused.and_then(Result::ok), asked.nudged, asked.slot);
                    if let Some(error) = refused.denied.as_ref().and_then(|no| request.wait_of(no, no.at()).err()) {
                        return Poll::Ready(Err(error)); // without a box
                    }
                    this.0 = Stage::Waiting(Box::pin(request.in_line(refused)));
                }
            }
        }
        let Stage::Waiting(waiting) = &mut this.0 else { return Poll::Pending };
        let polled = waiting.as_mut().poll(cx);
        if polled.is_ready() {
            this.0 = Stage::Finished;
        }
        polled
    }
}

impl<S: Store> fmt::Debug for AcquireFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireFuture").finish_non_exhaustive()
    }
}

/// What can be said without waiting.
struct AtOnce {
    /// What the store said, where it was asked.
    taken: Option<Result<Decision, Error>>,
    slot: Option<Slot>,
    /// The nudges of the key before that.
    nudged: u64,
    /// The limiter's count of resets before that.
    since: u64,
}

/// How a request came to have to wait.
struct Refused {
    /// The denial met, where the store was asked.
    denied: Option<Decision>,
    /// The nudges of the key before that.
    nudged: u64,
}

impl Refused {
    /// Frees the place that no units were found for.
    #[cold]
    fn new(denied: Option<Decision>, nudged: u64, slot: Option<Slot>) -> Self {
        Self { denied, nudged: nudged + leave(slot) }
    }
}

/// Frees a place that no units were found for; the nudges that makes, which are nobody else's.
fn leave(slot: Option<Slot>) -> u64 {
    slot.map_or(0, |slot| u64::from(slot.leave()))
}

impl<S: Store> Acquire<S> {
    /// The way without waiting, and without an allocation: nobody is in line and the store decides in place.
    #[inline(always)]
    fn at_once(&self) -> AtOnce {
        let (key, queues) = (self.key.as_slice(), &self.core.queues);
        let (nudged, since) = (queues.nudged(key), self.core.resets());
        if queues.is_closed() {
            return AtOnce { taken: Some(Err(Error::Closed)), slot: None, nudged, since };
        }
        let asks_now = !self.asks_in_line() && (self.cost == 0 || !queues.has(key));
        let slot = if asks_now { self.enter() } else { Err(NoSlot) };
        let taken = self.core.with_demand(key, self.cost, |demand| match (fits(demand.quota, self.cost), &slot) {
            (Err(error), _) => Some(Err(error)),
            (Ok(()), Err(NoSlot)) => None,
            (Ok(()), Ok(_)) => Some(self.core.take_now(demand)?.or_else(|error| self.core.take_again(demand, error))),
        });
        AtOnce { taken, slot: slot.unwrap_or(None), nudged, since }
    }

    /// Whether the store is to be asked from the line: one of a key and process talks to a store that is not in this one.
    #[inline]
    fn asks_in_line(&self) -> bool {
        self.cost > 0 && !self.core.store.is_local()
    }

    /// The way through the line of the key.
    async fn in_line(self, refused: Refused) -> Result<Permit<S>, Error> {
        let (core, key) = (&self.core, Arc::<[u8]>::from(self.key.as_slice()));
        let (mut asked, mut seen, mut tries) = (None, None, 0);
        let began = Instant::now();
        if self.asks_in_line() {
            // Not each of many who come at once asks for a snapshot: the driver does, for all of them.
            seen = Some(Seen { version: 0, state: None, last: true });
        }
        let mut nudged = refused.nudged;
        let mut first_wait = match &refused.denied {
            Some(denied) => Some(self.wait_of(denied, *asked.insert(denied.at()))?),
            None => self.asks_in_line().then_some(Duration::ZERO),
        };
        loop {
            if first_wait.is_none() && (self.cost == 0 || !core.queues.has(&key)) {
                nudged = core.queues.nudged(&key);
                first_wait = Some(Duration::ZERO);
                if let Ok(slot) = self.enter() {
                    let since = core.resets();
                    let decision = core.take(&key, self.cost).await?;
                    if decision.allowed() {
                        let waited = decision.at().saturating_since(asked.unwrap_or(decision.at()));
                        return Ok(Permit::new(self.core, self.key, self.cost, decision, slot, since).after(waited));
                    }
                    nudged += leave(slot);
                    first_wait = Some(self.wait_of(&decision, *asked.get_or_insert(decision.at()))?);
                }
            }
            let needs_time = self.timeout.is_some() || core.priority_step.is_some();
            if asked.is_none() && (needs_time || core.knows_time()) {
                asked = Some(core.roughly_now().await?);
            }
            let rank = self.rank(asked.unwrap_or(Timestamp::MIN));
            let waiter = Waiter::new(self.cost, asked.zip(self.timeout), rank);
            let wait = first_wait.unwrap_or_default();
            let driver = |line: Arc<Line>| {
                if !self.asks_in_line() {
                    line.note_refusal();
                }
                Task::paused(driver::drive(Arc::clone(core), Arc::clone(&key), line, wait))
            };
            let refused_since = first_wait.take().map(|_| nudged);
            first_wait = self.asks_in_line().then_some(Duration::ZERO);
            let quota = core.quota(&key);
            let (line, waiter) = match core.queues.join(&key, &quota, waiter, refused_since, seen.take(), driver) {
                Join::Queued(line, waiter) => (line, waiter),
                Join::First(line, waiter, driver) => {
                    driver.run();
                    (line, waiter)
                }
                Join::Vanished => continue,
                Join::Unknown(version) => {
                    tries += 1;
                    seen = Some(Seen { version, state: core.snapshot(&key).await, last: tries > 3 });
                    continue;
                }
                Join::Refused(error) => return Err(error),
            };
            let place = Place { core, key: &key, line, waiter };
            let Granted { decision, since, slot } = std::future::poll_fn(|cx| place.waiter.poll(cx)).await?;
            let waited = match asked {
                _ if !place.line.is_refused() => Duration::ZERO, // a round trip is no wait
                Some(asked) => decision.at().saturating_since(asked),
                None => began.elapsed(), // by this machine's time: the store was not asked for its own
            };
            drop(place);
            return Ok(Permit::new(self.core, self.key, self.cost, decision, slot, since).after(waited));
        }
    }

    /// A place among those that may be held at once, where that is bounded.
    fn enter(&self) -> Result<Option<Slot>, NoSlot> {
        if self.cost == 0 { Ok(None) } else { self.core.queues.enter(self.key.as_slice()) }
    }

    /// The earlier it came, and the higher its priority, the lower.
    fn rank(&self, asked: Timestamp) -> u64 {
        let Some(step) = self.core.priority_step else { return 0 };
        let head_start = step.saturating_mul(u32::from(self.priority));
        Timestamp::MAX.as_micros() + asked.as_micros() - micros_up(head_start).min(Timestamp::MAX.as_micros())
    }

    /// The wait that a denial names, where the caller allows it.
    fn wait_of(&self, denied: &Decision, asked: Timestamp) -> Result<Duration, Error> {
        let quota = || self.core.quota(self.key.as_slice());
        let wait = denied.retry_after().ok_or_else(|| never_fits(&quota(), self.cost))?;
        let needed = denied.at().saturating_since(asked).saturating_add(wait).saturating_add(self.core.buffer);
        match self.timeout {
            Some(allowed) if needed > allowed => Err(Error::WaitTooLong { needed, allowed }),
            _ => Ok(wait),
        }
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
            Gone::Granted(Granted { decision, since, slot }) => {
                drop(slot);
                let (core, key, cost) = (Arc::clone(self.core), Arc::clone(self.key), self.waiter.cost);
                // Whoever drops us may be inside anything; the store's future runs on by itself.
                Task::start(async move {
                    driver::give_back(&core, &key, cost, decision.at(), since).await;
                });
            }
        }
    }
}

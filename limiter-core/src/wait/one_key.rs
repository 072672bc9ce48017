//! `acquire` on a handle for one key.

use super::{
    AcquireFuture, Permit, Slot,
    permit::Taken,
    task::{Task, block_on},
};
use crate::{Decision, Error, KeyLimiter, Timestamp, limiter::Core, store::Store};
use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// A request for units of one key that waits for them: awaited, or [`blocking`](Self::blocking). Made by
/// [`KeyLimiter::acquire`]; [`Acquire`](super::Acquire) is the same for any key.
#[must_use = "nothing is asked until it is awaited, or `blocking` is called"]
pub struct KeyAcquire<'a, S: Store> {
    of: &'a KeyLimiter<S>,
    cost: u64,
    /// `None` is what the limiter says.
    timeout: Option<Duration>,
    priority: u8,
}

impl<'a, S: Store> KeyAcquire<'a, S> {
    #[inline(always)]
    pub(crate) fn new(of: &'a KeyLimiter<S>) -> Self {
        Self { of, cost: 1, timeout: None, priority: 0 }
    }

    /// The units asked for; see [`Acquire::cost`](super::Acquire::cost).
    #[inline(always)]
    pub fn cost(mut self, units: u64) -> Self {
        self.cost = units;
        self
    }

    /// How long to wait at most; see [`Acquire::timeout`](super::Acquire::timeout).
    #[inline(always)]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Goes before those of a lower priority; see [`Acquire::priority`](super::Acquire::priority).
    #[inline(always)]
    pub fn priority(mut self, level: u8) -> Self {
        self.priority = level;
        self
    }

    /// The same from code without a runtime: blocks this thread until the units are granted.
    ///
    /// # Errors
    /// As awaiting it.
    pub fn blocking(self) -> Result<KeyPermit<'a, S>, Error> {
        block_on(self.into_future())
    }

    /// The way that every store, quota and limiter can go.
    #[inline(never)]
    fn any_way(&self) -> AcquireFuture<S> {
        let acquire = self.of.limiter().acquire(self.of.key()).cost(self.cost).priority(self.priority);
        match self.timeout {
            Some(limit) => acquire.timeout(limit).into_future(),
            None => acquire.into_future(),
        }
    }
}

impl<'a, S: Store> IntoFuture for KeyAcquire<'a, S> {
    type Output = Result<KeyPermit<'a, S>, Error>;
    type IntoFuture = KeyAcquireFuture<'a, S>;

    #[inline(always)]
    fn into_future(self) -> KeyAcquireFuture<'a, S> {
        KeyAcquireFuture(Stage::Start(self))
    }
}

impl<S: Store> fmt::Debug for KeyAcquire<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyAcquire").field("cost", &self.cost).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// The future of a [`KeyAcquire`].
///
/// Dropping it leaves the line, and returns units that were granted and not yet read.
///
/// # Errors
/// As [`AcquireFuture`].
#[must_use = "futures do nothing unless polled"]
pub struct KeyAcquireFuture<'a, S: Store>(Stage<'a, S>);

enum Stage<'a, S: Store> {
    Start(KeyAcquire<'a, S>),
    AnyWay(&'a KeyLimiter<S>, AcquireFuture<S>),
    Finished,
}

impl<'a, S: Store> Future for KeyAcquireFuture<'a, S> {
    type Output = Result<KeyPermit<'a, S>, Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Stage::Start(request) = &this.0 {
            let (of, cost, since) = (request.of, request.cost, request.of.limiter().core().resets());
            if let Some(at) = of.grant_now(cost) {
                this.0 = Stage::Finished; // polled once more, it takes nothing more
                return Poll::Ready(Ok(KeyPermit { of, cost, at, since, rest: None }));
            }
            this.0 = Stage::AnyWay(of, request.any_way());
        }
        this.poll_any_way(cx)
    }
}

impl<'a, S: Store> KeyAcquireFuture<'a, S> {
    #[inline(never)]
    fn poll_any_way(&mut self, cx: &mut Context<'_>) -> Poll<Result<KeyPermit<'a, S>, Error>> {
        let Stage::AnyWay(of, future) = &mut self.0 else { return Poll::Pending };
        let of = *of;
        Pin::new(future).poll(cx).map_ok(|permit| KeyPermit::new(of, permit))
    }
}

impl<S: Store> fmt::Debug for KeyAcquireFuture<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyAcquireFuture").finish_non_exhaustive()
    }
}

/// Units that were granted on a handle for one key; what a [`Permit`] is for any key. Dropping it keeps them taken.
///
/// It tells no [`Decision`]: [`KeyLimiter::check`] and [`Limiter::peek`](crate::Limiter::peek) do.
#[must_use = "a permit says that the work may be done; drop it when that is all"]
pub struct KeyPermit<'a, S: Store> {
    of: &'a KeyLimiter<S>,
    cost: u64,
    at: Timestamp,
    /// The limiter's count of resets before the units were asked for.
    since: u64,
    /// What few permits have.
    rest: Option<Box<Rest>>,
}

struct Rest {
    waited: Duration,
    /// The place held among those at once; freed with the permit.
    _slot: Option<Slot>,
}

impl<'a, S: Store> KeyPermit<'a, S> {
    fn new(of: &'a KeyLimiter<S>, permit: Permit<S>) -> Self {
        let (Taken { cost, at, since }, waited) = (permit.taken(), permit.waited());
        let slot = permit.into_slot();
        let is_plain = waited.is_zero() && slot.is_none();
        Self { of, cost, at, since, rest: (!is_plain).then(|| Box::new(Rest { waited, _slot: slot })) }
    }

    /// The units granted.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// The instant of the grant, by the store's time.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// How long the caller stood in line; see [`Permit::waited`].
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.rest.as_ref().map_or(Duration::ZERO, |rest| rest.waited)
    }

    /// Returns the units: what they were meant for was not done; see [`Permit::refund`].
    ///
    /// # Errors
    /// The store's; the units then stay taken.
    pub async fn refund(self) -> Result<Decision, Error> {
        self.taken().refund(self.core(), self.of.key().as_slice()).await
    }

    /// [`refund`](Self::refund) for where nothing can be awaited; see [`Permit::refund_detached`].
    pub fn refund_detached(self) {
        let (taken, core, key) = (self.taken(), Arc::clone(self.core()), self.of.key().clone());
        Task::start(async move {
            let _ = taken.refund(&core, key.as_slice()).await;
        });
    }

    /// Corrects the cost to what the work really took; see [`Permit::settle`].
    ///
    /// # Errors
    /// The store's; the units then stay as they were taken.
    pub async fn settle(self, true_cost: u64) -> Result<Decision, Error> {
        self.taken().settle(self.core(), self.of.key().as_slice(), true_cost).await
    }

    /// Counts the units from this instant instead of that of the grant; see [`Permit::restamp`].
    ///
    /// # Errors
    /// The store's; the units then count from the grant.
    pub async fn restamp(self) -> Result<Decision, Error> {
        self.taken().restamp(self.core(), self.of.key().as_slice()).await
    }

    fn taken(&self) -> Taken {
        Taken { cost: self.cost, at: self.at, since: self.since }
    }

    fn core(&self) -> &Arc<Core<S>> {
        self.of.limiter().core()
    }
}

impl<S: Store> fmt::Debug for KeyPermit<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPermit").field("cost", &self.cost).field("at", &self.at).finish_non_exhaustive()
    }
}

//! When the store fails: what becomes of requests, how long a call may take, and when to stop asking for a while.

use limiter_core::{Error, Sleep, StoreError, StoreErrorKind, ThreadTimer};
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

/// What becomes of a request that the store cannot decide on; see
/// [`RateLimitLayer::on_store_failure`](crate::RateLimitLayer::on_store_failure).
///
/// | | is let in while the store fails | clients are told |
/// | --- | --- | --- |
/// | [`Refuse`](Self::Refuse) | nothing | 503, without a word about quotas; when to come back, during a [`Breaker`]'s pause |
/// | [`Allow`](Self::Allow) | everything | nothing |
/// | [`DecideLocally`](Self::DecideLocally) | in each process, each policy's [`local_quota`](crate::Policy::local_quota), beside what the store had let in | how the local quota stands |
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum StoreFailure {
    /// It is answered with 503 and the problem `temporary-reduced-capacity`; never with 429. `Retry-After` is what is left
    /// of a [`Breaker`]'s pause; where there is none, nobody can say.
    #[default]
    Refuse,
    /// It passes unlimited, without header fields; the [`Verdict`](crate::Verdict) in its extensions says so.
    Allow,
    /// It is decided on in this process's memory: the same policies, keys and costs, all or nothing as ever.
    ///
    /// Every process counts by itself and from nothing, so n of them let in up to n times the quota, unless
    /// [`local_quota`](crate::Policy::local_quota) is a share of it. Local counts are kept for the next failure as long
    /// as they still limit anything.
    DecideLocally,
}

/// When a store that fails is left alone for a while: after so many failures in a row nobody asks it during a pause, and
/// what [`on_store_failure`](crate::RateLimitLayer::on_store_failure) says happens at once; then a single request asks
/// it again, and its answer ends the pause or begins another.
///
/// After five failures for a second by default. Stores in this process are always asked. Who is refused during a pause is
/// told what is left of it (`Retry-After`).
///
/// ```
/// use limiter_core::Limiter;
/// use limiter_tower::{Breaker, RateLimitLayer, StoreFailure};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let layer = RateLimitLayer::new(Limiter::parse("100/s")?) // over a remote store
///     .on_store_failure(StoreFailure::DecideLocally)
///     .time_budget(Duration::from_millis(50))
///     .breaker(Breaker::new(3, Duration::from_secs(2)));
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Breaker {
    failures: u32,
    pause: Duration,
}

impl Breaker {
    /// No breaker: the store is always asked.
    pub const OFF: Self = Self { failures: u32::MAX, pause: Duration::ZERO };

    /// After `failures` in a row, at least one, the store is left alone for `pause`.
    #[must_use]
    pub fn new(failures: u32, pause: Duration) -> Self {
        Self { failures: failures.max(1), pause }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new(5, Duration::from_secs(1))
    }
}

/// How a layer deals with a store that fails.
pub(crate) struct Failing {
    pub(crate) then: StoreFailure,
    pub(crate) budget: Option<Duration>,
    pub(crate) breaker: Breaker,
    /// Shared with the settings that take the place of these.
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Default)]
struct State {
    failures: u32,
    /// When the pause began that nobody asks in.
    paused: Option<Instant>,
}

impl Failing {
    pub(crate) fn new(then: StoreFailure, budget: Option<Duration>, breaker: Breaker) -> Self {
        Self { then, budget, breaker, state: Arc::default() }
    }

    /// The same in the place of `before`: the store's failures so far count on where they count as they did.
    #[cfg(feature = "rules")]
    pub(crate) fn in_place_of(&self, before: &Self) -> Self {
        let state = if self.breaker == before.breaker { &before.state } else { &self.state };
        Self { then: self.then, budget: self.budget, breaker: self.breaker, state: Arc::clone(state) }
    }

    /// What `call` answers, where the store is to be asked and answers within the budget, and `extra` where a wait is
    /// part of the call.
    ///
    /// A call that took too long may have been carried out: it is never made again, and its units may stay taken.
    pub(crate) async fn ask<T>(
        &self,
        extra: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if let Some(left) = self.pause_left() {
            let left_alone = LeftAlone { breaker: self.breaker, left };
            return Err(StoreError::new(StoreErrorKind::Unavailable).with_source(left_alone).into());
        }
        let answer = within(self.budget.map(|budget| budget.saturating_add(extra)), call).await;
        match answer {
            Ok(_) => self.note(false),
            Err(Error::Store(_)) => self.note(true),
            Err(_) => {} // the limiter's own, which may have asked nobody
        }
        answer
    }

    /// What is left of the pause; `None` where the store is to be asked.
    fn pause_left(&self) -> Option<Duration> {
        let mut state = self.lock();
        // Against how long it has lasted, as a pause can end later than any instant.
        let left = self.breaker.pause.checked_sub(state.paused?.elapsed()).filter(|left| !left.is_zero());
        if left.is_none() {
            // This one asks for all; should its answer never come, another one does after the next pause.
            state.paused = Some(Instant::now());
        }
        left
    }

    fn note(&self, has_failed: bool) {
        let mut state = self.lock();
        if !has_failed {
            *state = State::default();
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= self.breaker.failures && self.breaker != Breaker::OFF {
            state.paused = Some(Instant::now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `call`, or the store's failure to answer in time.
pub(crate) async fn within<T>(
    budget: Option<Duration>,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(budget) = budget else { return call.await };
    let (mut call, mut timer) = (pin!(call), None);
    poll_fn(|cx| {
        if let Poll::Ready(answer) = call.as_mut().poll(cx) {
            return Poll::Ready(answer);
        }
        let timer = timer.get_or_insert_with(|| ThreadTimer.sleep(budget));
        timer.as_mut().poll(cx).map(|()| Err(StoreError::new(StoreErrorKind::TimedOut).into()))
    })
    .await
}

/// When the store is asked again, where it is left alone because it failed; `None` where nobody can say.
pub(crate) fn asked_again_after(error: &Error) -> Option<Duration> {
    let Error::Store(failed) = error else { return None };
    std::error::Error::source(failed)?.downcast_ref::<LeftAlone>().map(|left_alone| left_alone.left)
}

/// The source of the error while nobody asks the store.
#[derive(Debug)]
struct LeftAlone {
    breaker: Breaker,
    left: Duration,
}

impl fmt::Display for LeftAlone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { breaker: Breaker { failures, .. }, left } = self;
        write!(f, "it failed {failures} times in a row and is asked again only after {left:?}")
    }
}

impl std::error::Error for LeftAlone {}

impl fmt::Debug for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failing")
            .field("then", &self.then)
            .field("budget", &self.budget)
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

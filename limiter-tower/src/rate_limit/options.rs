//! What is set for all policies of a layer: what clients are told, which requests pass it by, what becomes of them else.

use super::RateLimitLayer;
use crate::{
    Breaker, Event, FieldSet, StoreFailure,
    answer::{Answer, Answers, Jitter},
    decision::Failing,
};
use http::request::Parts;
use limiter_core::Store;
use std::{sync::Arc, time::Duration};

impl<S: Store> RateLimitLayer<S> {
    /// The generations of header fields to send, on admissions and denials; the newest by default, none with
    /// [`FieldSet::NONE`]. `Retry-After` is sent in any case.
    ///
    /// Where layers stand around one another, the newest fields list the policies of all of them, the older ones that
    /// of the innermost. A response with a `Retry-After` of its own, a denial further in, is passed on as it is.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::{Generation, RateLimitLayer};
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let layer = RateLimitLayer::new(Limiter::parse("100/min")?)
    ///     .fields([Generation::Structured, Generation::Legacy]);
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn fields(self, fields: impl Into<FieldSet>) -> Self {
        self.with(|settings| {
            settings.fields = fields.into();
            for listed in &mut settings.policies {
                listed.announced = listed.policy.announced(settings.fields);
            }
        })
    }

    /// Says what is left on denials only; admitted requests get no header fields. Without this they do.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::RateLimitLayer;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let layer = RateLimitLayer::new(Limiter::parse("100/min")?).fields_on_denials_only();
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn fields_on_denials_only(self) -> Self {
        self.with_answers(|answers| answers.on_admissions = false)
    }

    /// Leaves no [`Verdict`](crate::Verdict) in the extensions of requests. Without this it is in those of every request
    /// that passes, for the handler; where nobody reads it, that is an allocation less, or three where the request has no
    /// other extension.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::RateLimitLayer;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let layer = RateLimitLayer::new(Limiter::parse("100/min")?).without_verdict();
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn without_verdict(self) -> Self {
        self.with_answers(|answers| answers.leaves_verdict = false)
    }

    /// How requests that are not let through are answered: a ready-made [`Format`](crate::Format), or a closure that
    /// makes any response of a [`Refusal`](crate::Refusal). [`Format::Problem`](crate::Format::Problem) by default.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::{Format, RateLimitLayer};
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let layer = RateLimitLayer::new(Limiter::parse("100/min")?).answer(Format::Grpc);
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn answer(self, answer: impl Answer) -> Self {
        self.with_answers(|answers| answers.by = Arc::new(answer))
    }

    /// Adds a random part of `most` to each `Retry-After`, so that those who were denied together do not come again
    /// together; none by default.
    ///
    /// It only ever adds, so that who waits as told is still admitted. The `t` of the `RateLimit` field stays as it is.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::RateLimitLayer;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let layer = RateLimitLayer::new(Limiter::parse("100/min")?).retry_jitter(Duration::from_secs(10));
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn retry_jitter(self, most: Duration) -> Self {
        self.with_answers(|answers| answers.jitter = Some(Jitter::new(most)))
    }

    /// Lets requests of this kind pass as if there were no layer: health checks, allow lists. Called again, those too.
    /// The [`Verdict`](crate::Verdict) in their extensions says that they are unlimited.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::RateLimitLayer;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let layer = RateLimitLayer::new(Limiter::parse("100/min")?).skip(|request| request.uri.path() == "/health");
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn skip(self, is_free: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.skip.push(Arc::new(is_free)))
    }

    /// Refuses requests of this kind with 403, before anything else is looked at: block lists. Called again, those
    /// too. Nothing is taken for them, and what [`skip`](Self::skip) says does not let them in.
    ///
    /// To block a single key for a while, see [`Limiter::block`](limiter_core::Limiter::block).
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::RateLimitLayer;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let layer = RateLimitLayer::new(Limiter::parse("100/min")?)
    ///     .block(|request| request.headers.get("user-agent").is_some_and(|agent| agent == "bad-bot"));
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn block(self, is_refused: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.block.push(Arc::new(is_refused)))
    }

    /// Lets a request wait for its turn up to `limit` instead of refusing it. One that would wait longer is refused at
    /// once, with the wait told.
    ///
    /// First come, first served on each key. A layer of one policy waits by [`Limiter::acquire`](limiter_core::Limiter::acquire),
    /// one of several by [`All::acquire`](limiter_core::All::acquire): nothing is held meanwhile, and who waits for one
    /// key delays nobody on the others. A request that is dropped while it waits leaves the line, and what it was just
    /// granted is given back. The limiters bound how many wait
    /// ([`max_waiters`](limiter_core::LimiterBuilder::max_waiters)); one more is refused.
    ///
    /// The inner service is polled ready again after the wait: its readiness is not kept from others meanwhile. A
    /// timeout further out ends waits too; give it more time than `limit`.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::RateLimitLayer;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let layer = RateLimitLayer::new(Limiter::parse("100/s")?).wait_up_to(Duration::from_millis(250));
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_up_to(self, limit: Duration) -> Self {
        self.with(|settings| settings.wait = Some(limit).filter(|limit| !limit.is_zero()))
    }

    /// Decides, counts and tells the [hook](Self::on_decision), but never refuses, and tells clients nothing: to try
    /// limits out. A policy whose key cannot be had takes no part. Only a [block list](Self::block) is in force.
    ///
    /// The verdict is in the extensions of the requests, denials too.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::{Outcome, RateLimitLayer};
    /// use std::sync::{
    ///     Arc,
    ///     atomic::{AtomicU64, Ordering},
    /// };
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let would_deny = Arc::new(AtomicU64::new(0));
    /// let count = Arc::clone(&would_deny);
    /// let layer = RateLimitLayer::new(Limiter::parse("100/min")?).shadow().on_decision(move |event| {
    ///     if event.outcome() == Outcome::WouldDeny {
    ///         count.fetch_add(1, Ordering::Relaxed);
    ///     }
    /// });
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn shadow(self) -> Self {
        self.with(|settings| settings.is_shadow = true)
    }

    /// Calls `hook` with each decision, once it is made: for logs and metrics. It holds no key; see [`Event`].
    ///
    /// The request waits for it, so it should be quick. Requests that no policy takes part in, and those that
    /// [`skip`](Self::skip) lets pass, make no event.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::{Outcome, RateLimitLayer};
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let layer = RateLimitLayer::new(Limiter::parse("100/min")?).on_decision(|event| {
    ///     if event.outcome() != Outcome::Admitted {
    ///         eprintln!("{event}"); // denied: default denied by 100/min: 0 of 100 left, retry after 600ms, ...
    ///     }
    /// });
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_decision(self, hook: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.hook = Some(Arc::new(hook)))
    }

    /// What becomes of requests while the store fails: refused with 503 by default.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::{RateLimitLayer, StoreFailure};
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let layer = RateLimitLayer::new(Limiter::parse("100/s")?).on_store_failure(StoreFailure::Allow);
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_store_failure(self, then: StoreFailure) -> Self {
        self.with_failing(|failing| Failing::new(then, failing.budget, failing.breaker))
    }

    /// How long a remote store may take to answer, beside its own time budget: with more, it has failed. A wait for
    /// units is not part of it.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::RateLimitLayer;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let layer = RateLimitLayer::new(Limiter::parse("100/s")?).time_budget(Duration::from_millis(50));
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn time_budget(self, most: Duration) -> Self {
        self.with_failing(|failing| Failing::new(failing.then, Some(most), failing.breaker))
    }

    /// When a remote store that fails is left alone for a while; see [`Breaker`].
    pub fn breaker(self, breaker: Breaker) -> Self {
        self.with_failing(|failing| Failing::new(failing.then, failing.budget, breaker))
    }

    pub(crate) fn with_failing(self, change: impl FnOnce(&Failing) -> Failing) -> Self {
        self.with(|settings| settings.failing = Arc::new(change(&settings.failing)))
    }

    pub(super) fn with_answers(self, change: impl FnOnce(&mut Answers)) -> Self {
        self.with(|settings| change(Arc::make_mut(&mut settings.answers)))
    }
}

//! The layer: what is limited, by which key, at which cost, and how that is told.

use crate::{
    Breaker, Event, FieldSet, Policy, PolicyError, PolicyName, RateLimit, StoreFailure,
    announced::AnnouncedByQuota,
    answer::{Answer, Answers, Jitter},
    failure::Failing,
    key::KeyExtractor,
    policy::When,
};
use http::request::Parts;
use limiter_core::{Limiter, MemoryStore, Store};
use std::{fmt, sync::Arc, time::Duration};
use tower_layer::Layer;

/// Puts a rate limit before an HTTP service; see the [crate's documentation](crate).
///
/// Cheap to clone. All services made by a layer and its clones share the limiter's state.
///
/// ```
/// use limiter_core::Limiter;
/// use limiter_tower::{ExtensionKey, PolicyName, RateLimitLayer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = RateLimitLayer::new(Limiter::parse("10/s, 1000/h")?)
///     .key(ExtensionKey::<u64>::new()) // the user whom a layer further out has signed in
///     .cost(|request| if request.uri.path().starts_with("/export") { 5 } else { 1 })
///     .policy_name(PolicyName::new("api")?);
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[must_use = "a layer limits nothing until it is applied"]
pub struct RateLimitLayer<S: Store = MemoryStore>(pub(crate) Arc<Settings<S>>);

/// What a layer and its services share.
#[derive(Clone)]
pub(crate) struct Settings<S: Store> {
    /// At least one.
    pub(crate) policies: Vec<Listed<S>>,
    fields: FieldSet,
    pub(crate) answers: Arc<Answers>,
    block: Vec<Arc<When>>,
    skip: Vec<Arc<When>>,
    pub(crate) is_shadow: bool,
    pub(crate) wait: Option<Duration>,
    pub(crate) hook: Option<Arc<Hook>>,
    pub(crate) failing: Arc<Failing>,
    /// Where policies are counted while the store fails.
    local: MemoryStore,
}

pub(crate) type Hook = dyn Fn(&Event<'_>) + Send + Sync;

/// A policy of the layer, and what clients are told of it.
pub(crate) struct Listed<S: Store> {
    pub(crate) policy: Policy<S>,
    pub(crate) announced: Arc<AnnouncedByQuota>,
    /// Its limiter while the store fails.
    pub(crate) local: Limiter,
}

impl<S: Store> RateLimitLayer<S> {
    /// A layer of one policy. A limiter becomes the policy `default`: all requests together under its quota, each of
    /// them one unit, until [`key`](Self::key) and [`cost`](Self::cost) say otherwise.
    ///
    /// ```
    /// use limiter_core::{Limiter, Rate};
    /// use limiter_tower::RateLimitLayer;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let layer = RateLimitLayer::new(Limiter::new(Rate::per_second(100)?));
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(policy: impl Into<Policy<S>>) -> Self {
        Self::of([policy.into()], MemoryStore::new())
    }

    /// A layer of policies that can be decided together, and are counted in `local` while their store fails.
    pub(crate) fn of(policies: impl IntoIterator<Item = Policy<S>>, local: MemoryStore) -> Self {
        let fields = FieldSet::default();
        Self(Arc::new(Settings {
            policies: policies.into_iter().map(|policy| Listed::new(policy, fields, &local)).collect(),
            fields,
            answers: Arc::default(),
            block: Vec::new(),
            skip: Vec::new(),
            is_shadow: false,
            wait: None,
            hook: None,
            failing: Arc::new(Failing::new(StoreFailure::default(), None, Breaker::default())),
            local,
        }))
    }

    /// Adds a policy. All policies that take part in a request are decided in one step, all or nothing: what one of
    /// them denies takes nothing from the others. Responses list all that took part; a denial names those that denied.
    ///
    /// ```
    /// use limiter_core::{Limiter, MemoryStore};
    /// use limiter_tower::{HeaderKey, Policy, PolicyName, RateLimitLayer};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new(); // one for all, so that they can be decided together
    /// let overall = Limiter::builder("1000/s".parse()?).name("overall").store(store.clone()).build();
    /// let tenant = Limiter::builder("10/s".parse()?).name("tenant").store(store).build();
    ///
    /// let by_tenant = HeaderKey::new(http::HeaderName::from_static("x-tenant"));
    /// let layer = RateLimitLayer::new(Policy::new(PolicyName::new("overall")?, overall))
    ///     .policy(Policy::new(PolicyName::new("tenant")?, tenant).key(by_tenant))?;
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PolicyError`] where the limiters have different stores, two policies have one name or would be announced by one,
    /// two limiters have one name, or there are 64 policies already. Of quotas by key, and of those that are changed later,
    /// the names cannot be checked here.
    pub fn policy(self, policy: Policy<S>) -> Result<Self, PolicyError> {
        PolicyError::check(self.0.policies.iter().map(|listed| &listed.policy), &policy)?;
        Ok(self.with(|settings| {
            let listed = Listed::new(policy, settings.fields, &settings.local);
            settings.policies.push(listed);
        }))
    }

    /// Limits each key of the layer's first policy on its own; see [`Policy::key`].
    ///
    /// ```
    /// use http::request::Parts;
    /// use limiter_core::Limiter;
    /// use limiter_tower::RateLimitLayer;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// // Writes are limited, each method by itself; reads are not.
    /// let layer = RateLimitLayer::new(Limiter::parse("5/s")?)
    ///     .key(|request: &Parts| (!request.method.is_safe()).then(|| request.method.to_string()));
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn key(self, key: impl KeyExtractor) -> Self {
        self.with_first(|policy| policy.key(key))
    }

    /// What a request takes of the layer's first policy, in its quota's units; see [`Policy::cost`].
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::RateLimitLayer;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// let layer = RateLimitLayer::new(Limiter::parse("100/min")?)
    ///     .cost(|request| if request.method == http::Method::POST { 10 } else { 1 });
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn cost(self, cost: impl Fn(&Parts) -> u64 + Send + Sync + 'static) -> Self {
        self.with_first(|policy| policy.cost(cost))
    }

    /// The name of the layer's first policy in header fields and problem bodies; `default` by default. A name that
    /// another of its policies has, or is announced by, is not taken.
    ///
    /// Every policy of a response needs its own name, so layers around one another should not share one. A quota of
    /// several rates is one policy a rate, told apart by the period: `default-1s`, `default-1h`.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::{PolicyName, RateLimitLayer};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = RateLimitLayer::new(Limiter::parse("100/min")?).policy_name(PolicyName::new("search")?);
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn policy_name(self, name: PolicyName) -> Self {
        let Some((first, others)) = self.0.policies.split_first() else { return self };
        let named = first.policy.clone().named(name);
        if named.is_told_from(others.iter().map(|listed| &listed.policy)) { self.with_first(|_| named) } else { self }
    }

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

    fn with_answers(self, change: impl FnOnce(&mut Answers)) -> Self {
        self.with(|settings| change(Arc::make_mut(&mut settings.answers)))
    }

    fn with_first(self, change: impl FnOnce(Policy<S>) -> Policy<S>) -> Self {
        self.with(|settings| {
            if let Some(first) = settings.policies.first_mut() {
                *first = Listed::new(change(first.policy.clone()), settings.fields, &settings.local);
            }
        })
    }

    fn with(self, change: impl FnOnce(&mut Settings<S>)) -> Self {
        let mut settings = Arc::unwrap_or_clone(self.0);
        change(&mut settings);
        Self(Arc::new(settings))
    }
}

impl<S: Store> Listed<S> {
    fn new(policy: Policy<S>, fields: FieldSet, local: &MemoryStore) -> Self {
        let (announced, local) = (policy.announced(fields), policy.local(local));
        Self { policy, announced, local }
    }
}

impl<S: Store> Settings<S> {
    /// Whether decisions are plain calls. All policies share one store.
    pub(crate) fn is_local(&self) -> bool {
        self.policies.first().is_some_and(|listed| listed.policy.limiter.store().is_local())
    }

    pub(crate) fn is_blocked(&self, request: &Parts) -> bool {
        self.block.iter().any(|is_refused| is_refused(request))
    }

    pub(crate) fn is_skipped(&self, request: &Parts) -> bool {
        self.skip.iter().any(|is_free| is_free(request))
    }
}

impl<S: Store> Clone for Listed<S> {
    fn clone(&self) -> Self {
        Self { policy: self.policy.clone(), announced: Arc::clone(&self.announced), local: self.local.clone() }
    }
}

impl<S: Store> From<Limiter<S>> for RateLimitLayer<S> {
    fn from(limiter: Limiter<S>) -> Self {
        Self::new(limiter)
    }
}

impl<S: Store> From<Policy<S>> for RateLimitLayer<S> {
    fn from(policy: Policy<S>) -> Self {
        Self::new(policy)
    }
}

impl<Svc, S: Store> Layer<Svc> for RateLimitLayer<S> {
    type Service = RateLimit<Svc, S>;

    fn layer(&self, inner: Svc) -> Self::Service {
        RateLimit::new(inner, Arc::clone(&self.0))
    }
}

impl<S: Store> Clone for RateLimitLayer<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Store> fmt::Debug for RateLimitLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RateLimitLayer").field(&self.0).finish()
    }
}

impl<S: Store> fmt::Debug for Settings<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policies: Vec<&Policy<S>> = self.policies.iter().map(|listed| &listed.policy).collect();
        f.debug_struct("Settings")
            .field("policies", &policies)
            .field("fields", &self.fields)
            .field("answers", &self.answers)
            .field("is_shadow", &self.is_shadow)
            .finish_non_exhaustive()
    }
}

//! The layer: what is limited, by which key, at which cost, and how that is told.

use super::RateLimit;
use crate::{
    Breaker, FieldSet, Policy, PolicyError, PolicyName, StoreFailure,
    decision::{Failing, Listed, Settings},
    key::KeyExtractor,
};
use http::request::Parts;
use limiter_core::{Limiter, MemoryStore, Store};
use std::{fmt, sync::Arc};
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

    fn with_first(self, change: impl FnOnce(Policy<S>) -> Policy<S>) -> Self {
        self.with(|settings| {
            if let Some(first) = settings.policies.first_mut() {
                *first = Listed::new(change(first.policy.clone()), settings.fields, &settings.local);
            }
        })
    }

    pub(super) fn with(self, change: impl FnOnce(&mut Settings<S>)) -> Self {
        let mut settings = Arc::unwrap_or_clone(self.0);
        change(&mut settings);
        Self(Arc::new(settings))
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

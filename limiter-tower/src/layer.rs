//! The layer: what is limited, by which key, at which cost, and how that is told.

use crate::{
    FieldSet, PolicyName, RateLimit,
    key::{Global, KeyExtractor},
    response::AnswersByQuota,
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
/// use limiter_tower::{HeaderKey, PolicyName, RateLimitLayer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = RateLimitLayer::new(Limiter::parse("10/s, 1000/h")?)
///     .key(HeaderKey::new(http::header::AUTHORIZATION))
///     .cost(|request| if request.uri.path().starts_with("/export") { 5 } else { 1 })
///     .policy_name(PolicyName::new("api")?);
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[must_use = "a layer limits nothing until it is applied"]
pub struct RateLimitLayer<S: Store = MemoryStore>(Arc<Settings<S>>);

/// What a layer and its services share.
#[derive(Clone)]
pub(crate) struct Settings<S: Store> {
    pub(crate) limiter: Limiter<S>,
    pub(crate) key: Arc<dyn KeyExtractor>,
    pub(crate) cost: Option<Arc<Cost>>,
    pub(crate) answers: Arc<AnswersByQuota>,
}

pub(crate) type Cost = dyn Fn(&Parts) -> u64 + Send + Sync;

impl<S: Store> RateLimitLayer<S> {
    /// All requests together under the limiter's quota, each of them one unit, until [`key`](Self::key) and
    /// [`cost`](Self::cost) say otherwise.
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
    pub fn new(limiter: Limiter<S>) -> Self {
        let answers = AnswersByQuota::new(PolicyName::default(), FieldSet::default(), limiter.quota().as_ref());
        Self(Arc::new(Settings { limiter, key: Arc::new(Global), cost: None, answers: Arc::new(answers) }))
    }

    /// Limits each key on its own: a closure over the request's head, or a ready-made extractor.
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
        self.with(|settings| settings.key = Arc::new(key))
    }

    /// What a request takes, in the quota's units; 1 by default. 0 looks only: it is admitted, and told what is left.
    ///
    /// A cost above the quota's capacity is answered with 413.
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
        self.with(|settings| settings.cost = Some(Arc::new(cost)))
    }

    /// The policy's name in header fields and problem bodies; `default` by default.
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
        self.with(|settings| {
            let fields = settings.answers.fields();
            settings.answers = Arc::new(AnswersByQuota::new(name, fields, settings.limiter.quota().as_ref()));
        })
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
            let name = settings.answers.name().clone();
            let quota = settings.limiter.quota();
            settings.answers = Arc::new(AnswersByQuota::new(name, fields.into(), quota.as_ref()));
        })
    }

    fn with(self, change: impl FnOnce(&mut Settings<S>)) -> Self {
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
        f.debug_struct("Settings")
            .field("limiter", &self.limiter)
            .field("policy_name", self.answers.name())
            .field("fields", &self.answers.fields())
            .finish_non_exhaustive()
    }
}

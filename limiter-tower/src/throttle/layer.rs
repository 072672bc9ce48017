//! The layer: whose turn a request waits for, at which cost, and for how long at most.

use crate::{IntoKey, KeyError, Throttle};
use limiter_core::{Acquire, KeyBuf, Limiter, MemoryStore, Store};
use std::{fmt, sync::Arc, time::Duration};
use tower_layer::Layer;

/// Makes the requests of any tower service wait for their turn, first come, first served on each key.
///
/// For what has no answer of its own to refuse with, clients above all: reqwest's `Client`, hyper's, gRPC channels,
/// database pools. The request may be of any type, `Req`. A request that cannot have its turn in
/// [`max_wait`](Self::max_wait) fails at once with a [`ThrottleError`](crate::ThrottleError) that says how long it would have
/// been. For a server that answers 429 see [`RateLimitLayer`](crate::RateLimitLayer).
///
/// Cheap to clone. All services made by a layer and its clones share the limiter's state, so it also limits where a
/// framework applies the layer anew for each connection or request.
///
/// ```
/// use limiter_core::Limiter;
/// use limiter_tower::ThrottleLayer;
/// use std::time::Duration;
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Never more than 100 queries in any second for a table, nor any that would wait for longer than a second.
/// let throttle = ThrottleLayer::new(Limiter::parse("sliding_log 100/s")?)
///     .key(|query: &(&'static str, u32)| query.0)
///     .max_wait(Duration::from_secs(1));
/// let database = service_fn(|(table, id)| async move { Ok::<_, std::io::Error>(format!("{table}:{id}")) });
/// let mut database = ServiceBuilder::new().layer(throttle).service(database);
/// assert_eq!(database.ready().await?.call(("users", 7)).await?, "users:7");
/// # Ok(())
/// # }
/// ```
#[must_use = "a layer throttles nothing until it is applied"]
pub struct ThrottleLayer<Req, S: Store = MemoryStore>(Arc<Settings<Req, S>>);

/// What a layer and its services share.
pub(super) struct Settings<Req, S: Store> {
    pub(super) limiter: Limiter<S>,
    key: Option<Arc<KeyOf<Req>>>,
    cost: Option<Arc<CostOf<Req>>>,
    max_wait: Option<Duration>,
}

type KeyOf<Req> = dyn Fn(&Req) -> Result<Option<KeyBuf>, KeyError> + Send + Sync;
type CostOf<Req> = dyn Fn(&Req) -> u64 + Send + Sync;

impl<Req, S: Store> ThrottleLayer<Req, S> {
    /// All requests together under the limiter's quota, each of them one unit, for as long as the limiter lets wait.
    pub fn new(limiter: Limiter<S>) -> Self {
        Self(Arc::new(Settings { limiter, key: None, cost: None, max_wait: None }))
    }

    /// Counts each key on its own. A closure may return a key, an `Option` (none: not throttled) or a `Result` (an error
    /// fails the call); see [`IntoKey`].
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::ThrottleLayer;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// // Each host by itself; requests without one are not throttled.
    /// let layer = ThrottleLayer::new(Limiter::parse("sliding_log 10/s")?)
    ///     .key(|request: &http::Request<String>| request.uri().host().map(str::to_owned));
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn key<K: IntoKey>(self, key: impl Fn(&Req) -> K + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.key = Some(Arc::new(move |request| key(request).into_key())))
    }

    /// What a request takes, in the quota's units; 1 by default. 0 passes at once.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::ThrottleLayer;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// // As many units as there are rows.
    /// let layer = ThrottleLayer::new(Limiter::parse("1000/s")?).cost(|rows: &Vec<String>| rows.len() as u64);
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn cost(self, cost: impl Fn(&Req) -> u64 + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.cost = Some(Arc::new(cost)))
    }

    /// How long a request waits at most; without it, as long as the limiter's own
    /// [`max_wait`](limiter_core::LimiterBuilder::max_wait) says, or for ever. Zero never waits.
    ///
    /// Who cannot have a turn in that time is told at once, and how long it would have been.
    pub fn max_wait(self, limit: Duration) -> Self {
        self.with(|settings| settings.max_wait = Some(limit))
    }

    fn with(self, change: impl FnOnce(&mut Settings<Req, S>)) -> Self {
        let mut settings = Arc::unwrap_or_clone(self.0);
        change(&mut settings);
        Self(Arc::new(settings))
    }
}

impl<Req, S: Store> Settings<Req, S> {
    /// The turn that a request has to wait for; `None` where it is not throttled.
    pub(super) fn turn(&self, request: &Req) -> Result<Option<Acquire<S>>, KeyError> {
        let key = match &self.key {
            Some(key) => key(request)?,
            None => Some(KeyBuf::new()),
        };
        let cost = self.cost.as_ref().map_or(1, |cost| cost(request));
        Ok(key.map(|key| {
            let turn = self.limiter.acquire(key).cost(cost);
            match self.max_wait {
                Some(limit) => turn.timeout(limit),
                None => turn,
            }
        }))
    }
}

impl<Req, S: Store> From<Limiter<S>> for ThrottleLayer<Req, S> {
    fn from(limiter: Limiter<S>) -> Self {
        Self::new(limiter)
    }
}

impl<Svc, Req, S: Store> Layer<Svc> for ThrottleLayer<Req, S> {
    type Service = Throttle<Svc, Req, S>;

    fn layer(&self, inner: Svc) -> Self::Service {
        Throttle::new(inner, Arc::clone(&self.0))
    }
}

impl<Req, S: Store> Clone for ThrottleLayer<Req, S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Req, S: Store> Clone for Settings<Req, S> {
    fn clone(&self) -> Self {
        let Self { limiter, key, cost, max_wait } = self;
        Self { limiter: limiter.clone(), key: key.clone(), cost: cost.clone(), max_wait: *max_wait }
    }
}

impl<Req, S: Store> fmt::Debug for ThrottleLayer<Req, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ThrottleLayer").field(&self.0).finish()
    }
}

impl<Req, S: Store> fmt::Debug for Settings<Req, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("limiter", &self.limiter)
            .field("max_wait", &self.max_wait)
            .finish_non_exhaustive()
    }
}

//! Keys made of what axum's extractors yield, which may take a while: a session, a signed-in user.

use axum::{
    body::Body,
    extract::{FromRequestParts, Request},
    response::{IntoResponse, Response},
};
use http::request::Parts;
use limiter_core::{KeyBuf, MemoryStore, Store};
use limiter_tower::{IntoKey, KeyError, KeyExtractor, RateLimit, RateLimitLayer, ResponseFuture};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower_layer::Layer;
use tower_service::Service;

/// A layer that runs the extractor `E` on each request and limits it by the key made of what that yields.
///
/// `limit` is a limiter, or a [`RateLimitLayer`] with costs and names, the key of whose first policy is replaced; its
/// other policies, and layers further in, reach the key by [`ExtractedKey`]. `key` may return whatever a closure given
/// to [`RateLimitLayer::key`] may. Where the extractor rejects a request, its rejection is the answer, and nothing is
/// taken; one that may find nothing, `Option<E>`, leaves it to `key`. Requests that the layer
/// [skips](RateLimitLayer::skip) or [blocks](RateLimitLayer::block) are not extracted from.
///
/// ```
/// use axum::{Router, extract::Query, routing::get};
/// use limiter_axum::from_extractor;
/// use limiter_core::Limiter;
/// use std::collections::HashMap;
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let by_tenant = |Query(query): Query<HashMap<String, String>>| query.get("tenant").cloned().unwrap_or_default();
/// let app: Router = Router::new()
///     .route("/", get(async || "hello"))
///     .layer(from_extractor(Limiter::parse("10/s")?, by_tenant));
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
pub fn from_extractor<E, F, K, S>(limit: impl Into<RateLimitLayer<S>>, key: F) -> FromExtractorLayer<S>
where
    E: FromRequestParts<()> + 'static,
    F: Fn(E) -> K + Send + Sync + 'static,
    K: IntoKey,
    S: Store,
{
    from_extractor_with_state((), limit, key)
}

/// As [`from_extractor`], for an extractor that needs the app's state.
///
/// ```
/// use axum::{Router, extract::State, routing::get};
/// use limiter_axum::from_extractor_with_state;
/// use limiter_core::Limiter;
///
/// #[derive(Clone)]
/// struct App {
///     region: u64,
/// }
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let state = App { region: 7 };
/// let region = |State(app): State<App>| app.region;
/// let by_region = from_extractor_with_state(state.clone(), Limiter::parse("10/s")?, region);
/// let app: Router = Router::new().route("/", get(async || "hello")).layer(by_region).with_state(state);
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
pub fn from_extractor_with_state<E, F, K, T, S>(
    state: T,
    limit: impl Into<RateLimitLayer<S>>,
    key: F,
) -> FromExtractorLayer<S>
where
    E: FromRequestParts<T> + 'static,
    F: Fn(E) -> K + Send + Sync + 'static,
    K: IntoKey,
    T: Send + Sync + 'static,
    S: Store,
{
    let shared = Arc::new((state, key));
    let extract = move |request: Request| -> Extracting {
        let shared = Arc::clone(&shared);
        Box::pin(async move {
            let (state, key) = &*shared;
            let (mut head, body) = request.into_parts();
            let extracted = match E::from_request_parts(&mut head, state).await {
                Ok(extracted) => Extracted(key(extracted).into_key()),
                Err(rejection) => return Err(rejection.into_response()),
            };
            head.extensions.insert(extracted);
            Ok(Request::from_parts(head, body))
        })
    };
    FromExtractorLayer { extract: Arc::new(extract), limit: limit.into().key(ExtractedKey) }
}

/// The key that [`from_extractor`] made of a request: for further policies of its layer, for layers further in, and for
/// tuples.
///
/// Where none made one, the request is answered with 500.
///
/// ```
/// use axum::{Router, http::HeaderMap, routing::get};
/// use limiter_axum::{ExtractedKey, MatchedRoute, RateLimitLayer, from_extractor};
/// use limiter_core::Limiter;
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let user = |headers: HeaderMap| headers.get("x-user").cloned(); // a session's, in earnest
/// let each_route = RateLimitLayer::new(Limiter::parse("5/s")?).key((ExtractedKey, MatchedRoute));
/// let app: Router = Router::new()
///     .route("/", get(async || "hello"))
///     .layer(each_route)
///     .layer(from_extractor(Limiter::parse("10/s")?, user));
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ExtractedKey;

impl KeyExtractor for ExtractedKey {
    fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError> {
        let found = request.extensions.get::<Extracted>().map(|extracted| extracted.0.clone());
        found.unwrap_or_else(|| {
            Err(KeyError::new("no key was extracted: from_extractor must stand outside of this limit"))
        })
    }
}

/// The key on its way from the extractor to the limit.
#[derive(Clone)]
struct Extracted(Result<Option<KeyBuf>, KeyError>);

/// The request with its key, or the extractor's rejection.
type Extracting = Pin<Box<dyn Future<Output = Result<Request, Response>> + Send>>;
type Extract = dyn Fn(Request) -> Extracting + Send + Sync;

/// The layer of [`from_extractor`]. Cheap to clone; clones share the limiter's state.
#[must_use = "a layer limits nothing until it is applied"]
pub struct FromExtractorLayer<S: Store = MemoryStore> {
    extract: Arc<Extract>,
    limit: RateLimitLayer<S>,
}

impl<Svc, S: Store> Layer<Svc> for FromExtractorLayer<S> {
    type Service = FromExtractor<Svc, S>;

    fn layer(&self, inner: Svc) -> Self::Service {
        FromExtractor { extract: Arc::clone(&self.extract), limited: self.limit.layer(inner) }
    }
}

/// The service of [`from_extractor`].
pub struct FromExtractor<Svc, S: Store = MemoryStore> {
    extract: Arc<Extract>,
    limited: RateLimit<Svc, S>,
}

impl<Svc, S> Service<Request> for FromExtractor<Svc, S>
where
    Svc: Service<Request, Response = Response> + Clone,
    S: Store,
{
    type Response = Response;
    type Error = Svc::Error;
    type Future = FromExtractorFuture<Svc, S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.limited.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (head, body) = request.into_parts();
        let needs_no_key = self.limited.needs_no_key(&head);
        let request = Request::from_parts(head, body);
        if needs_no_key {
            return FromExtractorFuture { step: Step::Limit { future: self.limited.call(request) } };
        }
        let fresh = self.limited.clone();
        let ready = mem::replace(&mut self.limited, fresh); // the one that was polled
        FromExtractorFuture { step: Step::Extract { extracting: (self.extract)(request), ready } }
    }
}

pin_project! {
    /// The future of a [`FromExtractor`] service.
    pub struct FromExtractorFuture<Svc, S>
    where
        Svc: Service<Request>,
        S: Store,
    {
        #[pin]
        step: Step<Svc, S>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<Svc, S>
    where
        Svc: Service<Request>,
        S: Store,
    {
        Extract { extracting: Extracting, ready: RateLimit<Svc, S> },
        Limit { #[pin] future: ResponseFuture<Svc, Body, Body> },
    }
}

impl<Svc, S> Future for FromExtractorFuture<Svc, S>
where
    Svc: Service<Request, Response = Response> + Clone,
    S: Store,
{
    type Output = Result<Response, Svc::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut step = self.project().step;
        loop {
            let future = match step.as_mut().project() {
                StepProjection::Extract { extracting, ready } => match ready!(extracting.as_mut().poll(cx)) {
                    Ok(request) => ready.call(request),
                    Err(rejection) => return Poll::Ready(Ok(rejection)),
                },
                StepProjection::Limit { future } => return future.poll(cx),
            };
            step.set(Step::Limit { future });
        }
    }
}

impl<S: Store> Clone for FromExtractorLayer<S> {
    fn clone(&self) -> Self {
        Self { extract: Arc::clone(&self.extract), limit: self.limit.clone() }
    }
}

impl<Svc: Clone, S: Store> Clone for FromExtractor<Svc, S> {
    fn clone(&self) -> Self {
        Self { extract: Arc::clone(&self.extract), limited: self.limited.clone() }
    }
}

impl<S: Store> fmt::Debug for FromExtractorLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromExtractorLayer").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl<Svc: fmt::Debug, S: Store> fmt::Debug for FromExtractor<Svc, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromExtractor").field("limited", &self.limited).finish_non_exhaustive()
    }
}

impl<Svc: Service<Request>, S: Store> fmt::Debug for FromExtractorFuture<Svc, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromExtractorFuture").finish_non_exhaustive()
    }
}

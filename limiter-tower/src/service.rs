//! The service: one decision a request, made in `call`.

use crate::{
    KeyError,
    future::ResponseFuture,
    layer::Settings,
    response::{Answers, Fields, no_key},
};
use http::{Request, Response, request::Parts};
use limiter_core::{Decision, Error, LocalStore, MemoryStore, Store};
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// An HTTP service behind a rate limit; made by a [`RateLimitLayer`](crate::RateLimitLayer).
///
/// Clones share the limiter's state.
///
/// ```
/// use http::{Request, Response};
/// use limiter_core::Limiter;
/// use limiter_tower::RateLimitLayer;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hello = service_fn(|_: Request<()>| async { Ok::<_, std::io::Error>(Response::new("hello".to_owned())) });
/// let service = RateLimitLayer::new(Limiter::parse("100/s")?).layer(hello);
/// let response = service.oneshot(Request::new(())).await?;
/// assert_eq!(response.headers()["ratelimit-policy"], r#""default";q=100;w=1"#);
/// assert_eq!(response.headers()["ratelimit"], r#""default";r=99;t=1"#);
/// # Ok(())
/// # }
/// ```
pub struct RateLimit<Svc, S: Store = MemoryStore> {
    inner: Svc,
    settings: Arc<Settings<S>>,
}

impl<Svc, S: Store> RateLimit<Svc, S> {
    pub(crate) fn new(inner: Svc, settings: Arc<Settings<S>>) -> Self {
        Self { inner, settings }
    }
}

impl<Svc, S, ReqBody, ResBody> Service<Request<ReqBody>> for RateLimit<Svc, S>
where
    Svc: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S: LocalStore,
    ResBody: From<String>,
{
    type Response = Response<ResBody>;
    type Error = Svc::Error;
    type Future = ResponseFuture<Svc::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let fields = match self.settings.decide(&head) {
            Ok(None) => None,
            Ok(Some((answers, Ok(decision)))) if decision.allowed() => {
                head.extensions.insert(decision.clone());
                Some(Fields::new(answers, decision))
            }
            Ok(Some((answers, Ok(denial)))) => return ResponseFuture::answer(answers.denied(&denial)),
            Ok(Some((answers, Err(error)))) => return ResponseFuture::answer(answers.failed(&error)),
            Err(error) => return ResponseFuture::answer(no_key(&error)),
        };
        ResponseFuture::inner(self.inner.call(Request::from_parts(head, body)), fields)
    }
}

/// What was decided, and how to tell it.
type Decided = (Arc<Answers>, Result<Decision, Error>);

impl<S: LocalStore> Settings<S> {
    /// `None` for a request without a key, which is not limited.
    fn decide(&self, request: &Parts) -> Result<Option<Decided>, KeyError> {
        let Some(key) = self.key.key(request)? else {
            return Ok(None);
        };
        let cost = self.cost.as_ref().map_or(1, |cost| cost(request));
        let answers = self.limiter.with_quota_of(&key, |quota| self.answers.of(quota));
        Ok(Some((answers, self.limiter.check_n(key, cost))))
    }
}

impl<Svc: Clone, S: Store> Clone for RateLimit<Svc, S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), settings: Arc::clone(&self.settings) }
    }
}

impl<Svc: fmt::Debug, S: Store> fmt::Debug for RateLimit<Svc, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("inner", &self.inner).field("settings", &self.settings).finish()
    }
}

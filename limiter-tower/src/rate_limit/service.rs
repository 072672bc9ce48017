//! The service: one decision a request, made in `call`.

use super::future::{Asking, ResponseFuture, follow};
use crate::{
    decision::{Question, Refused, Settings, Verdict},
    events::{Event, Outcome},
};
use http::{Request, Response, request::Parts};
use limiter_core::{MemoryStore, Store};
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
    pub(crate) settings: Arc<Settings<S>>,
}

impl<Svc, S: Store> RateLimit<Svc, S> {
    pub(crate) fn new(inner: Svc, settings: Arc<Settings<S>>) -> Self {
        Self { inner, settings }
    }

    /// Whether the layer's [`block`](crate::RateLimitLayer::block) or [`skip`](crate::RateLimitLayer::skip) decides on a
    /// request, so that nobody asks for its key: for a service around this one that makes the keys.
    ///
    /// ```
    /// use http::Request;
    /// use limiter_core::Limiter;
    /// use limiter_tower::RateLimitLayer;
    /// use tower::Layer;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = RateLimitLayer::new(Limiter::parse("100/s")?).skip(|request| request.uri.path() == "/health");
    /// let (head, ()) = Request::get("/health").body(())?.into_parts();
    /// assert!(layer.layer(()).needs_no_key(&head));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn needs_no_key(&self, request: &Parts) -> bool {
        self.settings.is_blocked(request) || self.settings.is_skipped(request)
    }
}

impl<Svc, S, ReqBody, ResBody> Service<Request<ReqBody>> for RateLimit<Svc, S>
where
    Svc: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    S: Store,
    ResBody: From<String>,
{
    type Response = Response<ResBody>;
    type Error = Svc::Error;
    type Future = ResponseFuture<Svc, ReqBody, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let settings = &self.settings;
        if settings.is_blocked(&head) {
            settings.tell(|| Event::plain(Outcome::Forbidden));
            return ResponseFuture::own(settings.answers.to(&head, &Refused::Forbidden));
        }
        if settings.is_skipped(&head) {
            if settings.answers.leaves_verdict {
                Verdict::leave_unlimited(&mut head.extensions);
            }
            return ResponseFuture::inner(self.inner.call(Request::from_parts(head, body)), None, None, false);
        }
        let question = match Question::new(settings, &head) {
            Ok(question) => question,
            Err(error) => {
                settings.tell(|| Event::plain(Outcome::NoKey));
                return ResponseFuture::own(settings.answers.to(&head, &Refused::NoKey(error)));
            }
        };
        if settings.is_local()
            && let Some(ruling) = settings.rule_now(&question)
        {
            return follow(ruling, &mut self.inner, head, body, &settings.answers);
        }
        let (settings, answers) = (Arc::clone(settings), Arc::clone(&settings.answers));
        // The service that was polled ready goes along; its clone stays, to be polled for the next request.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        if settings.waits() {
            // Who waits keeps no readiness from others: it is polled again when its turn has come.
            let service = self.inner.clone();
            drop(ready);
            let ruling = Box::pin(async move { settings.rule_waiting(question).await });
            return ResponseFuture::asking(ruling, Asking { head, body, service, is_ready: false, answers });
        }
        let ruling = Box::pin(async move { settings.rule(question).await });
        ResponseFuture::asking(ruling, Asking { head, body, service: ready, is_ready: true, answers })
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

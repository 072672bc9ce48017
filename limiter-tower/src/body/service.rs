//! The services: the body is paced on its way in, or on its way out.

use super::{
    ThrottledBody,
    future::ThrottleBodyFuture,
    settings::Settings,
    side::{OfRequests, OfResponses, Side},
};
use http::{Request, Response};
use http_body::Body;
use limiter_core::{MemoryStore, Store};
use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// An HTTP service whose requests' bodies are paced; made by a [`ThrottleRequestBodyLayer`](crate::ThrottleRequestBodyLayer).
pub type ThrottleRequestBody<Svc, S = MemoryStore> = ThrottleBody<Svc, OfRequests, S>;

/// An HTTP service whose responses' bodies are paced; made by a
/// [`ThrottleResponseBodyLayer`](crate::ThrottleResponseBodyLayer).
pub type ThrottleResponseBody<Svc, S = MemoryStore> = ThrottleBody<Svc, OfResponses, S>;

/// An HTTP service whose bodies are paced: a [`ThrottleRequestBody`] or a [`ThrottleResponseBody`].
pub struct ThrottleBody<Svc, Of, S: Store = MemoryStore> {
    inner: Svc,
    settings: Arc<Settings<S>>,
    of: PhantomData<fn() -> Of>,
}

impl<Svc, Of, S: Store> ThrottleBody<Svc, Of, S> {
    pub(super) fn new(inner: Svc, settings: Arc<Settings<S>>) -> Self {
        Self { inner, settings, of: PhantomData }
    }
}

impl<Svc, S, ReqBody, ResBody> Service<Request<ReqBody>> for ThrottleBody<Svc, OfRequests, S>
where
    Svc: Service<Request<ThrottledBody<ReqBody, S>>, Response = Response<ResBody>>,
    S: Store,
    ReqBody: Body,
    ResBody: From<String>,
{
    type Response = Response<ResBody>;
    type Error = Svc::Error;
    type Future = ThrottleBodyFuture<Svc::Future, OfRequests, S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (head, body) = request.into_parts();
        match self.settings.key(&head) {
            Ok(key) => {
                let request = Request::from_parts(head, self.settings.body(body, key));
                ThrottleBodyFuture::inner(self.inner.call(request), None, &self.settings)
            }
            Err(own) => ThrottleBodyFuture::own(own, &self.settings),
        }
    }
}

impl<Svc, S, ReqBody, ResBody> Service<Request<ReqBody>> for ThrottleBody<Svc, OfResponses, S>
where
    Svc: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S: Store,
    ResBody: Body + From<String>,
{
    type Response = Response<ThrottledBody<ResBody, S>>;
    type Error = Svc::Error;
    type Future = ThrottleBodyFuture<Svc::Future, OfResponses, S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (head, body) = request.into_parts();
        match self.settings.key(&head) {
            Ok(key) => {
                let future = self.inner.call(Request::from_parts(head, body));
                ThrottleBodyFuture::inner(future, key, &self.settings)
            }
            Err(own) => ThrottleBodyFuture::own(own, &self.settings),
        }
    }
}

impl<Svc: Clone, Of, S: Store> Clone for ThrottleBody<Svc, Of, S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.settings))
    }
}

impl<Svc: fmt::Debug, Of: Side, S: Store> fmt::Debug for ThrottleBody<Svc, Of, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottleBody")
            .field("of", &Of::NAME)
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish()
    }
}

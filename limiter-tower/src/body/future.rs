//! The answer to come: the inner service's, or one that says why there is no key.

use super::{
    ThrottledBody,
    settings::Settings,
    side::{OfRequests, OfResponses},
};
use http::Response;
use http_body::Body;
use limiter_core::{KeyBuf, MemoryStore, Store};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// The future of a [`ThrottleRequestBody`](crate::ThrottleRequestBody).
pub type ThrottleRequestBodyFuture<F, S = MemoryStore> = ThrottleBodyFuture<F, OfRequests, S>;

/// The future of a [`ThrottleResponseBody`](crate::ThrottleResponseBody).
pub type ThrottleResponseBodyFuture<F, S = MemoryStore> = ThrottleBodyFuture<F, OfResponses, S>;

pin_project! {
    /// The future of a [`ThrottleRequestBody`](crate::ThrottleRequestBody) or a
    /// [`ThrottleResponseBody`](crate::ThrottleResponseBody).
    #[must_use = "futures do nothing unless polled"]
    pub struct ThrottleBodyFuture<F, Of, S = MemoryStore>
    where
        S: Store,
    {
        #[pin]
        stage: Stage<F>,
        settings: Arc<Settings<S>>,
        of: PhantomData<fn() -> Of>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F> {
        // The key is that of the response's body, where that is the one to be paced.
        Inner { #[pin] future: F, key: Option<KeyBuf> },
        Own { response: Option<Box<Response<String>>> },
    }
}

impl<F, Of, S: Store> ThrottleBodyFuture<F, Of, S> {
    pub(super) fn inner(future: F, key: Option<KeyBuf>, settings: &Arc<Settings<S>>) -> Self {
        Self { stage: Stage::Inner { future, key }, settings: Arc::clone(settings), of: PhantomData }
    }

    pub(super) fn own(response: Box<Response<String>>, settings: &Arc<Settings<S>>) -> Self {
        Self { stage: Stage::Own { response: Some(response) }, settings: Arc::clone(settings), of: PhantomData }
    }

    /// The inner service's body by `paced`, or an own answer's.
    fn poll_with<ResBody, B: From<String>, E>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        paced: impl FnOnce(&Settings<S>, Option<KeyBuf>, ResBody) -> B,
    ) -> Poll<Result<Response<B>, E>>
    where
        F: Future<Output = Result<Response<ResBody>, E>>,
    {
        let this = self.project();
        match this.stage.project() {
            StageProjection::Inner { future, key } => {
                let response = ready!(future.poll(cx))?;
                Poll::Ready(Ok(response.map(|body| paced(this.settings, key.take(), body))))
            }
            // Polled again after its end, it stays silent instead of panicking.
            StageProjection::Own { response } => {
                response.take().map_or(Poll::Pending, |own| Poll::Ready(Ok((*own).map(B::from))))
            }
        }
    }
}

impl<F, S, ResBody, E> Future for ThrottleBodyFuture<F, OfRequests, S>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    S: Store,
    ResBody: From<String>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.poll_with(cx, |_, _, body| body)
    }
}

impl<F, S, ResBody, E> Future for ThrottleBodyFuture<F, OfResponses, S>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    S: Store,
    ResBody: Body + From<String>,
{
    type Output = Result<Response<ThrottledBody<ResBody, S>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_with(cx, |settings, key, body| settings.body(body, key))
    }
}

impl<F, Of, S: Store> fmt::Debug for ThrottleBodyFuture<F, Of, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottleBodyFuture").finish_non_exhaustive()
    }
}

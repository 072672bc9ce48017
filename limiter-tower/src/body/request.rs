//! The bodies of requests: what a server receives, or a client sends.

use super::{ThrottledBody, settings::Settings};
use crate::KeyExtractor;
use http::{Request, Response};
use http_body::Body;
use limiter_core::{Limiter, MemoryStore, Store};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;

/// Paces the bytes of request bodies, a unit of the quota a byte: uploads, where it stands before a server.
///
/// The inner service sees a [`ThrottledBody`] of what was sent. Nothing is read ahead, so that the sender slows down with it.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Full};
/// use limiter_core::Limiter;
/// use limiter_tower::{ThrottleRequestBodyLayer, ThrottledBody};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let length = service_fn(|request: Request<ThrottledBody<Full<Bytes>>>| async {
///     let bytes = request.into_body().collect().await?.to_bytes();
///     Ok::<_, limiter_tower::ThrottleError>(Response::new(bytes.len().to_string()))
/// });
/// let uploads = ThrottleRequestBodyLayer::new(Limiter::parse("1000000/s burst 65536")?);
/// let service = ServiceBuilder::new().layer(uploads).service(length);
/// let response = service.oneshot(Request::new(Full::from("thirteen byte"))).await?;
/// assert_eq!(response.into_body(), "13");
/// # Ok(())
/// # }
/// ```
#[must_use = "a layer throttles nothing until it is applied"]
pub struct ThrottleRequestBodyLayer<S: Store = MemoryStore>(Arc<Settings<S>>);

impl<S: Store> ThrottleRequestBodyLayer<S> {
    /// All bodies together under the limiter's quota, until [`key`](Self::key) says otherwise.
    pub fn new(limiter: Limiter<S>) -> Self {
        Self(Arc::new(Settings::new(limiter)))
    }

    /// Counts the bytes of each key on its own, by the request's head. Without a key a body is not throttled; where the
    /// key cannot be had, the request is answered with the error.
    pub fn key(self, key: impl KeyExtractor) -> Self {
        self.with(|settings| settings.set_key(key))
    }

    /// The most bytes to let through at once; see [`ThrottledBody::piece`].
    pub fn piece(self, bytes: u64) -> Self {
        self.with(|settings| settings.set_piece(bytes))
    }

    fn with(self, change: impl FnOnce(&mut Settings<S>)) -> Self {
        let mut settings = Arc::unwrap_or_clone(self.0);
        change(&mut settings);
        Self(Arc::new(settings))
    }
}

impl<Svc, S: Store> Layer<Svc> for ThrottleRequestBodyLayer<S> {
    type Service = ThrottleRequestBody<Svc, S>;

    fn layer(&self, inner: Svc) -> Self::Service {
        ThrottleRequestBody { inner, settings: Arc::clone(&self.0) }
    }
}

impl<S: Store> Clone for ThrottleRequestBodyLayer<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Store> fmt::Debug for ThrottleRequestBodyLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ThrottleRequestBodyLayer").field(&self.0).finish()
    }
}

/// An HTTP service whose requests' bodies are paced; made by a [`ThrottleRequestBodyLayer`].
pub struct ThrottleRequestBody<Svc, S: Store = MemoryStore> {
    inner: Svc,
    settings: Arc<Settings<S>>,
}

impl<Svc, S, ReqBody, ResBody> Service<Request<ReqBody>> for ThrottleRequestBody<Svc, S>
where
    Svc: Service<Request<ThrottledBody<ReqBody, S>>, Response = Response<ResBody>>,
    S: Store,
    ReqBody: Body,
    ResBody: From<String>,
{
    type Response = Response<ResBody>;
    type Error = Svc::Error;
    type Future = ThrottleRequestBodyFuture<Svc::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (head, body) = request.into_parts();
        match self.settings.key(&head) {
            Ok(key) => {
                let request = Request::from_parts(head, self.settings.body(body, key));
                ThrottleRequestBodyFuture { stage: Stage::Inner { future: self.inner.call(request) } }
            }
            Err(own) => ThrottleRequestBodyFuture { stage: Stage::Own { response: Some(own) } },
        }
    }
}

pin_project! {
    /// The future of a [`ThrottleRequestBody`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ThrottleRequestBodyFuture<F> {
        #[pin]
        stage: Stage<F>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F> {
        Inner { #[pin] future: F },
        Own { response: Option<Box<Response<String>>> },
    }
}

impl<F, ResBody, E> Future for ThrottleRequestBodyFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    ResBody: From<String>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project().stage.project() {
            StageProjection::Inner { future } => future.poll(cx),
            // Polled again after its end, it stays silent instead of panicking.
            StageProjection::Own { response } => {
                response.take().map_or(Poll::Pending, |own| Poll::Ready(Ok((*own).map(ResBody::from))))
            }
        }
    }
}

impl<Svc: Clone, S: Store> Clone for ThrottleRequestBody<Svc, S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), settings: Arc::clone(&self.settings) }
    }
}

impl<Svc: fmt::Debug, S: Store> fmt::Debug for ThrottleRequestBody<Svc, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottleRequestBody").field("inner", &self.inner).field("settings", &self.settings).finish()
    }
}

impl<F> fmt::Debug for ThrottleRequestBodyFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottleRequestBodyFuture").finish_non_exhaustive()
    }
}

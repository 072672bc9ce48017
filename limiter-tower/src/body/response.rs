//! The bodies of responses: what a server sends, or a client receives.

use super::{ThrottledBody, settings::Settings};
use crate::KeyExtractor;
use http::{Request, Response};
use http_body::Body;
use limiter_core::{KeyBuf, Limiter, MemoryStore, Store};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower_layer::Layer;
use tower_service::Service;

/// Paces the bytes of response bodies, a unit of the quota a byte: downloads, where it stands before a server.
///
/// The response's body becomes a [`ThrottledBody`] of what it was. Heads pass at once and are not counted.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Full};
/// use limiter_core::Limiter;
/// use limiter_tower::{ExtensionKey, ThrottleResponseBodyLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file = service_fn(|_: Request<()>| async {
///     Ok::<_, std::io::Error>(Response::new(Full::new(Bytes::from_static(b"thirteen byte"))))
/// });
/// // A megabyte a second for each user that a layer further out has signed in, however many downloads share it.
/// let limiter = Limiter::parse("1000000/s burst 65536")?;
/// let downloads = ThrottleResponseBodyLayer::new(limiter).key(ExtensionKey::<u64>::new().optional());
/// let response = ServiceBuilder::new().layer(downloads).service(file).oneshot(Request::new(())).await?;
/// assert_eq!(response.into_body().collect().await?.to_bytes().len(), 13);
/// # Ok(())
/// # }
/// ```
#[must_use = "a layer throttles nothing until it is applied"]
pub struct ThrottleResponseBodyLayer<S: Store = MemoryStore>(Arc<Settings<S>>);

impl<S: Store> ThrottleResponseBodyLayer<S> {
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

impl<Svc, S: Store> Layer<Svc> for ThrottleResponseBodyLayer<S> {
    type Service = ThrottleResponseBody<Svc, S>;

    fn layer(&self, inner: Svc) -> Self::Service {
        ThrottleResponseBody { inner, settings: Arc::clone(&self.0) }
    }
}

impl<S: Store> Clone for ThrottleResponseBodyLayer<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Store> fmt::Debug for ThrottleResponseBodyLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ThrottleResponseBodyLayer").field(&self.0).finish()
    }
}

/// An HTTP service whose responses' bodies are paced; made by a [`ThrottleResponseBodyLayer`].
pub struct ThrottleResponseBody<Svc, S: Store = MemoryStore> {
    inner: Svc,
    settings: Arc<Settings<S>>,
}

impl<Svc, S, ReqBody, ResBody> Service<Request<ReqBody>> for ThrottleResponseBody<Svc, S>
where
    Svc: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S: Store,
    ResBody: Body + From<String>,
{
    type Response = Response<ThrottledBody<ResBody, S>>;
    type Error = Svc::Error;
    type Future = ThrottleResponseBodyFuture<Svc::Future, S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (head, body) = request.into_parts();
        let stage = match self.settings.key(&head) {
            Ok(key) => Stage::Inner { future: self.inner.call(Request::from_parts(head, body)), key },
            Err(own) => Stage::Own { response: Some(own) },
        };
        ThrottleResponseBodyFuture { stage, settings: Arc::clone(&self.settings) }
    }
}

pin_project! {
    /// The future of a [`ThrottleResponseBody`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ThrottleResponseBodyFuture<F, S = MemoryStore>
    where
        S: Store,
    {
        #[pin]
        stage: Stage<F>,
        settings: Arc<Settings<S>>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F> {
        Inner { #[pin] future: F, key: Option<KeyBuf> },
        Own { response: Option<Box<Response<String>>> },
    }
}

impl<F, S, ResBody, E> Future for ThrottleResponseBodyFuture<F, S>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    S: Store,
    ResBody: Body + From<String>,
{
    type Output = Result<Response<ThrottledBody<ResBody, S>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.stage.project() {
            StageProjection::Inner { future, key } => {
                let response = ready!(future.poll(cx))?;
                Poll::Ready(Ok(response.map(|body| this.settings.body(body, key.take()))))
            }
            // Polled again after its end, it stays silent instead of panicking.
            StageProjection::Own { response } => {
                response.take().map_or(Poll::Pending, |own| Poll::Ready(Ok((*own).map(ThrottledBody::from))))
            }
        }
    }
}

impl<Svc: Clone, S: Store> Clone for ThrottleResponseBody<Svc, S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), settings: Arc::clone(&self.settings) }
    }
}

impl<Svc: fmt::Debug, S: Store> fmt::Debug for ThrottleResponseBody<Svc, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottleResponseBody").field("inner", &self.inner).field("settings", &self.settings).finish()
    }
}

impl<F, S: Store> fmt::Debug for ThrottleResponseBodyFuture<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottleResponseBodyFuture").finish_non_exhaustive()
    }
}

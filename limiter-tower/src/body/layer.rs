//! The layers: one for requests, one for responses.

use super::{
    service::ThrottleBody,
    settings::Settings,
    side::{OfRequests, OfResponses, Side},
};
use crate::KeyExtractor;
use limiter_core::{Limiter, MemoryStore, Store};
use std::{fmt, marker::PhantomData, sync::Arc};
use tower_layer::Layer;

/// Paces the bytes of request bodies, a unit of the quota a byte: uploads, where it stands before a server.
///
/// The inner service sees a [`ThrottledBody`](crate::ThrottledBody) of what was sent. Nothing is read ahead, so that the sender slows down with it.
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
pub type ThrottleRequestBodyLayer<S = MemoryStore> = ThrottleBodyLayer<OfRequests, S>;

/// Paces the bytes of response bodies, a unit of the quota a byte: downloads, where it stands before a server.
///
/// The response's body becomes a [`ThrottledBody`](crate::ThrottledBody) of what it was. Heads pass at once and are not counted.
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
pub type ThrottleResponseBodyLayer<S = MemoryStore> = ThrottleBodyLayer<OfResponses, S>;

/// Paces the bytes of bodies: a [`ThrottleRequestBodyLayer`] or a [`ThrottleResponseBodyLayer`].
#[must_use = "a layer throttles nothing until it is applied"]
pub struct ThrottleBodyLayer<Of, S: Store = MemoryStore> {
    settings: Arc<Settings<S>>,
    of: PhantomData<fn() -> Of>,
}

impl<Of: Side, S: Store> ThrottleBodyLayer<Of, S> {
    /// All bodies together under the limiter's quota, until [`key`](Self::key) says otherwise.
    pub fn new(limiter: Limiter<S>) -> Self {
        Self { settings: Arc::new(Settings::new(limiter)), of: PhantomData }
    }

    /// Counts the bytes of each key on its own, by the request's head. Without a key a body is not throttled; where the
    /// key cannot be had, the request is answered with the error.
    pub fn key(self, key: impl KeyExtractor) -> Self {
        self.with(|settings| settings.set_key(key))
    }

    /// The most bytes to let through at once; see [`ThrottledBody::piece`](crate::ThrottledBody::piece).
    pub fn piece(self, bytes: u64) -> Self {
        self.with(|settings| settings.set_piece(bytes))
    }

    fn with(self, change: impl FnOnce(&mut Settings<S>)) -> Self {
        let mut settings = Arc::unwrap_or_clone(self.settings);
        change(&mut settings);
        Self { settings: Arc::new(settings), of: PhantomData }
    }
}

impl<Svc, Of, S: Store> Layer<Svc> for ThrottleBodyLayer<Of, S> {
    type Service = ThrottleBody<Svc, Of, S>;

    fn layer(&self, inner: Svc) -> Self::Service {
        ThrottleBody::new(inner, Arc::clone(&self.settings))
    }
}

impl<Of, S: Store> Clone for ThrottleBodyLayer<Of, S> {
    fn clone(&self) -> Self {
        Self { settings: Arc::clone(&self.settings), of: PhantomData }
    }
}

impl<Of: Side, S: Store> fmt::Debug for ThrottleBodyLayer<Of, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottleBodyLayer").field("of", &Of::NAME).field("settings", &self.settings).finish()
    }
}

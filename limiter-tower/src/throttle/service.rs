//! The service: a request is passed on at once where there is room, else it waits in line.

use super::{ThrottleError, ThrottleFuture, error::BoxError, layer::Settings};
use limiter_core::{MemoryStore, Store};
use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tower_service::Service;

/// A service whose requests wait for their turn; made by a [`ThrottleLayer`](crate::ThrottleLayer).
///
/// * **Clones share the limiter's state**, and so does every service of one layer.
/// * **Order.** Requests of one key are passed on in the order of `call`; over a store that is not in this process, in
///   the order in which their futures are first polled.
/// * **`poll_ready` only forwards.** With a store in this process and units at hand, `call` passes the request on to the
///   service that was polled ready, and boxes nothing. A request that has to wait holds no place of an inner service that
///   has few of them (a buffer's, a concurrency limit's): the service that was polled ready is dropped, and a clone of it
///   is polled ready after the grant. Hence the bound `Svc: Clone`: a service that cannot be cloned waits for nobody
///   else meanwhile, and must stand behind something that can, as tower's `Buffer`.
/// * **The pace is that of the grants.** What was granted goes out once the inner service is ready for it.
/// * **A call that is dropped before its request was passed on** leaves the line and gives its units back, and so does one
///   whose inner service fails to become ready. Once passed on, a request is charged, also where it fails on its way: whether
///   it was sent cannot be told here.
/// * **A limiter with [`at_once`](limiter_core::LimiterBuilder::at_once)** counts a request as at work until the inner
///   future ends: for HTTP, until the response's head is there.
///
/// ```
/// use limiter_core::Limiter;
/// use limiter_tower::{Throttle, ThrottleLayer};
/// use tower::{Layer, Service, ServiceExt};
///
/// struct Api {
///     client: Throttle<reqwest::Client, reqwest::Request>,
/// }
///
/// impl Api {
///     async fn get(&mut self, url: reqwest::Url) -> Result<String, Box<dyn std::error::Error>> {
///         let request = reqwest::Request::new(reqwest::Method::GET, url);
///         Ok(self.client.ready().await?.call(request).await?.text().await?)
///     }
/// }
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let throttle = ThrottleLayer::new(Limiter::parse("sliding_log 10/s")?);
/// let api = Api { client: throttle.layer(reqwest::Client::new()) };
/// # let _ = api;
/// # Ok(())
/// # }
/// ```
pub struct Throttle<Svc, Req, S: Store = MemoryStore> {
    inner: Svc,
    settings: Arc<Settings<Req, S>>,
}

impl<Svc, Req, S: Store> Throttle<Svc, Req, S> {
    pub(super) fn new(inner: Svc, settings: Arc<Settings<Req, S>>) -> Self {
        Self { inner, settings }
    }
}

impl<Svc, Req, S> Service<Req> for Throttle<Svc, Req, S>
where
    Svc: Service<Req> + Clone,
    Svc::Error: Into<BoxError>,
    S: Store,
{
    type Response = Svc::Response;
    type Error = ThrottleError;
    type Future = ThrottleFuture<Svc, Req, S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ThrottleError>> {
        self.inner.poll_ready(cx).map_err(ThrottleError::from_inner)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let mut turn = match self.settings.turn(&request) {
            Ok(Some(turn)) => turn.into_future(),
            Ok(None) => return ThrottleFuture::sent(self.inner.call(request), None),
            Err(error) => return ThrottleFuture::failed(ThrottleError::Key(error)),
        };
        if self.settings.limiter.store().is_local() {
            // It decides in place. Whoever has to wait is in line from here on, and polled again by the caller.
            match Pin::new(&mut turn).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(permit)) => return ThrottleFuture::sent(self.inner.call(request), Some(permit)),
                Poll::Ready(Err(error)) => return ThrottleFuture::failed(ThrottleError::Refused(error)),
                Poll::Pending => {}
            }
        }
        let service = self.inner.clone();
        self.inner = service.clone(); // drops the one that was polled ready, and what it holds
        ThrottleFuture::waiting(turn, service, request)
    }
}

impl<Svc: Clone, Req, S: Store> Clone for Throttle<Svc, Req, S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), settings: Arc::clone(&self.settings) }
    }
}

impl<Svc: fmt::Debug, Req, S: Store> fmt::Debug for Throttle<Svc, Req, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("inner", &self.inner).field("settings", &self.settings).finish()
    }
}

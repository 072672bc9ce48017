//! Responses to the end of their bodies (feature `body`).

use super::{RateLimit, RateLimitLayer};
use crate::{
    PolicyName,
    settle::{OfBody, Rest},
};
use bytes::Buf;
use http::{Extensions, Request, Response};
use http_body::{Body, Frame, SizeHint};
use limiter_core::{MemoryStore, Store};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};
use tower_layer::Layer;
use tower_service::Service;

/// A [`RateLimitLayer`] that looks after responses until their bodies have ended, or are dropped; made by
/// [`RateLimitLayer::whole_responses`].
///
/// Bodies become [`CountedBody`]s, which pass everything on as it is. Two things follow:
///
/// * Where a limiter bounds how many requests are at work [at once](limiter_core::LimiterBuilder::at_once), a request is
///   until its response's body has ended.
/// * A request can be settled by the bytes that went out: [`true_cost_of_body`](Self::true_cost_of_body).
#[must_use = "a layer limits nothing until it is applied"]
pub struct WholeResponseLayer<S: Store = MemoryStore>(RateLimitLayer<S>);

impl<S: Store> RateLimitLayer<S> {
    /// Looks after responses until their bodies have ended; to be called when all else is set. Feature `body`.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::RateLimitLayer;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// // Three downloads of a user at once, from the request to the last byte.
    /// let limiter = Limiter::builder("100/min".parse()?).at_once(3).build();
    /// let layer = RateLimitLayer::new(limiter).whole_responses();
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn whole_responses(self) -> WholeResponseLayer<S> {
        WholeResponseLayer(self.with_answers(|answers| answers.leaves_rest = true))
    }
}

impl<S: Store> WholeResponseLayer<S> {
    /// Corrects what a request took to what it really cost by the bytes of its response's body, as they went out: a number
    /// of units for each policy that takes part, or `None` where the bytes do not matter to it.
    ///
    /// It is asked once the body has ended or is dropped, of a streamed one too, and only where neither
    /// [`true_cost`](crate::Policy::true_cost) nor a refund has said by the response's head what it cost. The header
    /// fields tell what was left before. What is more than was taken is charged without asking, into at most one quota of
    /// debt. Where the inner service fails, or the store does then, what was taken stays as it is.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::RateLimitLayer;
    ///
    /// # fn main() -> Result<(), limiter_core::QuotaError> {
    /// // Ten megabytes a minute, in units of a byte; who has one left may have a whole download.
    /// let layer = RateLimitLayer::new(Limiter::parse("10000000/min")?)
    ///     .whole_responses()
    ///     .true_cost_of_body(|_policy, bytes| Some(bytes));
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn true_cost_of_body(self, cost: impl Fn(&PolicyName, u64) -> Option<u64> + Send + Sync + 'static) -> Self {
        let cost = Arc::new(cost);
        Self(self.0.with(|settings| {
            for listed in &mut settings.policies {
                let (name, cost) = (listed.policy.name().clone(), Arc::clone(&cost));
                listed.policy.rules.of_body = Some(OfBody(Arc::new(move |bytes| cost(&name, bytes))));
            }
        }))
    }
}

impl<Svc, S: Store> Layer<Svc> for WholeResponseLayer<S> {
    type Service = WholeResponse<Svc, S>;

    fn layer(&self, inner: Svc) -> Self::Service {
        WholeResponse(self.0.layer(inner))
    }
}

impl<S: Store> Clone for WholeResponseLayer<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Store> fmt::Debug for WholeResponseLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WholeResponseLayer").field(&self.0).finish()
    }
}

/// An HTTP service behind a rate limit that looks after whole responses; made by a [`WholeResponseLayer`].
pub struct WholeResponse<Svc, S: Store = MemoryStore>(RateLimit<Svc, S>);

impl<Svc, S, ReqBody, ResBody> Service<Request<ReqBody>> for WholeResponse<Svc, S>
where
    Svc: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    S: Store,
    ResBody: From<String>,
{
    type Response = Response<CountedBody<ResBody>>;
    type Error = Svc::Error;
    type Future = WholeResponseFuture<<RateLimit<Svc, S> as Service<Request<ReqBody>>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        WholeResponseFuture { future: self.0.call(request) }
    }
}

impl<Svc: Clone, S: Store> Clone for WholeResponse<Svc, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Svc: fmt::Debug, S: Store> fmt::Debug for WholeResponse<Svc, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WholeResponse").field(&self.0).finish()
    }
}

pin_project! {
    /// The future of a [`WholeResponse`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct WholeResponseFuture<F> {
        #[pin]
        future: F,
    }
}

impl<F, ResBody, E> Future for WholeResponseFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
{
    type Output = Result<Response<CountedBody<ResBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = ready!(self.project().future.poll(cx))?;
        let rest = take(response.extensions_mut());
        Poll::Ready(Ok(response.map(|body| CountedBody { body, count: Count { bytes: 0, rest } })))
    }
}

/// What is held beyond a response's head, in its extensions: for whoever takes it first.
#[derive(Clone)]
struct Beyond(Arc<Mutex<Option<Rest>>>);

/// Leaves it for the [`WholeResponse`] around the service.
pub(super) fn leave(rest: Rest, extensions: &mut Extensions) {
    extensions.insert(Beyond(Arc::new(Mutex::new(Some(rest)))));
}

fn take(extensions: &mut Extensions) -> Option<Rest> {
    let Beyond(rest) = extensions.remove()?;
    rest.lock().unwrap_or_else(PoisonError::into_inner).take()
}

pin_project! {
    /// A body whose bytes are counted as they pass, for a [`WholeResponseLayer`].
    #[derive(Debug)]
    pub struct CountedBody<B> {
        #[pin]
        body: B,
        count: Count,
    }
}

/// What has passed, and what is to be put right when no more does.
#[derive(Debug)]
struct Count {
    bytes: u64,
    rest: Option<Rest>,
}

impl Count {
    fn end(&mut self) {
        if let Some(Rest { places, counted }) = self.rest.take() {
            counted.into_iter().for_each(|settle| settle(self.bytes));
            drop(places);
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.end();
    }
}

impl<B: Body> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining);
                this.count.bytes = this.count.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
            }
            Some(Err(_)) => {}
            None => this.count.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: From<String>> From<String> for CountedBody<B> {
    /// An answer of a layer's own, which nothing is held for.
    fn from(text: String) -> Self {
        Self { body: B::from(text), count: Count { bytes: 0, rest: None } }
    }
}

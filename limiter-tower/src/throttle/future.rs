//! A throttled call: in line, then waiting for the inner service to be ready, then its answer.

use super::{ThrottleError, error::BoxError};
use limiter_core::{AcquireFuture, MemoryStore, Permit, Store};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

pin_project! {
    /// The future of a [`Throttle`](crate::Throttle) service.
    #[must_use = "futures do nothing unless polled"]
    pub struct ThrottleFuture<Svc, Req, S = MemoryStore>
    where
        Svc: Service<Req>,
        S: Store,
    {
        #[pin]
        stage: Stage<Svc, Req, S>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<Svc, Req, S>
    where
        Svc: Service<Req>,
        S: Store,
    {
        InLine { turn: AcquireFuture<S>, next: Option<(Svc, Req)> },
        Granted { unsent: Unsent<S>, next: Option<(Svc, Req)> },
        // The permit counts the request as at work.
        Sent { #[pin] future: Svc::Future, permit: Option<Permit<S>> },
        Failed { error: Option<ThrottleError> },
    }
}

/// A permit that goes back when dropped, as nothing was done with it yet.
struct Unsent<S: Store>(Option<Permit<S>>);

impl<S: Store> Drop for Unsent<S> {
    fn drop(&mut self) {
        if let Some(permit) = self.0.take() {
            permit.refund_detached();
        }
    }
}

impl<Svc: Service<Req>, Req, S: Store> ThrottleFuture<Svc, Req, S> {
    /// Waits for `turn`, then passes `request` on to `service` once that is ready.
    pub(super) fn waiting(turn: AcquireFuture<S>, service: Svc, request: Req) -> Self {
        Self { stage: Stage::InLine { turn, next: Some((service, request)) } }
    }

    /// The answer to a request that was passed on.
    pub(super) fn sent(future: Svc::Future, permit: Option<Permit<S>>) -> Self {
        Self { stage: Stage::Sent { future, permit } }
    }

    pub(super) fn failed(error: ThrottleError) -> Self {
        Self { stage: Stage::Failed { error: Some(error) } }
    }
}

impl<Svc, Req, S> Future for ThrottleFuture<Svc, Req, S>
where
    Svc: Service<Req>,
    Svc::Error: Into<BoxError>,
    S: Store,
{
    type Output = Result<Svc::Response, ThrottleError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.project().stage;
        loop {
            let next = match stage.as_mut().project() {
                StageProjection::InLine { turn, next } => match ready!(Pin::new(turn).poll(cx)) {
                    Ok(permit) => Stage::Granted { unsent: Unsent(Some(permit)), next: next.take() },
                    Err(error) => Stage::Failed { error: Some(ThrottleError::Refused(error)) },
                },
                StageProjection::Granted { unsent, next } => {
                    let Some((service, _)) = next.as_mut() else { return Poll::Pending };
                    match ready!(service.poll_ready(cx)) {
                        Ok(()) => {}
                        Err(error) => {
                            stage.set(Stage::Failed { error: None }); // which gives the units back
                            return Poll::Ready(Err(ThrottleError::from_inner(error)));
                        }
                    }
                    let Some((mut service, request)) = next.take() else { return Poll::Pending };
                    let permit = unsent.0.take(); // charged also where the call panics
                    Stage::Sent { future: service.call(request), permit }
                }
                StageProjection::Sent { future, permit } => {
                    let answer = ready!(future.poll(cx));
                    *permit = None; // not at work any more, even if this future is kept
                    return Poll::Ready(answer.map_err(ThrottleError::from_inner));
                }
                // Polled again after its end, it stays silent instead of panicking.
                StageProjection::Failed { error } => {
                    return error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
                }
            };
            stage.set(next);
        }
    }
}

impl<Svc: Service<Req>, Req, S: Store> fmt::Debug for ThrottleFuture<Svc, Req, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::InLine { .. } => "InLine",
            Stage::Granted { .. } => "Granted",
            Stage::Sent { .. } => "Sent",
            Stage::Failed { .. } => "Failed",
        };
        f.debug_tuple("ThrottleFuture").field(&format_args!("{stage}")).finish()
    }
}

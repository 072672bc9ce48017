//! The answer to come: the inner service's with header fields added, or the layer's own.

use super::whole;
use crate::{
    answer::{Answers, add_to},
    decision::{Pass, Ruling, Verdict},
    settle::{Held, Settling, head_of_an_error},
};
use http::{Extensions, Request, Response, request::Parts};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower_service::Service;

pin_project! {
    /// The future of a [`RateLimit`](crate::RateLimit) service.
    pub struct ResponseFuture<Svc, ReqBody, ResBody>
    where
        Svc: Service<Request<ReqBody>>,
    {
        #[pin]
        stage: Stage<Svc, ReqBody, ResBody>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<Svc, ReqBody, ResBody>
    where
        Svc: Service<Request<ReqBody>>,
    {
        Asking { ruling: Pin<Box<dyn Future<Output = Ruling> + Send>>, request: Option<Asking<Svc, ReqBody>> },
        Readying { pass: Option<Pass>, request: Option<Asking<Svc, ReqBody>> },
        Inner { #[pin] future: Svc::Future, verdict: Option<Verdict>, held: Option<Box<dyn Held>>, leaves_rest: bool },
        Settling {
            settling: Settling,
            verdict: Option<Verdict>,
            result: Option<Result<Response<ResBody>, Svc::Error>>,
            leaves_rest: bool,
        },
        Own { response: Option<Response<ResBody>> },
    }
}

/// A request that a store is asked about, and the service that is for it.
pub(crate) struct Asking<Svc, ReqBody> {
    pub(crate) head: Parts,
    pub(crate) body: ReqBody,
    pub(crate) service: Svc,
    /// Whether it was polled ready.
    pub(crate) is_ready: bool,
    pub(crate) answers: Arc<Answers>,
}

impl<Svc, ReqBody, ResBody> ResponseFuture<Svc, ReqBody, ResBody>
where
    Svc: Service<Request<ReqBody>>,
{
    /// Waits for the store's answer first.
    pub(crate) fn asking(ruling: Pin<Box<dyn Future<Output = Ruling> + Send>>, request: Asking<Svc, ReqBody>) -> Self {
        Self { stage: Stage::Asking { ruling, request: Some(request) } }
    }

    /// The inner service's response, with the fields of the decision that let the request in, once what is held has
    /// been put right; what is held beyond its head is in its extensions then, where it `leaves_rest`.
    pub(crate) fn inner(
        future: Svc::Future,
        verdict: Option<Verdict>,
        held: Option<Box<dyn Held>>,
        leaves_rest: bool,
    ) -> Self {
        Self { stage: Stage::Inner { future, verdict, held, leaves_rest } }
    }

    /// The layer's own answer, at once.
    pub(crate) fn own(response: Response<ResBody>) -> Self {
        Self { stage: Stage::Own { response: Some(response) } }
    }
}

/// Leaves the verdict in the request's extensions, and returns it where the response tells of it: copied only where both
/// are wanted.
#[inline]
fn told_after(
    verdict: Option<Verdict>,
    is_told: bool,
    answers: &Answers,
    extensions: &mut Extensions,
) -> Option<Verdict> {
    let Some(verdict) = verdict else {
        if answers.leaves_verdict {
            Verdict::leave_unlimited(extensions);
        }
        return None;
    };
    match (is_told && answers.on_admissions && verdict.has_fields(), answers.leaves_verdict) {
        (true, true) => drop(extensions.insert(verdict.clone())),
        (true, false) => {}
        (false, true) => {
            extensions.insert(verdict);
            return None;
        }
        (false, false) => return None,
    }
    Some(verdict)
}

/// Lets a request through to `service`, with the verdict in its extensions; else the layer's own answer.
pub(crate) fn follow<Svc, ReqBody, ResBody>(
    ruling: Ruling,
    service: &mut Svc,
    mut head: Parts,
    body: ReqBody,
    answers: &Answers,
) -> ResponseFuture<Svc, ReqBody, ResBody>
where
    Svc: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: From<String>,
{
    match ruling {
        Ruling::Refuse(refused) => ResponseFuture::own(answers.to(&head, &refused)),
        Ruling::Pass(Pass { verdict, is_told, held }) => {
            let verdict = told_after(verdict, is_told, answers, &mut head.extensions);
            let held = held.used(); // also where the call panics: a request that can bring that about is not free
            let future = service.call(Request::from_parts(head, body));
            ResponseFuture::inner(future, verdict, held, answers.leaves_rest)
        }
    }
}

impl<Svc, ReqBody, ResBody> Future for ResponseFuture<Svc, ReqBody, ResBody>
where
    Svc: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: From<String>,
{
    type Output = Result<Svc::Response, Svc::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.project().stage;
        loop {
            let next = match stage.as_mut().project() {
                StageProjection::Asking { ruling, request } => {
                    let ruling = ready!(ruling.as_mut().poll(cx));
                    match (ruling, request.take()) {
                        (Ruling::Pass(pass), Some(request)) if !request.is_ready => {
                            Stage::Readying { pass: Some(pass), request: Some(request) }
                        }
                        (ruling, Some(Asking { head, body, mut service, answers, .. })) => {
                            follow(ruling, &mut service, head, body, &answers).stage
                        }
                        (_, None) => return Poll::Pending,
                    }
                }
                StageProjection::Readying { pass, request } => {
                    let Some(waiting) = request else { return Poll::Pending };
                    // What was granted is given back where the service fails, or this future is dropped here.
                    if let Err(error) = ready!(waiting.service.poll_ready(cx)) {
                        stage.set(Stage::Own { response: None });
                        return Poll::Ready(Err(error));
                    }
                    let (Some(pass), Some(Asking { head, body, mut service, answers, .. })) =
                        (pass.take(), request.take())
                    else {
                        return Poll::Pending;
                    };
                    follow(Ruling::Pass(pass), &mut service, head, body, &answers).stage
                }
                StageProjection::Inner { future, verdict, held, leaves_rest } => {
                    let result = ready!(future.poll(cx));
                    let verdict = verdict.take();
                    let Some(held) = held.take() else { return Poll::Ready(told(result, verdict.as_ref())) };
                    let (result, settling) = match result {
                        Ok(response) => {
                            let (head, body) = response.into_parts();
                            let settling = held.settle(&head);
                            (Ok(Response::from_parts(head, body)), settling)
                        }
                        Err(error) => (Err(error), held.settle(&head_of_an_error())),
                    };
                    Stage::Settling { settling, verdict, result: Some(result), leaves_rest: *leaves_rest }
                }
                StageProjection::Settling { settling, verdict, result, leaves_rest } => {
                    ready!(settling.poll(cx, verdict.as_mut()));
                    let Some(mut result) = result.take() else { return Poll::Pending };
                    let rest = settling.rest();
                    if let (true, Ok(response)) = (*leaves_rest, &mut result) {
                        whole::leave(rest, response.extensions_mut());
                    }
                    return Poll::Ready(told(result, verdict.as_ref()));
                }
                // Polled again after its end, it stays silent instead of panicking.
                StageProjection::Own { response } => {
                    return response.take().map_or(Poll::Pending, |own| Poll::Ready(Ok(own)));
                }
            };
            stage.set(next);
        }
    }
}

fn told<ResBody, E>(
    mut result: Result<Response<ResBody>, E>,
    verdict: Option<&Verdict>,
) -> Result<Response<ResBody>, E> {
    if let (Ok(response), Some(verdict)) = (&mut result, verdict) {
        add_to(verdict, response.headers_mut());
    }
    result
}

impl<Svc, ReqBody, ResBody> fmt::Debug for ResponseFuture<Svc, ReqBody, ResBody>
where
    Svc: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Asking { .. } => "Asking",
            Stage::Readying { .. } => "Readying",
            Stage::Inner { .. } => "Inner",
            Stage::Settling { .. } => "Settling",
            Stage::Own { .. } => "Own",
        };
        f.debug_tuple("ResponseFuture").field(&format_args!("{stage}")).finish()
    }
}

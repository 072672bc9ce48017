//! The answer to come: the inner service's with header fields added, or the layer's own.

use crate::{
    answer::{Answers, add_to},
    question::Failure,
    verdict::Verdict,
};
use http::{Request, Response, request::Parts};
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
        Asking { answer: Answer, request: Option<Asking<Svc, ReqBody>> },
        Inner { #[pin] future: Svc::Future, verdict: Option<Verdict> },
        Own { response: Option<Response<ResBody>> },
    }
}

/// The answer of a store that is not in this process.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Verdict, Failure>> + Send>>;

/// A request that a store is asked about, and the service that is ready for it.
pub(crate) struct Asking<Svc, ReqBody> {
    pub(crate) head: Parts,
    pub(crate) body: ReqBody,
    pub(crate) service: Svc,
    pub(crate) answers: Arc<Answers>,
}

impl<Svc, ReqBody, ResBody> ResponseFuture<Svc, ReqBody, ResBody>
where
    Svc: Service<Request<ReqBody>>,
{
    /// Waits for the store's answer first.
    pub(crate) fn asking(answer: Answer, request: Asking<Svc, ReqBody>) -> Self {
        Self { stage: Stage::Asking { answer, request: Some(request) } }
    }

    /// The inner service's response, with the fields of the decision that let the request in.
    pub(crate) fn inner(future: Svc::Future, verdict: Option<Verdict>) -> Self {
        Self { stage: Stage::Inner { future, verdict } }
    }

    /// The layer's own answer, at once.
    pub(crate) fn own(response: Response<ResBody>) -> Self {
        Self { stage: Stage::Own { response: Some(response) } }
    }
}

/// Lets an admitted request through to `service`, with the decision in its extensions; else the layer's own answer.
pub(crate) fn pass<Svc, ReqBody, ResBody>(
    decided: Result<Verdict, Failure>,
    service: &mut Svc,
    mut head: Parts,
    body: ReqBody,
    answers: &Answers,
) -> ResponseFuture<Svc, ReqBody, ResBody>
where
    Svc: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: From<String>,
{
    match decided {
        Ok(verdict) if verdict.allowed() => {
            head.extensions.insert(verdict.clone());
            let future = service.call(Request::from_parts(head, body));
            ResponseFuture::inner(future, answers.on_admissions.then_some(verdict))
        }
        Ok(denial) => ResponseFuture::own(answers.denied(&head, &denial)),
        Err(failure) => ResponseFuture::own(answers.failed(&head, &failure)),
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
                StageProjection::Asking { answer, request } => {
                    let decided = ready!(answer.as_mut().poll(cx));
                    let Some(asking) = request.take() else { return Poll::Pending };
                    let Asking { head, body, mut service, answers } = asking;
                    pass(decided, &mut service, head, body, &answers).stage
                }
                StageProjection::Inner { future, verdict } => {
                    let mut response = ready!(future.poll(cx))?;
                    if let Some(verdict) = verdict.take() {
                        add_to(&verdict, response.headers_mut());
                    }
                    return Poll::Ready(Ok(response));
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

impl<Svc, ReqBody, ResBody> fmt::Debug for ResponseFuture<Svc, ReqBody, ResBody>
where
    Svc: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Asking { .. } => "Asking",
            Stage::Inner { .. } => "Inner",
            Stage::Own { .. } => "Own",
        };
        f.debug_tuple("ResponseFuture").field(&format_args!("{stage}")).finish()
    }
}

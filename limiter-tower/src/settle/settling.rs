//! The calls that put right what was held.

use super::Rest;
use crate::Verdict;
use http::{Response, StatusCode, response::Parts};
use limiter_core::{Decision, Error};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// The calls to the store that put things right, all under way at once; none where there is nothing to change.
#[derive(Default)]
pub(crate) struct Settling {
    pub(super) calls: Vec<Call>,
    settled: Vec<(usize, Decision)>,
    /// Held until all is put right, at least.
    pub(super) rest: Rest,
}

/// A policy's place, where clients are told of it, and what is left of it then.
pub(super) type Call = (Option<usize>, Pin<Box<dyn Future<Output = Result<Decision, Error>> + Send>>);

impl Settling {
    pub(super) fn by(calls: Vec<Call>, rest: Rest) -> Self {
        Self { calls, rest, settled: Vec::new() }
    }

    /// What is still held once all is put right.
    pub(crate) fn rest(&mut self) -> Rest {
        std::mem::take(&mut self.rest)
    }

    /// Ready once the store has answered all of it; `verdict` then tells what is left now.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, verdict: Option<&mut Verdict>) -> Poll<()> {
        let settled = &mut self.settled;
        self.calls.retain_mut(|(place, call)| match call.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(answer) => {
                settled.extend(place.zip(answer.ok()));
                false
            }
        });
        if !self.calls.is_empty() {
            return Poll::Pending;
        }
        if let Some(verdict) = verdict {
            verdict.settled(std::mem::take(&mut self.settled));
        }
        Poll::Ready(())
    }
}

/// The head that stands for an error of the inner service.
pub(crate) fn head_of_an_error() -> Parts {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.into_parts().0
}

//! How a layer answers.

use super::{
    fields::{add_fields, add_policy_field, number},
    format::Format,
    hook::Answer,
    jitter::Jitter,
    refusal::{Reason, Refusal},
};
use crate::{
    KeyError, Verdict,
    decision::{Refused, asked_again_after},
    policies::Announced,
};
use http::{
    HeaderMap, HeaderValue, Response,
    header::{CACHE_CONTROL, RETRY_AFTER},
    request::Parts,
};
use limiter_core::{Error, http::retry_after_seconds};
use std::{fmt, sync::Arc, time::Duration};

/// What all requests of a layer have in common once they are decided.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(crate) by: Arc<dyn Answer>,
    /// Whether admitted requests are told what is left.
    pub(crate) on_admissions: bool,
    /// Whether the verdict is in the extensions of the requests that pass.
    pub(crate) leaves_verdict: bool,
    /// Whether what is held beyond a response's head is in its extensions.
    pub(crate) leaves_rest: bool,
    pub(crate) jitter: Option<Jitter>,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            by: Arc::new(Format::default()),
            on_admissions: true,
            leaves_verdict: true,
            leaves_rest: false,
            jitter: None,
        }
    }
}

impl Answers {
    /// The answer to a request that is not let through.
    pub(crate) fn to<B: From<String>>(&self, request: &Parts, refused: &Refused) -> Response<B> {
        match refused {
            Refused::Denied(verdict) => self.denied(request, verdict),
            Refused::Undecided { error, parts } => self.failed(request, error, parts),
            Refused::NoKey(error) => self.no_key(request, error),
            Refused::Forbidden => self.without_fields(request, Reason::Forbidden),
        }
    }

    fn denied<B: From<String>>(&self, request: &Parts, verdict: &Verdict) -> Response<B> {
        let reason = match verdict.blocked_for().is_zero() {
            true => Reason::Denied(verdict),
            false => Reason::Blocked(verdict),
        };
        let mut headers = own_headers();
        let retry_after_seconds = self.retry_after(verdict.retry_after(), &mut headers);
        add_fields(verdict, &mut headers);
        self.answer(Refusal { request, reason, retry_after_seconds, headers })
    }

    fn failed<B: From<String>>(&self, request: &Parts, error: &Error, parts: &[Arc<Announced>]) -> Response<B> {
        let mut headers = own_headers();
        let retry_after_seconds = self.retry_after(asked_again_after(error), &mut headers);
        let reason = match *error {
            Error::NeverFits { cost, capacity, part } => {
                add_policy_field(parts, &mut headers);
                let policy = parts.get(part.unwrap_or(0)).filter(|_| parts.len() > 1).map(|part| &part.name);
                Reason::CostTooLarge { policy, cost, capacity }
            }
            Error::TooManyAtOnce { most, part } => {
                add_policy_field(parts, &mut headers);
                let policy = parts.get(part.unwrap_or(0)).filter(|_| parts.len() > 1).map(|part| &part.name);
                Reason::TooManyAtOnce { policy, most }
            }
            _ => Reason::StoreFailed(error),
        };
        self.answer(Refusal { request, reason, retry_after_seconds, headers })
    }

    /// Says how long to wait, where that is known.
    fn retry_after(&self, wait: Option<Duration>, headers: &mut HeaderMap) -> Option<u64> {
        let wait = wait?;
        let later = self.jitter.as_ref().map(Jitter::next).unwrap_or_default();
        let seconds = retry_after_seconds(wait.saturating_add(later));
        headers.insert(RETRY_AFTER, number(seconds));
        Some(seconds)
    }

    /// The answer to a request whose key cannot be told.
    pub(crate) fn no_key<B: From<String>>(&self, request: &Parts, error: &KeyError) -> Response<B> {
        self.without_fields(request, Reason::NoKey(error))
    }

    fn without_fields<B: From<String>>(&self, request: &Parts, reason: Reason<'_>) -> Response<B> {
        self.answer(Refusal { request, reason, retry_after_seconds: None, headers: own_headers() })
    }

    fn answer<B: From<String>>(&self, refusal: Refusal<'_>) -> Response<B> {
        self.by.answer(refusal).map(B::from)
    }
}

/// What every answer of the layer has. A 429 must not be stored by caches (RFC 6585 §4); no other answer is worth it.
fn own_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers")
            .field("on_admissions", &self.on_admissions)
            .field("jitter", &self.jitter)
            .finish_non_exhaustive()
    }
}

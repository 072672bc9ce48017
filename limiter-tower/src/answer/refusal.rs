//! Why a request is not let through, and what its answer is made of.

use super::format::Format;
use crate::{KeyError, PolicyName, Verdict};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header::CONTENT_TYPE, request::Parts};
use limiter_core::Error;
use std::{fmt::Write, time::Duration};

/// A request that is not let through: why, and everything its answer is made of.
///
/// Status, `Retry-After` and header fields are computed already. [`respond`](Self::respond) puts a body to them,
/// [`respond_as`](Self::respond_as) makes one of the ready-made answers; both can be changed before they are returned.
///
/// ```
/// use http::{HeaderName, HeaderValue};
/// use limiter_core::Limiter;
/// use limiter_tower::{Format, RateLimitLayer, Refusal};
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let layer = RateLimitLayer::new(Limiter::parse("100/min")?).answer(|refusal: Refusal<'_>| {
///     let mut response = refusal.respond_as(Format::Problem);
///     let pricing = HeaderValue::from_static("</pricing>; rel=\"help\"");
///     response.headers_mut().insert(HeaderName::from_static("link"), pricing);
///     response
/// });
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Refusal<'a> {
    pub(super) request: &'a Parts,
    pub(super) reason: Reason<'a>,
    pub(super) retry_after_seconds: Option<u64>,
    pub(super) headers: HeaderMap,
}

/// Why a request is not let through.
///
/// ```
/// use limiter_tower::Reason;
///
/// fn is_the_clients_doing(reason: Reason<'_>) -> bool {
///     !matches!(reason, Reason::StoreFailed(_))
/// }
/// # let _ = is_the_clients_doing;
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Reason<'a> {
    /// It is over its quota, or others wait for the same key. Answered with 429.
    Denied(&'a Verdict),
    /// Its key is blocked for a while, for as long as [`blocked_for`](limiter_core::Decision::blocked_for) says.
    /// Answered with 429.
    Blocked(&'a Verdict),
    /// The layer's [`block`](crate::RateLimitLayer::block) names it. Answered with 403.
    Forbidden,
    /// It costs more than its quota can ever hold. Answered with 413.
    CostTooLarge {
        /// The policy whose quota that is, where the layer has several.
        policy: Option<&'a PolicyName>,
        /// What the request costs.
        cost: u64,
        /// What the quota can hold.
        capacity: u64,
    },
    /// As many requests of its key are at work as may be at once ([`LimiterBuilder::at_once`](limiter_core::LimiterBuilder::at_once)).
    /// Answered with 429, without `Retry-After`: nobody can say when one of them ends.
    TooManyAtOnce {
        /// The policy that bounds them, where the layer has several.
        policy: Option<&'a PolicyName>,
        /// How many may be at work.
        most: usize,
    },
    /// The store could not decide, which is no fault of the client's. Answered with 503. The error is for logs.
    StoreFailed(&'a Error),
    /// Its key cannot be had. Answered with the error's own status.
    NoKey(&'a KeyError),
}

impl Reason<'_> {
    /// The status that ready-made answers have, gRPC's apart.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Denied(_) | Self::Blocked(_) | Self::TooManyAtOnce { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::CostTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::StoreFailed(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoKey(error) => error.status(),
        }
    }
}

impl<'a> Refusal<'a> {
    /// The request's head.
    #[must_use]
    pub fn request(&self) -> &'a Parts {
        self.request
    }

    /// Why the request is not let through.
    #[must_use]
    pub fn reason(&self) -> Reason<'a> {
        self.reason
    }

    /// The status that [`respond`](Self::respond) answers with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.reason.status()
    }

    /// The wait after which the request is admitted, or a store that failed is asked again, as `Retry-After` says: whole
    /// seconds, at least 1, jitter included. `None` where nobody can say, or waiting is no use.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_seconds.map(Duration::from_secs)
    }

    /// The header fields of the answer: `Cache-Control`, `Retry-After`, and those that say how the policies stand.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The names under which the fields list what denied; none where no quota did.
    pub fn violated(&self) -> impl Iterator<Item = &'a PolicyName> + Clone + use<'a> {
        let verdict = match self.reason {
            Reason::Denied(verdict) | Reason::Blocked(verdict) => Some(verdict),
            _ => None,
        };
        let states = verdict.into_iter().flat_map(Verdict::states);
        states.filter(|state| state.retry_after.is_some()).map(|state| state.name)
    }

    /// One sentence for people, without a key or an inner error.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::{RateLimitLayer, Refusal};
    /// use http::{HeaderValue, Request, Response};
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = RateLimitLayer::new(Limiter::parse("1/h")?).answer(|refusal: Refusal<'_>| {
    ///     let detail = refusal.detail();
    ///     refusal.respond(HeaderValue::from_static("text/plain"), detail)
    /// });
    /// let hello = service_fn(|_: Request<()>| async { Ok::<_, std::io::Error>(Response::new(String::new())) });
    /// let service = layer.layer(hello);
    /// service.clone().oneshot(Request::new(())).await?;
    /// let denied = service.oneshot(Request::new(())).await?;
    /// assert_eq!(denied.body(), "Quota \"default\" is exceeded; try again in 3600 s.");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn detail(&self) -> String {
        let mut text = match self.reason {
            Reason::Denied(_) => self.exceeded(),
            Reason::Blocked(_) | Reason::Forbidden => "Requests like this one are blocked".to_owned(),
            Reason::CostTooLarge { policy, cost, capacity } => return too_large(policy, cost, capacity),
            Reason::TooManyAtOnce { policy, most } => too_many_at_once(policy, most),
            Reason::StoreFailed(_) => "Requests cannot be counted at the moment".to_owned(),
            Reason::NoKey(error) => return error.detail().to_owned(),
        };
        let _ = match self.retry_after_seconds {
            Some(seconds) => write!(text, "; try again in {seconds} s."),
            None => write!(text, "."),
        };
        text
    }

    fn exceeded(&self) -> String {
        let several = self.violated().nth(1).is_some();
        let mut text = String::with_capacity(96);
        text.push_str(if several { "Quotas" } else { "Quota" });
        for (nth, name) in self.violated().enumerate() {
            let _ = write!(text, "{} \"{name}\"", if nth > 0 { "," } else { "" });
        }
        text.push_str(if several { " are exceeded" } else { " is exceeded" });
        text
    }

    /// The answer with a body of your own: status and header fields as computed, and its content type.
    #[must_use]
    pub fn respond<B>(self, content_type: HeaderValue, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status();
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    }

    /// One of the ready-made answers.
    #[must_use]
    pub fn respond_as(self, format: Format) -> Response<String> {
        format.respond(self)
    }
}

/// What is wrong where others are to end first.
fn too_many_at_once(policy: Option<&PolicyName>, most: usize) -> String {
    let of = policy.map(|name| format!(" under \"{name}\"")).unwrap_or_default();
    format!("{most} requests are at work already{of}, as many as may be at once; try again when one of them has ended")
}

/// What is wrong with a cost that can never fit.
fn too_large(policy: Option<&PolicyName>, cost: u64, capacity: u64) -> String {
    let detail = Error::NeverFits { cost, capacity, part: None };
    match policy {
        Some(name) => format!("policy \"{name}\": {detail}"),
        None => detail.to_string(),
    }
}

//! The decision in handlers.

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use limiter_tower::Verdict;
use std::{convert::Infallible, error::Error, fmt, ops::Deref};

/// Extracts the decision that let the request in: what is left, and when all of it is back; over all policies, and of
/// each.
///
/// Where several layers decided, it is that of the innermost one, which decided last. A request that a layer let pass
/// without a decision has [`u64::MAX`] units left, and is told by [`is_limited`](limiter_core::Decision::is_limited): the
/// layer skips it, no policy takes part in it, or the store failed and that is allowed. `Option<Limited>` is `None` there.
///
/// A route outside of every layer, or inside of one [without verdicts](limiter_tower::RateLimitLayer::without_verdict), is a mistake,
/// and answered with 500; with `Option<Limited>` it may be.
///
/// ```
/// use axum::{Router, routing::get};
/// use limiter_axum::{Limited, RateLimitLayer};
/// use limiter_core::Limiter;
///
/// async fn home(Limited(verdict): Limited) -> String {
///     format!("{} of {} left", verdict.remaining(), verdict.limit())
/// }
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let app: Router = Router::new().route("/", get(home)).layer(RateLimitLayer::new(Limiter::parse("100/s")?));
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Limited(pub Verdict);

impl Deref for Limited {
    type Target = Verdict;

    fn deref(&self) -> &Verdict {
        &self.0
    }
}

impl<T: Sync> FromRequestParts<T> for Limited {
    type Rejection = NotLimited;

    async fn from_request_parts(request: &mut Parts, _: &T) -> Result<Self, NotLimited> {
        verdict(request).ok_or(NotLimited(()))
    }
}

impl<T: Sync> OptionalFromRequestParts<T> for Limited {
    type Rejection = Infallible;

    async fn from_request_parts(request: &mut Parts, _: &T) -> Result<Option<Self>, Infallible> {
        Ok(verdict(request).filter(|Limited(verdict)| verdict.is_limited()))
    }
}

fn verdict(request: &Parts) -> Option<Limited> {
    request.extensions.get::<Verdict>().cloned().map(Limited)
}

/// The rejection of [`Limited`]: the request came through no layer. Answered with 500.
///
/// ```
/// use axum::response::IntoResponse;
/// use limiter_axum::NotLimited;
///
/// fn answer(rejection: NotLimited) -> axum::response::Response {
///     rejection.into_response()
/// }
/// # let _ = answer;
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotLimited(());

impl fmt::Display for NotLimited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no decision in the request's extensions: the route is outside of every RateLimitLayer, or the layer \
             leaves none (without_verdict); put one around it, or extract Option<Limited> where that may be",
        )
    }
}

impl Error for NotLimited {}

impl IntoResponse for NotLimited {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

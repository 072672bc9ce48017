//! Who makes answers.

use super::refusal::Refusal;
use http::Response;

/// Makes the answer to a request that the layer does not let through.
///
/// Closures `Fn(Refusal<'_>) -> Response<impl Into<String>>` do, and so does a [`Format`](crate::Format). The answer is
/// sent as it is: what the refusal has computed is there to be kept, changed or left out.
///
/// ```
/// use http::{HeaderValue, Response, StatusCode};
/// use limiter_core::Limiter;
/// use limiter_tower::{Format, RateLimitLayer, Reason, Refusal};
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let layer = RateLimitLayer::new(Limiter::parse("100/min")?).answer(|refusal: Refusal<'_>| match refusal.reason() {
///     // A page of our own for people, with the header fields as they are.
///     Reason::Denied(_) => {
///         let wait = refusal.retry_after().unwrap_or_default();
///         let page = format!("<p>Too fast: again in {} s.", wait.as_secs());
///         refusal.respond(HeaderValue::from_static("text/html; charset=utf-8"), page)
///     }
///     // The ready-made answer for all else.
///     _ => refusal.respond_as(Format::Problem),
/// });
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
pub trait Answer: Send + Sync + 'static {
    /// The whole response: status, header fields and body.
    fn answer(&self, refusal: Refusal<'_>) -> Response<String>;
}

impl<F, B> Answer for F
where
    F: Fn(Refusal<'_>) -> Response<B> + Send + Sync + 'static,
    B: Into<String>,
{
    fn answer(&self, refusal: Refusal<'_>) -> Response<String> {
        self(refusal).map(B::into)
    }
}

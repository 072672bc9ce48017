//! For clients of reqwest-middleware.

use crate::{Limits, engine::NotSent};
use http::Extensions;
use limiter_core::{MemoryStore, Store};
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next};

/// [`Limits`], as clients of reqwest-middleware take them.
///
/// ```
/// use limiter_core::Limiter;
/// use limiter_reqwest::RateLimitMiddleware;
/// use reqwest_middleware::ClientBuilder;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let limits = RateLimitMiddleware::new(Limiter::parse("sliding_log 10/s")?).max_wait(Duration::from_secs(10));
/// let client = ClientBuilder::new(reqwest::Client::new()).with(limits).build();
/// # Ok(())
/// # }
/// ```
pub type RateLimitMiddleware<S = MemoryStore> = Limits<S>;

#[async_trait::async_trait]
impl<S: Store> Middleware for Limits<S> {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        let mut ticket = match self.ask(&request, extensions).await {
            Ok(Some(ticket)) => ticket,
            Ok(None) => return next.run(request, extensions).await,
            Err(NotSent::Limited(error)) => return Err(Error::middleware(error)),
            Err(NotSent::Misconfigured(error)) => return Err(Error::middleware(error)),
        };
        loop {
            let spare = if ticket.may_resend() { request.try_clone() } else { None };
            let response = match next.clone().run(request, extensions).await {
                Ok(response) => response,
                Err(error) => {
                    // Where no connection came about, no server can have counted it; after any other failure one may.
                    ticket.failed(!error.is_connect()).await;
                    return Err(error);
                }
            };
            let (url, status) = (response.url(), response.status());
            let again = ticket.answered(url, status, response.headers(), spare.is_some()).await;
            match again.zip(spare) {
                Some(again) => (ticket, request) = again,
                None => return Ok(response),
            }
        }
    }
}

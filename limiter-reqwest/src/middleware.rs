//! For clients of reqwest-middleware.

use crate::{
    Limits,
    engine::{NotSent, Transport},
};
use http::Extensions;
use limiter_core::{MemoryStore, Store};
use reqwest::{Request, Response, StatusCode, Url, header::HeaderMap};
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
    async fn handle(&self, request: Request, extensions: &mut Extensions, next: Next<'_>) -> Result<Response, Error> {
        match self.ask(&request, extensions).await {
            Ok(Some(ticket)) => ticket.send(request, &mut Rest { next, extensions }).await,
            Ok(None) => next.run(request, extensions).await,
            Err(NotSent::Limited(error)) => Err(Error::middleware(error)),
            Err(NotSent::Misconfigured(error)) => Err(Error::middleware(error)),
        }
    }
}

/// What stands between here and the network.
struct Rest<'a, 'e> {
    next: Next<'a>,
    extensions: &'e mut Extensions,
}

impl Transport for Rest<'_, '_> {
    type Request = Request;
    type Response = Response;
    type Error = Error;

    fn try_clone(&self, request: &Request) -> Option<Request> {
        request.try_clone()
    }

    async fn send(&mut self, request: Request) -> Result<Response, Error> {
        self.next.clone().run(request, self.extensions).await
    }

    fn head<'a>(&'a self, response: &'a Response) -> (&'a Url, StatusCode, &'a HeaderMap) {
        (response.url(), response.status(), response.headers())
    }
}

//! For clients of reqwest-middleware.

use crate::{
    Limits,
    engine::{Head, NotSent, Ticket, Transport, of_reqwest},
};
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
    async fn handle(&self, request: Request, extensions: &mut Extensions, next: Next<'_>) -> Result<Response, Error> {
        self.run(request, &mut Rest { next, extensions }).await
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

    async fn ask<'l, S: Store>(
        &self,
        limits: &'l Limits<S>,
        request: &Request,
    ) -> Result<Option<Ticket<'l, S>>, Error> {
        limits.ask(request, self.extensions).await.map_err(|not_sent| match not_sent {
            NotSent::Limited(error) => Error::middleware(error),
            NotSent::Misconfigured(error) => Error::middleware(error),
        })
    }

    of_reqwest!(Request);

    async fn send(&mut self, request: Request) -> Result<Response, Error> {
        self.next.clone().run(request, self.extensions).await
    }

    fn head<'a>(&'a self, response: &'a Response) -> Head<'a> {
        (response.url(), response.status(), response.headers())
    }
}

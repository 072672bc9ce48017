//! reqwest's own client, inside limits.

use super::Error;
use crate::{
    Cost, Limits, MaxWait,
    engine::{Head, Ticket, Transport, of_reqwest},
};
use http::Extensions;
use limiter_core::{MemoryStore, Store};
#[cfg(feature = "multipart")]
use reqwest::multipart::Form;
use reqwest::{
    Body, Client as Inner, IntoUrl, Method, Request, RequestBuilder as InnerBuilder, Response, Version,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use std::{fmt, sync::Arc, time::Duration};

super::surface! {
    /// [`reqwest::Client`] that keeps to [`Limits`]: for those who use no other middleware.
    ///
    /// Clones share the limits, and the connections.
    ///
    /// ```no_run
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::{Client, Limits};
    /// use std::time::Duration;
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let limits = Limits::new(Limiter::parse("sliding_log 10/s, 200/min")?).resend(1);
    /// let client = Client::new(reqwest::Client::new(), limits);
    /// let response = client.get("https://api.example.com/items").max_wait(Duration::from_secs(5)).send().await?;
    /// println!("{}", response.text().await?);
    /// # Ok(())
    /// # }
    /// ```
    client,
    /// A request to be, with reqwest's own methods; made by [`Client::get`] and the others.
    ///
    /// ```no_run
    /// # async fn run(client: limiter_reqwest::Client) -> Result<(), limiter_reqwest::Error> {
    /// let request = client.post("https://api.example.com/items").bearer_auth("token").body("{}");
    /// let response = request.cost(10).send().await?;
    /// # Ok(())
    /// # }
    /// ```
    builder
}

impl<S: Store> Client<S> {
    /// Waits for the turn of `request`, and sends it.
    ///
    /// Dropping the future gives back what was not used.
    ///
    /// ```no_run
    /// use reqwest::{Method, Request};
    ///
    /// # async fn run(client: limiter_reqwest::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let response = client.execute(Request::new(Method::GET, "https://api.example.com/items".parse()?)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Limited`] where it was not sent because of a limit; [`Error::Reqwest`].
    pub async fn execute(&self, request: Request) -> Result<Response, Error> {
        self.run(request, &Extensions::new()).await
    }

    async fn run(&self, request: Request, extensions: &Extensions) -> Result<Response, Error> {
        self.limits.run(request, &mut Direct { inner: &self.inner, extensions }).await
    }
}

impl<S: Store> RequestBuilder<S> {
    /// Waits for the turn of the request, and sends it.
    ///
    /// Dropping the future gives back what was not used.
    ///
    /// # Errors
    /// [`Error::Limited`] where it was not sent because of a limit; [`Error::Reqwest`].
    pub async fn send(self) -> Result<Response, Error> {
        let Self { client, inner, extensions } = self;
        client.run(inner.build()?, &extensions).await
    }
}

struct Direct<'a> {
    inner: &'a Inner,
    extensions: &'a Extensions,
}

impl Transport for Direct<'_> {
    type Request = Request;
    type Response = Response;
    type Error = Error;

    async fn ask<'l, S: Store>(
        &self,
        limits: &'l Limits<S>,
        request: &Request,
    ) -> Result<Option<Ticket<'l, S>>, Error> {
        Ok(limits.ask(request, self.extensions).await?)
    }

    of_reqwest!(Request);

    async fn send(&mut self, request: Request) -> Result<Response, Error> {
        Ok(self.inner.execute(request).await?)
    }

    fn head<'a>(&'a self, response: &'a Response) -> Head<'a> {
        (response.url(), response.status(), response.headers())
    }
}

//! [`Client`]: the same limits for programs without a runtime.
//!
//! What a request waits for is waited for in its own thread; threads that share a client have their turns first come,
//! first served, as tasks do, and together with the tasks of an async client over the same [`Limits`].
//!
//! Inside an async runtime this behaves as [`reqwest::blocking`] does: it may panic, and holds up the runtime's thread.
//! Use [`Client`](crate::Client) there.

use crate::{
    Cost, Error, Limits, MaxWait, Status,
    client::surface,
    engine::{Head, Ticket, Transport, of_reqwest},
};
use http::Extensions;
use limiter_core::{MemoryStore, Store, block_on};
#[cfg(feature = "multipart")]
use reqwest::blocking::multipart::Form;
use reqwest::{
    IntoUrl, Method, Url, Version,
    blocking::{Body, Client as Inner, Request, RequestBuilder as InnerBuilder, Response},
    header::{HeaderMap, HeaderName, HeaderValue},
};
use std::{fmt, future::Future, sync::Arc, time::Duration};

surface! {
    /// [`reqwest::blocking::Client`] that keeps to [`Limits`].
    ///
    /// Clones share the limits, and the connections.
    ///
    /// ```no_run
    /// use limiter_core::Limiter;
    /// use limiter_reqwest::{Limits, blocking::Client};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limits = Limits::new(Limiter::parse("sliding_log 10/s, 200/min")?).resend(1);
    /// let client = Client::new(reqwest::blocking::Client::new(), limits);
    /// let response = client.get("https://api.example.com/items").max_wait(Duration::from_secs(5)).send()?;
    /// println!("{}", response.text()?);
    /// # Ok(())
    /// # }
    /// ```
    client,
    /// A request to be, with reqwest's own methods; made by [`Client::get`] and the others.
    ///
    /// ```no_run
    /// # fn run(client: limiter_reqwest::blocking::Client) -> Result<(), limiter_reqwest::Error> {
    /// let request = client.post("https://api.example.com/items").bearer_auth("token").body("{}");
    /// let response = request.cost(10).send()?;
    /// # Ok(())
    /// # }
    /// ```
    builder
}

impl<S: Store> Client<S> {
    /// Waits for the turn of `request`, and sends it.
    ///
    /// ```no_run
    /// use reqwest::{Method, blocking::Request};
    ///
    /// # fn run(client: limiter_reqwest::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let response = client.execute(Request::new(Method::GET, "https://api.example.com/items".parse()?))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Limited`] where it was not sent because of a limit; [`Error::Reqwest`].
    pub fn execute(&self, request: Request) -> Result<Response, Error> {
        self.run(request, &Extensions::new())
    }

    /// How requests to `url` stand, as [`Limits::status`] says.
    ///
    /// # Errors
    /// The store's.
    pub fn status(&self, url: &Url) -> Result<Option<Status>, limiter_core::Error> {
        block_on(self.limits.status(url))
    }

    /// How requests stand to every host that was asked lately, as [`Limits::statuses`] says.
    ///
    /// ```
    /// # fn show(client: limiter_reqwest::blocking::Client) -> Result<(), limiter_core::Error> {
    /// for host in client.statuses()? {
    ///     println!("{} {} waiting, paused for {:?}", host.host, host.waiting, host.paused_for);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The store's.
    pub fn statuses(&self) -> Result<Vec<Status>, limiter_core::Error> {
        block_on(self.limits.statuses())
    }

    fn run(&self, request: Request, extensions: &Extensions) -> Result<Response, Error> {
        block_on(self.limits.run(request, &mut Direct { inner: &self.inner, extensions }))
    }
}

impl<S: Store> RequestBuilder<S> {
    /// Waits for the turn of the request, and sends it.
    ///
    /// # Errors
    /// [`Error::Limited`] where it was not sent because of a limit; [`Error::Reqwest`].
    pub fn send(self) -> Result<Response, Error> {
        let Self { client, inner, extensions } = self;
        client.run(inner.build()?, &extensions)
    }
}

/// `request` as limits see it; `whole` with all that a closure can look at. A body that is read as it is sent stays unseen.
fn seen(request: &Request, whole: bool) -> reqwest::Request {
    let mut seen = reqwest::Request::new(request.method().clone(), request.url().clone());
    if whole {
        *seen.headers_mut() = request.headers().clone();
        *seen.version_mut() = request.version();
        *seen.timeout_mut() = request.timeout().copied();
        *seen.body_mut() = request.body().and_then(Body::as_bytes).map(|bytes| bytes.to_vec().into());
    }
    seen
}

struct Direct<'a> {
    inner: &'a Inner,
    extensions: &'a Extensions,
}

impl Transport for Direct<'_> {
    type Request = Request;
    type Response = Response;
    type Error = Error;

    fn ask<'l, S: Store>(
        &self,
        limits: &'l Limits<S>,
        request: &Request,
    ) -> impl Future<Output = Result<Option<Ticket<'l, S>>, Error>> + Send {
        let seen = seen(request, limits.reads_requests());
        async move { Ok(limits.ask(&seen, self.extensions).await?) }
    }

    of_reqwest!(Request);

    /// Blocks: nothing else is to be done in this thread.
    async fn send(&mut self, request: Request) -> Result<Response, Error> {
        Ok(self.inner.execute(request)?)
    }

    fn head<'a>(&'a self, response: &'a Response) -> Head<'a> {
        (response.url(), response.status(), response.headers())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closures_see_all_but_what_is_read_as_it_is_sent() {
        let mut request = Request::new(Method::PUT, "http://a.example/x".parse().unwrap());
        request.headers_mut().insert("x-tenant", HeaderValue::from_static("ada"));
        *request.body_mut() = Some("12345".into());
        let whole = seen(&request, true);
        assert_eq!((whole.method(), whole.url().path(), whole.headers().len()), (&Method::PUT, "/x", 1));
        assert_eq!(whole.body().and_then(|body| body.as_bytes()), Some(b"12345".as_slice()));

        *request.body_mut() = Some(Body::new(std::io::empty()));
        assert!(seen(&request, true).body().is_none());
        assert!(seen(&request, false).headers().is_empty());
    }
}

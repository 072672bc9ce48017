//! The layer, which is [`Limits`], and its service.

use super::error::{BoxError, LimitedError};
use crate::{
    Limits,
    engine::{Head, Hop, Ticket, Transport},
};
use http::{Request, Response, header::HOST, uri::Authority};
use limiter_core::{MemoryStore, Store};
use reqwest::{Method, Url};
use std::{
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;

/// A client that keeps to [`Limits`]: any tower service that sends `http` requests. `Limits` are its layer.
///
/// * **As the other clients**, it waits for each request's turn and obeys what answers ask for; [`MaxWait`](crate::MaxWait)
///   and [`Cost`](crate::Cost) are read from the request's extensions.
/// * **The host** is the URI's, or the `Host` field's where the URI has none: then the scheme is taken to be `http`.
/// * **Closures** ([`Limits::key`], [`Limits::cost`]) see the request without its body.
/// * **Nothing is sent again**: bodies cannot be cloned here. Refusals are passed on, whatever
///   [`Limits::resend`] says; so are redirects, whatever [`Limits::follow_redirects`] says.
/// * **What failed stays charged**, also where no connection came about.
/// * **`poll_ready` only forwards.** After its turn, a request waits for a clone of the service to be ready.
///
/// ```
/// use http_body_util::Empty;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use limiter_core::Limiter;
/// use limiter_reqwest::Limits;
/// use tower::{Layer, Service, ServiceExt};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder(TokioExecutor::new()).build_http::<Empty<&[u8]>>();
/// let mut client = Limits::new(Limiter::parse("sliding_log 10/s")?).layer(client);
/// let request = http::Request::get("http://api.example.com/items").body(Empty::new())?;
/// let response = client.ready().await?.call(request).await?;
/// println!("{}", response.status());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Limited<Svc, S: Store = MemoryStore> {
    inner: Svc,
    limits: Arc<Limits<S>>,
}

impl<Svc, S: Store> Layer<Svc> for Limits<S> {
    type Service = Limited<Svc, S>;

    fn layer(&self, inner: Svc) -> Limited<Svc, S> {
        Limited { inner, limits: Arc::new(self.clone()) }
    }
}

impl<Svc, B, R, S> Service<Request<B>> for Limited<Svc, S>
where
    Svc: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    Svc::Error: Into<BoxError>,
    Svc::Future: Send,
    B: Send + 'static,
    R: Send + 'static,
    S: Store,
{
    type Response = Response<R>;
    type Error = LimitedError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, LimitedError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LimitedError>> {
        self.inner.poll_ready(cx).map_err(inner)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (service, limits) = (self.inner.clone(), Arc::clone(&self.limits));
        self.inner = service.clone(); // drops the one that was polled ready, and what it holds
        Box::pin(async move {
            let url = url_of(&request).ok_or(LimitedError::NoHost)?;
            limits.run(request, &mut Through { service, url, _body: PhantomData }).await
        })
    }
}

/// Where a request goes.
fn url_of<B>(request: &Request<B>) -> Option<Url> {
    let uri = request.uri();
    if uri.scheme().is_some() {
        return uri.to_string().parse().ok();
    }
    let authority = match uri.authority() {
        Some(authority) => authority.clone(),
        None => Authority::try_from(request.headers().get(HOST)?.as_bytes()).ok()?,
    };
    format!("http://{authority}{}", uri.path()).parse().ok()
}

fn inner(error: impl Into<BoxError>) -> LimitedError {
    LimitedError::Inner(error.into())
}

struct Through<Svc, B> {
    service: Svc,
    url: Url,
    _body: PhantomData<fn(B)>,
}

impl<Svc, B, R> Transport for Through<Svc, B>
where
    Svc: Service<Request<B>, Response = Response<R>> + Send,
    Svc::Error: Into<BoxError>,
    Svc::Future: Send,
    B: Send,
    R: Send,
{
    type Request = Request<B>;
    type Response = Response<R>;
    type Error = LimitedError;

    fn ask<'l, S: Store>(
        &self,
        limits: &'l Limits<S>,
        request: &Request<B>,
    ) -> impl Future<Output = Result<Option<Ticket<'l, S>>, LimitedError>> + Send {
        let mut seen = reqwest::Request::new(request.method().clone(), self.url.clone());
        seen.headers_mut().clone_from(request.headers());
        let extensions = request.extensions().clone();
        async move { Ok(limits.ask(&seen, &extensions).await?) }
    }

    fn try_clone(&self, _: &Request<B>) -> Option<Request<B>> {
        None
    }

    async fn send(&mut self, request: Request<B>) -> Result<Response<R>, LimitedError> {
        poll_fn(|cx| self.service.poll_ready(cx)).await.map_err(inner)?;
        self.service.call(request).await.map_err(inner)
    }

    fn head<'a>(&'a self, response: &'a Response<R>) -> Head<'a> {
        (&self.url, response.status(), response.headers())
    }

    fn method(&self, _: &Request<B>) -> Option<Method> {
        None
    }

    fn without_body(&self, _: &Request<B>) -> Option<Request<B>> {
        None
    }

    fn redirect(&self, request: Request<B>, _: &Hop) -> Request<B> {
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_the_uris_or_the_fields() {
        let url = |uri: &str, host: Option<&str>| {
            let mut request = Request::get(uri);
            if let Some(host) = host {
                request = request.header(HOST, host);
            }
            url_of(&request.body(()).unwrap()).map(String::from)
        };
        let expected = |url: &str| Some(url.to_owned());
        assert_eq!(url("https://a.example/x?y=1", Some("b.example")), expected("https://a.example/x?y=1"));
        assert_eq!(url("/x", Some("b.example:81")), expected("http://b.example:81/x"));
        assert_eq!(url("a.example:443", None), expected("http://a.example:443/"));
        for host in [None, Some(""), Some("a b")] {
            assert_eq!(url("/x", host), None, "{host:?}");
        }
    }
}

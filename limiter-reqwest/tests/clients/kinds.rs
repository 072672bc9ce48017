//! The kinds of clients, behind one face.

use crate::common::plain_client;
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client as Hyper, connect::HttpConnector},
    rt::TokioExecutor,
};
use limiter_core::Error as CoreError;
use limiter_reqwest::{
    Client as Wrapped, Cost, Error, Limited, LimitedError, Limits, MaxWait, PlanError, RateLimitError, blocking,
};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use std::{
    convert::Infallible,
    io::Cursor,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::task::{JoinHandle, spawn_blocking};
use tower::{Layer, ServiceExt};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Middleware,
    Wrapped,
    Blocking,
    Tower,
}

#[derive(Clone)]
pub(crate) enum Client {
    Middleware(ClientWithMiddleware),
    Wrapped(Wrapped),
    Blocking(blocking::Client),
    Tower(Box<Limited<Hyper<HttpConnector, Full<Bytes>>>>),
}

/// A `POST`, and what it says of itself.
#[derive(Clone, Copy, Default)]
pub(crate) struct Call {
    pub(crate) body: Option<&'static str>,
    /// Whether the body is read as it is sent.
    pub(crate) is_streamed: bool,
    pub(crate) max_wait: Option<Duration>,
    pub(crate) cost: Option<u64>,
    pub(crate) timeout: Option<Duration>,
}

/// What came of it.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Answered(u16),
    WaitTooLong { needed: Duration, allowed: Duration },
    NeverFits,
    Misconfigured,
    NotConnected,
    TimedOut,
    Other(String),
}

impl Kind {
    pub(crate) async fn client(self, limits: Limits) -> Client {
        match self {
            Self::Middleware => Client::Middleware(ClientBuilder::new(plain_client()).with(limits).build()),
            Self::Wrapped => Client::Wrapped(Wrapped::new(plain_client(), limits)),
            Self::Blocking => {
                let client = || reqwest::blocking::Client::builder().no_proxy().build().unwrap();
                Client::Blocking(blocking::Client::new(spawn_blocking(client).await.unwrap(), limits))
            }
            Self::Tower => Client::Tower(Box::new(limits.layer(Hyper::builder(TokioExecutor::new()).build_http()))),
        }
    }
}

/// The same on a builder of one of our clients, whichever.
macro_rules! with_call {
    ($builder:expr, $call:expr, $stream:expr) => {{
        let (mut builder, call) = ($builder, $call);
        if let Some(limit) = call.max_wait {
            builder = builder.max_wait(limit);
        }
        if let Some(units) = call.cost {
            builder = builder.cost(units);
        }
        if let Some(timeout) = call.timeout {
            builder = builder.timeout(timeout);
        }
        match call.body {
            Some(body) if call.is_streamed => builder.body($stream(body)),
            Some(body) => builder.body(body),
            None => builder,
        }
    }};
}

impl Client {
    /// Sends in a task or thread of its own.
    pub(crate) fn start(&self, url: &str, call: Call) -> JoinHandle<Outcome> {
        let (client, url) = (self.clone(), url.to_owned());
        match client {
            Self::Middleware(client) => tokio::spawn(async move { with_extensions(&client, &url, call).await }),
            Self::Wrapped(client) => tokio::spawn(async move {
                let answer = with_call!(client.post(url), call, streamed).send().await;
                answer.map_or_else(outcome, |response| Outcome::Answered(response.status().as_u16()))
            }),
            Self::Blocking(client) => spawn_blocking(move || {
                let read = |body: &'static str| reqwest::blocking::Body::new(Cursor::new(body));
                let answer = with_call!(client.post(url), call, read).send();
                answer.map_or_else(outcome, |response| Outcome::Answered(response.status().as_u16()))
            }),
            Self::Tower(client) => tokio::spawn(async move {
                let mut request = http::Request::post(url).body(Full::from(call.body.unwrap_or_default())).unwrap();
                call.max_wait.map(|limit| request.extensions_mut().insert(MaxWait(limit)));
                call.cost.map(|units| request.extensions_mut().insert(Cost(units)));
                match client.oneshot(request).await {
                    Ok(response) => Outcome::Answered(response.status().as_u16()),
                    Err(LimitedError::Limited(limited)) => of_limited(&limited),
                    Err(LimitedError::Misconfigured(_)) => Outcome::Misconfigured,
                    Err(error) => Outcome::Other(error.to_string()),
                }
            }),
        }
    }

    pub(crate) async fn send(&self, url: &str, call: Call) -> Outcome {
        self.start(url, call).await.unwrap()
    }

    pub(crate) async fn post(&self, url: &str) -> Outcome {
        self.send(url, Call::default()).await
    }
}

async fn with_extensions(client: &ClientWithMiddleware, url: &str, call: Call) -> Outcome {
    let mut builder = client.post(url);
    if let Some(limit) = call.max_wait {
        builder = builder.with_extension(MaxWait(limit));
    }
    if let Some(units) = call.cost {
        builder = builder.with_extension(Cost(units));
    }
    if let Some(timeout) = call.timeout {
        builder = builder.timeout(timeout);
    }
    builder = match call.body {
        Some(body) if call.is_streamed => builder.body(streamed(body)),
        Some(body) => builder.body(body),
        None => builder,
    };
    match builder.send().await {
        Ok(response) => Outcome::Answered(response.status().as_u16()),
        Err(reqwest_middleware::Error::Reqwest(error)) => outcome(error.into()),
        Err(error) => match RateLimitError::find(&error) {
            Some(limited) => of_limited(limited),
            None => {
                let reqwest_middleware::Error::Middleware(error) = error else { panic!("{error}") };
                outcome(Error::Misconfigured(error.downcast_ref::<PlanError>().unwrap().clone()))
            }
        },
    }
}

fn outcome(error: Error) -> Outcome {
    match error {
        Error::Limited(limited) => of_limited(&limited),
        Error::Misconfigured(_) => Outcome::Misconfigured,
        Error::Reqwest(error) if error.is_connect() => Outcome::NotConnected,
        Error::Reqwest(error) if error.is_timeout() => Outcome::TimedOut,
        error => Outcome::Other(error.to_string()),
    }
}

fn of_limited(limited: &RateLimitError) -> Outcome {
    match limited.reason() {
        CoreError::WaitTooLong { needed, allowed } => {
            assert_eq!(limited.needed(), Some(*needed));
            assert!(limited.to_string().contains(&format!("{needed:?}")), "{limited}");
            Outcome::WaitTooLong { needed: *needed, allowed: *allowed }
        }
        CoreError::NeverFits { .. } => Outcome::NeverFits,
        reason => Outcome::Other(reason.to_string()),
    }
}

fn streamed(body: &'static str) -> reqwest::Body {
    reqwest::Body::wrap_stream(Piece(Some(body)))
}

/// One piece, and the end.
struct Piece(Option<&'static str>);

impl futures_core::Stream for Piece {
    type Item = Result<&'static str, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}

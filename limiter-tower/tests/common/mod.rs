//! Services and requests for tests.

#![allow(dead_code, unreachable_pub, unused_imports)] // each test file uses a part of this one

pub mod crowd;
mod remote;
mod world;

pub use remote::Remote;
pub use world::{World, policy};

use http::{HeaderName, Request, Response};
use std::{
    convert::Infallible,
    future::Ready as Immediate,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};
use tower::Service;

pub fn request() -> Request<String> {
    Request::new(String::new())
}

pub fn with_header(name: &'static str, value: &str) -> Request<String> {
    let mut request = request();
    request.headers_mut().insert(HeaderName::from_static(name), value.parse().unwrap());
    request
}

/// Answers 200, and panics when this very clone was not polled ready before the call.
#[derive(Default, Debug)]
pub struct Ready {
    polled: bool,
    calls: Arc<AtomicUsize>,
}

impl Clone for Ready {
    fn clone(&self) -> Self {
        Self { polled: false, calls: Arc::clone(&self.calls) }
    }
}

impl Service<Request<String>> for Ready {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Immediate<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.polled = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        assert!(std::mem::take(&mut self.polled), "called without being polled ready");
        self.calls.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(Response::new("hello".to_owned())))
    }
}

impl Ready {
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// The lines of a field, joined as RFC 9110 §5.3 allows.
pub fn field(response: &Response<String>, name: &str) -> String {
    let lines = response.headers().get_all(name).iter().map(|line| line.to_str().unwrap());
    lines.collect::<Vec<_>>().join(",")
}

/// A problem body, which agrees with its response.
pub fn problem(response: &Response<String>) -> serde_json::Value {
    assert_eq!(field(response, "content-type"), "application/problem+json");
    assert_eq!(field(response, "cache-control"), "no-store");
    let body: serde_json::Value = serde_json::from_str(response.body()).unwrap();
    assert_eq!(body["status"], response.status().as_u16());
    body
}

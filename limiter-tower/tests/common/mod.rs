//! Services and requests for tests.

#![allow(dead_code, unreachable_pub)] // each test file uses a part of this one

pub mod crowd;
pub mod remote;

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

//! What a request through the layer allocates: nothing of its own but the extension's box and the headers'.

#![allow(clippy::unwrap_used, unsafe_code)] // a global allocator is unsafe to implement

use http::{HeaderMap, HeaderValue, Request, Response, request::Parts};
use limiter_core::Limiter;
use limiter_tower::{FieldSet, RateLimitLayer};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
};
use tower::{Layer, Service};

struct Counting;

thread_local!(static COUNT: Cell<usize> = const { Cell::new(0) });

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations<R>(work: impl FnOnce() -> R) -> usize {
    let before = COUNT.with(Cell::get);
    let result = work();
    let count = COUNT.with(Cell::get) - before;
    drop(result);
    count
}

#[derive(Clone)]
struct Empty;

impl Service<Request<()>> for Empty {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(String::new())))
    }
}

fn respond(
    service: &mut impl Service<Request<()>, Response = Response<String>, Error = Infallible>,
) -> Response<String> {
    let mut response = pin!(service.call(Request::new(())));
    match response.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(response)) => response,
        Poll::Pending => unreachable!("memory answers at once"),
    }
}

fn layer(quota: &str) -> RateLimitLayer {
    RateLimitLayer::new(Limiter::parse(quota).unwrap()).key(|_: &Parts| "a key that lies in memory")
}

/// What a map and two header values cost by themselves.
fn headers_alone() -> usize {
    allocations(|| {
        let mut headers = HeaderMap::new();
        headers.append("ratelimit-policy", HeaderValue::from_static("made when the layer was"));
        headers.append("ratelimit", HeaderValue::try_from(String::from(r#""default";r=1;t=1"#)).unwrap());
        headers
    })
}

#[test]
fn an_admission_allocates_the_extension_and_the_headers_only() {
    let mut bare = layer("1000000/s").fields(FieldSet::NONE).layer(Empty);
    respond(&mut bare); // the key's state
    let extensions = allocations(|| {
        let mut extensions = http::Extensions::new();
        extensions.insert([0_u64; 50]);
        extensions
    });
    assert_eq!(allocations(|| respond(&mut bare)), extensions);

    let mut told = layer("1000000/s").layer(Empty);
    respond(&mut told);
    assert!(allocations(|| respond(&mut told)) <= extensions + headers_alone());
}

#[test]
fn a_denial_allocates_no_more_than_its_body_and_headers() {
    let mut service = layer("1/h").layer(Empty);
    respond(&mut service);
    let denial = allocations(|| respond(&mut service));
    assert!(denial <= headers_alone() + 2, "{denial}"); // the body, and Retry-After
}

//! What a request allocates: on its way in nothing but what its key, its extension and its header fields need; a denial
//! no more than an admission and the answer itself.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../limiter-core/tests/support/alloc.rs"]
mod alloc;

use alloc::{Allocations, watch};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, request::Parts};
use limiter_core::Limiter;
use limiter_tower::{FieldSet, Generation, HeaderKey, RateLimitLayer, Verdict};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
};
use tower::{Layer, Service, service_fn};

/// Answers 200 with an empty body, without an allocation.
#[derive(Clone)]
struct Bare;

impl Service<Request<()>> for Bare {
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

/// What a call allocates, once everything it can keep is there.
fn of_call<S>(service: &mut S, request: impl Fn() -> Request<()>) -> (StatusCode, Allocations)
where
    S: Service<Request<()>, Response = Response<String>, Error = Infallible>,
{
    let mut call = || {
        let request = request();
        let mut cx = Context::from_waker(Waker::noop());
        watch(|| {
            assert!(service.poll_ready(&mut cx).is_ready());
            match pin!(service.call(request)).poll(&mut cx) {
                Poll::Ready(Ok(response)) => response,
                Poll::Pending => panic!("an in-process store answers at once"),
            }
        })
    };
    call();
    let (response, allocations) = call();
    (response.status(), allocations)
}

fn request() -> Request<()> {
    Request::builder().header("x-api-key", "0123456789abcdef").body(()).unwrap()
}

fn key() -> HeaderKey {
    HeaderKey::new(HeaderName::from_static("x-api-key"))
}

fn layer(quota: &str) -> RateLimitLayer {
    RateLimitLayer::new(Limiter::parse(quota).unwrap())
}

/// What it takes to put a verdict into the extensions of a request that has none.
fn extension() -> Allocations {
    let (sent, received) = std::sync::mpsc::channel();
    let mut service = layer("9/h").layer(service_fn(move |request: Request<()>| {
        sent.send(request.extensions().get::<Verdict>().unwrap().clone()).unwrap();
        ready(Ok(Response::new(String::new())))
    }));
    of_call(&mut service, request);
    let verdict = received.recv().unwrap();
    watch(|| {
        let mut extensions = Extensions::new();
        extensions.insert(verdict);
        extensions
    })
    .1
}

/// What it takes to put as many values into the headers of a response that has none.
fn headers(names: &[&'static str]) -> Allocations {
    watch(|| {
        let mut headers = HeaderMap::new();
        for name in names {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(""));
        }
        headers
    })
    .1
}

#[test]
fn the_bare_service_allocates_nothing() {
    assert_eq!(of_call(&mut Bare, request), (StatusCode::OK, Allocations::default()));
}

#[test]
fn an_admission_allocates_its_extension_and_its_fields_only() {
    let extension = extension();
    assert_eq!(extension.count, 3, "the map, its table, the verdict");
    let map = headers(&["ratelimit-policy", "ratelimit"]);
    assert_eq!(map.count, 2, "its indices, its entries");
    let value = r#""default";r=999999998;t=1"#.len();

    for keyed in [layer("1000000000/s"), layer("1000000000/s").key(key())] {
        let (status, all) = of_call(&mut keyed.clone().fields(FieldSet::NONE).layer(Bare), request);
        assert_eq!((status, all), (StatusCode::OK, extension));

        let (status, all) = of_call(&mut keyed.layer(Bare), request);
        assert_eq!((status, all.count), (StatusCode::OK, 6), "and one for RateLimit; RateLimit-Policy is shared");
        assert_eq!(all.count, extension.count + map.count + 1);
        assert!(all.bytes <= extension.bytes + map.bytes + value, "{all:?}");
    }
}

#[test]
fn an_admission_without_a_verdict_and_fields_allocates_nothing() {
    let bare = layer("1000000000/s").key(key()).without_verdict();
    let (status, all) = of_call(&mut bare.clone().fields(FieldSet::NONE).layer(Bare), request);
    assert_eq!((status, all), (StatusCode::OK, Allocations::default()));
    let (_, with_fields) = of_call(&mut bare.layer(Bare), request);
    assert_eq!(with_fields.count, 3, "the map of the headers (2), RateLimit (1)");
}

#[test]
fn every_algorithm_and_several_rates_allocate_the_same() {
    for quota in ["fixed_window 1000000/h", "sliding_window 1000000/h", "sliding_log 1000000/h", "90000/s, 1000000/h"] {
        let (status, all) = of_call(&mut layer(quota).key(key()).layer(Bare), request);
        assert_eq!((status, all.count), (StatusCode::OK, 6), "{quota}");
    }
}

#[test]
fn a_request_with_extensions_of_its_own_needs_one_for_the_verdict() {
    let with_extension = || {
        let mut request = request();
        request.extensions_mut().insert(7_u8);
        request
    };
    let (_, all) = of_call(&mut layer("1000000000/s").fields(FieldSet::NONE).layer(Bare), with_extension);
    assert_eq!(all.count, 1);
}

#[test]
fn a_key_costs_what_its_closure_makes_it_of() {
    let number = |request: &Parts| request.headers.len() as u64;
    let text = |request: &Parts| request.headers["x-api-key"].to_str().unwrap().to_owned();
    let layer = || layer("1000000000/s");
    for (layer, expected) in [(layer().key(number), 3), (layer().key(text), 4)] {
        assert_eq!(of_call(&mut layer.fields(FieldSet::NONE).layer(Bare), request).1.count, expected);
    }
}

#[test]
fn a_denial_allocates_no_more_than_an_admission_and_its_answer() {
    let (_, admitted) = of_call(&mut layer("1000000000/s").key(key()).layer(Bare), request);
    let (status, denied) = of_call(&mut layer("1/h").key(key()).layer(Bare), request);
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    // No extension (3), but a map of the same size (2), RateLimit (1), Retry-After (1) and the body (1).
    assert_eq!((admitted.count, denied.count), (6, 5));

    let (_, soon) = of_call(&mut layer("1/9s").key(key()).layer(Bare), request);
    assert_eq!(soon.count, 4, "a Retry-After of one digit is none");

    let (_, silent) = of_call(&mut layer("1/h").fields(FieldSet::NONE).layer(Bare), request);
    assert_eq!(silent.count, 4, "the map (2), Retry-After (1), the body (1)");
}

#[test]
fn each_value_of_the_older_generations_is_one_allocation() {
    for (generation, values) in [(Generation::DraftB, 1), (Generation::DraftA, 3), (Generation::Legacy, 3)] {
        let (_, all) = of_call(&mut layer("1000000000/s").fields(generation).layer(Bare), request);
        assert_eq!(all.count, 5 + values, "{generation:?}");
    }
}

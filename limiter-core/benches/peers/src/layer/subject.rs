//! The layers that are compared, each around the same service.

use axum::body::Body;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use limiter_core::{Limiter, MemoryStore};
use limiter_tower::{FieldSet, HeaderKey, RateLimitLayer};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tower_governor::{
    GovernorError, GovernorLayer,
    governor::{GovernorConfig, GovernorConfigBuilder},
    key_extractor::KeyExtractor,
};
use tower_layer::Layer;
use tower_service::Service;

pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A layer around the service, or the service alone.
pub struct Subject {
    pub name: &'static str,
    /// Makes so many calls.
    pub calls: Box<dyn FnMut(usize)>,
}

/// The service alone; ours without fields, with them, denying; the peer's the same; ours without what the peer's has not.
pub const NAMES: [&str; 8] = [
    "no layer",
    "limiter",
    "limiter, with fields",
    "limiter, denied",
    "tower_governor",
    "tower_governor, with fields",
    "tower_governor, denied",
    "limiter, without verdict",
];

/// The subject of that name; `None` where there is none.
pub fn named(name: &str) -> Option<Subject> {
    let place = NAMES.iter().position(|candidate| *candidate == name)?;
    let name = NAMES[place];
    let day = Duration::from_secs(24 * 3600);
    Some(match place {
        0 => subject(name, Bare, StatusCode::OK),
        1 => subject(name, ours("1000000000/s").fields(FieldSet::NONE).layer(Bare), StatusCode::OK),
        2 => subject(name, ours("1000000000/s").layer(Bare), StatusCode::OK),
        3 => subject(name, ours("1/day").layer(Bare), StatusCode::TOO_MANY_REQUESTS),
        4 => subject(name, GovernorLayer::new(peer(NANOSECOND, u32::MAX)).layer(Bare), StatusCode::OK),
        5 => subject(name, with_fields().layer(Bare), StatusCode::OK),
        6 => subject(name, GovernorLayer::new(peer(day, 1)).layer(Bare), StatusCode::TOO_MANY_REQUESTS),
        _ => subject(name, ours("1000000000/s").fields(FieldSet::NONE).without_verdict().layer(Bare), StatusCode::OK),
    })
}

const NANOSECOND: Duration = Duration::from_nanos(1);

pub fn ours(quota: &str) -> RateLimitLayer {
    let store = MemoryStore::builder().max_keys(1 << 21).build();
    let limiter = Limiter::builder(quota.parse().expect("a quota")).store(store).build();
    RateLimitLayer::new(limiter).key(HeaderKey::new(API_KEY))
}

type Config<M> = GovernorConfig<ByApiKey, M>;
type NoFields = governor::middleware::NoOpMiddleware;
type WithFields = governor::middleware::StateInformationMiddleware;

/// A unit each `period`, and so many at once.
pub fn peer(period: Duration, burst: u32) -> Config<NoFields> {
    let mut builder = GovernorConfigBuilder::default().key_extractor(ByApiKey);
    builder.period(period).burst_size(burst).finish().expect("a configuration")
}

fn with_fields() -> GovernorLayer<ByApiKey, WithFields, Body> {
    let mut builder = GovernorConfigBuilder::default().key_extractor(ByApiKey);
    let config = builder.period(NANOSECOND).burst_size(u32::MAX).use_headers().finish();
    GovernorLayer::new(config.expect("a configuration"))
}

/// The same header as ours, kept as a String.
#[derive(Clone, Debug)]
pub struct ByApiKey;

impl KeyExtractor for ByApiKey {
    type Key = String;

    fn extract<T>(&self, request: &Request<T>) -> Result<String, GovernorError> {
        let value = request.headers().get(API_KEY).and_then(|value| value.to_str().ok());
        value.map(str::to_owned).ok_or(GovernorError::UnableToExtractKey)
    }
}

/// Answers with an empty body.
#[derive(Clone)]
pub struct Bare;

impl Service<Request<()>> for Bare {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        black_box(request);
        ready(Ok(Response::new(Body::empty())))
    }
}

pub trait HttpService: Service<Request<()>, Response = Response<Body>, Error = Infallible> {}

impl<S: Service<Request<()>, Response = Response<Body>, Error = Infallible>> HttpService for S {}

fn subject(name: &'static str, mut service: impl HttpService + 'static, expected: StatusCode) -> Subject {
    let key = HeaderValue::from_static("0123456789abcdef");
    call(&mut service, key.clone()); // what a key has at once, some layers deny only then
    let calls = Box::new(move |calls: usize| {
        for _ in 0..calls {
            let response = call(&mut service, key.clone());
            assert_eq!(response.status(), expected, "{name}");
        }
    });
    Subject { name, calls }
}

/// A request with that key, from its making to the response.
#[inline]
pub fn call(service: &mut impl HttpService, key: HeaderValue) -> Response<Body> {
    let mut request = Request::new(());
    request.headers_mut().insert(API_KEY, key);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    match pin!(service.call(request)).poll(&mut cx) {
        Poll::Ready(Ok(response)) => black_box(response),
        Poll::Pending => panic!("every one of them answers at once"),
    }
}

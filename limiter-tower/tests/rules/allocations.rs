//! Rules that can change cost a request no memory beyond what a layer without them takes.

use crate::alloc::{Allocations, watch};
use http::{Request, Response};
use limiter_core::Limiter;
use limiter_tower::{HeaderKey, PolicyName, RateLimitLayer, RulesFormat, RulesLayer, RulesReader};
use std::{
    convert::Infallible,
    future::ready,
    pin::pin,
    task::{Context, Poll, Waker},
};
use tower::{Layer, Service, service_fn};

/// What an admitted request allocates, once everything that is kept is there.
fn of_call(mut service: impl Service<Request<()>, Response = Response<String>, Error = Infallible>) -> Allocations {
    let mut call = || {
        let request = Request::builder().header("x-api-key", "ada").body(()).unwrap();
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
    assert_eq!(response.headers()["ratelimit-policy"], "\"api\";q=100;w=3600");
    allocations
}

#[test]
fn a_request_allocates_no_more_than_without_rules() {
    let inner = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new()))));
    let fixed = RateLimitLayer::new(Limiter::parse("100/h").unwrap())
        .key(HeaderKey::new("x-api-key".parse().unwrap()))
        .policy_name(PolicyName::new("api").unwrap());
    let text = "[[policy]]\nname = 'api'\nquota = '100/h'\nkey = 'header:x-api-key'";
    let rules = RulesLayer::new(RulesReader::new().parse(text, RulesFormat::Toml).unwrap());
    let without = of_call(fixed.layer(inner));
    assert!(without.count > 0);
    assert_eq!(of_call(rules.layer(inner)), without);
}

//! What a throttled call allocates: nothing, where units are at hand in this process, and nothing for who is refused.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../limiter-core/tests/support/alloc.rs"]
mod alloc;

use alloc::{Allocations, watch};
use limiter_core::Limiter;
use limiter_tower::{ThrottleError, ThrottleLayer};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tower::{Layer, Service};

#[derive(Clone)]
struct Bare;

impl Service<u64> for Bare {
    type Response = u64;
    type Error = Infallible;
    type Future = Ready<Result<u64, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(request))
    }
}

/// What a call and its answer allocate.
fn of_call(service: &mut impl Service<u64, Response = u64, Error = ThrottleError>) -> (bool, Allocations) {
    let mut cx = Context::from_waker(Waker::noop());
    let (answer, allocations) = watch(|| {
        assert!(service.poll_ready(&mut cx).is_ready());
        pin!(service.call(7)).poll(&mut cx)
    });
    match answer {
        Poll::Ready(answer) => (answer.is_ok(), allocations),
        Poll::Pending => panic!("there is nothing to wait for"),
    }
}

#[test]
fn a_call_with_units_at_hand_and_a_refused_one_allocate_nothing() {
    let throttle = ThrottleLayer::new(Limiter::parse("3/h").unwrap()).max_wait(Duration::ZERO);
    let by_number = throttle.key(|number: &u64| *number).cost(|_| 1);
    let mut service = by_number.layer(Bare);
    assert!(of_call(&mut service).0, "the first one makes room for the key");
    assert_eq!(of_call(&mut service), (true, Allocations::default()));
    assert_eq!(of_call(&mut service), (true, Allocations::default()));
    assert_eq!(of_call(&mut service), (false, Allocations::default()));
}

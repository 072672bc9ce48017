//! Decisions as `tracing` events: refusals for all to see, failures as warnings, admissions for those who look closely.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "support/trace.rs"]
mod lines;

use common::{Ready, Remote, World, request};
use limiter_core::Store;
use limiter_tower::{RateLimitLayer, StoreFailure};
use lines::Lines;
use tower::{Layer, ServiceExt};

/// What is traced of so many requests.
fn traced<S: Store>(layer: &RateLimitLayer<S>, requests: usize) -> Vec<String> {
    let lines = Lines::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    tracing::subscriber::with_default(lines.clone(), || {
        let service = layer.layer(Ready::default());
        for _ in 0..requests {
            runtime.block_on(service.clone().oneshot(request())).unwrap();
        }
    });
    lines.take()
}

#[test]
fn admissions_are_for_those_who_look_closely_and_refusals_for_all() {
    let world = World::new();
    let decided = traced(&RateLimitLayer::new(world.policy("api", "fixed_window 1/h")), 2);
    let admitted = "DEBUG message=request decided event=admitted: api allowed: 0 of 1 left, reset after ";
    assert!(decided[0].starts_with(admitted), "{}", decided[0]);
    let denied = "INFO message=request refused, or it would have been event=denied: api denied by 1/h: 0 of 1 left, ";
    assert!(decided[1].starts_with(denied), "{}", decided[1]);

    let forbidden = traced(&RateLimitLayer::new(world.policy("api", "1/h")).block(|_| true), 1);
    assert_eq!(forbidden, ["INFO message=request refused, or it would have been event=forbidden"]);
}

#[test]
fn what_a_request_asks_for_is_no_failure_of_the_store() {
    let world = World::new();
    for layer in [
        RateLimitLayer::new(world.policy("api", "1/h")).cost(|_| 2),
        RateLimitLayer::new(world.builder("api", "1/h").at_once(0).build()),
    ] {
        let refused = traced(&layer, 1);
        assert!(refused[0].starts_with("INFO message=request refused, or it would have been event="), "{refused:?}");
    }
}

#[test]
fn a_store_that_fails_is_a_warning_whatever_becomes_of_the_request() {
    let layer = || RateLimitLayer::new(World::over(Remote::down()).policy("api", "1/h"));
    for (then, outcome) in [
        (StoreFailure::Refuse, "store failed: "),
        (StoreFailure::Allow, "let through: "),
        (StoreFailure::DecideLocally, "admitted: api allowed: 0 of 1 left, "),
    ] {
        let failed = traced(&layer().on_store_failure(then), 1);
        assert!(failed[0].starts_with(&format!("WARN message=the store failed event={outcome}")), "{failed:?}");
    }
}

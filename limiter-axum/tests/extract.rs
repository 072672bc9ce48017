//! The decision in handlers, over real sockets.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../limiter-tower/tests/common/remote.rs"]
#[allow(dead_code, unreachable_pub)] // it can more than is needed here
mod remote;

use axum::{Router, routing::get};
use common::{limit, serve};
use http::request::Parts;
use limiter_axum::{Limited, RateLimitLayer, StoreFailure};
use limiter_core::Limiter;
use remote::Remote;

async fn left(Limited(decision): Limited) -> String {
    format!("{} of {}", decision.remaining(), decision.limit())
}

async fn left_if_limited(limited: Option<Limited>) -> String {
    limited.map_or("unlimited".to_owned(), |limited| format!("{} left", limited.remaining()))
}

#[tokio::test]
async fn a_handler_reads_what_is_left() {
    let server = serve(Router::new().route("/", get(left)).layer(limit("3/h"))).await;
    assert_eq!(server.get("/").await.body, "2 of 3");
    let second = server.get("/").await;
    assert_eq!(second.body, "1 of 3");
    assert_eq!(second.headers["ratelimit"], r#""default";r=1;t=2400"#);
}

#[tokio::test]
async fn of_several_layers_the_innermost_is_read() {
    let app = Router::new().route("/", get(left).layer(limit("3/h"))).layer(limit("9/h"));
    assert_eq!(serve(app).await.get("/").await.body, "2 of 3");
}

#[tokio::test]
async fn without_a_layer_the_rejection_names_it() {
    let reply = serve(Router::new().route("/", get(left))).await.get("/").await;
    assert_eq!(reply.status, 500);
    assert!(reply.body.contains("RateLimitLayer"), "{}", reply.body);
}

#[tokio::test]
async fn a_request_that_a_layer_lets_pass_undecided_is_told_to_be_unlimited() {
    let unlimited = format!("{0} of {0}", u64::MAX);
    let app = |layer| Router::new().route("/", get(left)).layer(layer);
    let skips = limit("3/h").skip(|request| request.uri.query().is_some());
    let server = serve(app(skips)).await;
    assert_eq!((server.get("/?free").await.body, server.get("/").await.body), (unlimited.clone(), "2 of 3".to_owned()));

    let by_query = |request: &Parts| request.uri.query().map(str::to_owned);
    assert_eq!(serve(app(limit("3/h").key(by_query))).await.get("/").await.body, unlimited);

    let limiter = Limiter::builder("3/h".parse().unwrap()).store(Remote::down()).build();
    let allows = RateLimitLayer::new(limiter).on_store_failure(StoreFailure::Allow);
    let reply = serve(Router::new().route("/", get(left)).layer(allows)).await.get("/").await;
    assert_eq!((reply.status, reply.body), (200, unlimited));
}

#[tokio::test]
async fn what_a_layer_further_out_decided_is_read_where_the_inner_one_did_not() {
    let app = Router::new().route("/", get(left).layer(limit("3/h").skip(|_| true))).layer(limit("9/h"));
    assert_eq!(serve(app).await.get("/").await.body, "8 of 9");
}

#[tokio::test]
async fn an_optional_decision_is_none_for_an_unlimited_request() {
    let by_query = |request: &Parts| request.uri.query().map(str::to_owned);
    let server = serve(Router::new().route("/", get(left_if_limited)).layer(limit("3/h").key(by_query))).await;
    assert_eq!(server.get("/").await.body, "unlimited");
    assert_eq!(server.get("/?ada").await.body, "2 left");
}

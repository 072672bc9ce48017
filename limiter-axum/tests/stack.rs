//! Among other layers, in any order: each does its work, and the limit its own.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../limiter-tower/tests/support/mod.rs"]
mod support;

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use common::{limit as layer, serve};
use http::{Method, StatusCode, header, request::Parts};
use limiter_axum::{Generation, RateLimitLayer, exposed_headers};
use std::time::Duration;
use support::{
    client::Connection,
    fields::{integer, strings},
};
use tower::ServiceBuilder;
use tower_http::{
    classify::{ServerErrorsAsFailures, SharedClassifier},
    compression::CompressionLayer,
    cors::{Any, CorsLayer},
    timeout::TimeoutLayer,
    trace::TraceLayer,
};

fn pages() -> Router {
    let slow = async || tokio::time::sleep(Duration::from_secs(3600)).await;
    Router::new().route("/", get(async || "hello ".repeat(100))).route("/slow", get(slow))
}

fn limit() -> RateLimitLayer {
    layer("sliding_log 3/h")
}

fn timeout() -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(2))
}

fn trace() -> TraceLayer<SharedClassifier<ServerErrorsAsFailures>> {
    TraceLayer::new_for_http()
}

fn compression() -> CompressionLayer {
    CompressionLayer::new()
}

/// A router behind four layers, the first of them outermost: added one by one, and as one stack, in which each layer
/// gives the next one a body of axum's.
macro_rules! orders {
    ($($first:ident $second:ident $third:ident $fourth:ident;)*) => {
        vec![$((
            [stringify!($first), stringify!($second), stringify!($third), stringify!($fourth)],
            pages().layer($fourth()).layer($third()).layer($second()).layer($first()),
            pages().layer(
                ServiceBuilder::new()
                    .layer($first())
                    .map_response(IntoResponse::into_response)
                    .layer($second())
                    .map_response(IntoResponse::into_response)
                    .layer($third())
                    .map_response(IntoResponse::into_response)
                    .layer($fourth()),
            ),
        )),*]
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_order_of_four_layers_works() {
    let all = orders! {
        limit timeout trace compression;
        limit timeout compression trace;
        limit trace timeout compression;
        limit trace compression timeout;
        limit compression timeout trace;
        limit compression trace timeout;
        timeout limit trace compression;
        timeout limit compression trace;
        timeout trace limit compression;
        timeout trace compression limit;
        timeout compression limit trace;
        timeout compression trace limit;
        trace limit timeout compression;
        trace limit compression timeout;
        trace timeout limit compression;
        trace timeout compression limit;
        trace compression limit timeout;
        trace compression timeout limit;
        compression limit timeout trace;
        compression limit trace timeout;
        compression timeout limit trace;
        compression timeout trace limit;
        compression trace limit timeout;
        compression trace timeout limit;
    };
    assert_eq!(all.len(), 24);
    let mut checks = tokio::task::JoinSet::new();
    for (order, one_by_one, stack) in all {
        for app in [one_by_one, stack] {
            checks.spawn(each_layer_works(order, app));
        }
    }
    checks.join_all().await;
}

async fn each_layer_works(order: [&str; 4], app: Router) {
    let is_outside = |one, other| {
        let place = |wanted| order.iter().position(|layer| *layer == wanted);
        place(one) < place(other)
    };
    let mut connection = Connection::http1(serve(app).await.address).await;

    let gzipped = connection.send_as(Method::GET, "/", &[("accept-encoding", "gzip")]).await;
    assert_eq!((gzipped.status(), &gzipped.headers()["content-encoding"]), (StatusCode::OK, &"gzip".parse().unwrap()));
    assert_eq!(strings(gzipped.headers(), "ratelimit")[0].parameters["r"], 2, "{order:?}");

    // What a time-out cuts off was charged; who stands outside of it is told so.
    let late = connection.get("/slow").await;
    assert_eq!(late.status(), StatusCode::GATEWAY_TIMEOUT, "{order:?}");
    assert_eq!(late.headers().contains_key("ratelimit"), is_outside("limit", "timeout"), "{order:?}");

    let plain = connection.get("/").await;
    assert_eq!((plain.status(), plain.body().len()), (StatusCode::OK, 600));
    assert_eq!(strings(plain.headers(), "ratelimit")[0].parameters["r"], 0, "{order:?}");

    // A denial stays one whatever stands around it, also where what it denies would not have come in time.
    for path in ["/", "/slow"] {
        let denied = connection.get(path).await;
        assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS, "{order:?}");
        assert_eq!(denied.headers()["content-type"], "application/problem+json");
        let body: serde_json::Value = serde_json::from_str(denied.body()).unwrap();
        assert_eq!(body["status"], 429, "{order:?}");
        let told = strings(denied.headers(), "ratelimit")[0].parameters["t"];
        assert_eq!(integer(denied.headers(), "retry-after"), told);
    }
    let denied = connection.send_as(Method::GET, "/", &[("accept-encoding", "gzip")]).await;
    assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(denied.headers().contains_key("content-encoding"), is_outside("compression", "limit"), "{order:?}");
}

const ORIGIN: (&str, &str) = ("origin", "https://app.example");

async fn preflight(connection: &mut Connection) -> Response<String> {
    let headers = [ORIGIN, ("access-control-request-method", "GET"), ("access-control-request-headers", "x-api-key")];
    connection.send_as(Method::OPTIONS, "/", &headers).await
}

async fn from_page(connection: &mut Connection) -> Response<String> {
    connection.send_as(Method::GET, "/", &[ORIGIN]).await
}

fn cors() -> CorsLayer {
    let exposed = exposed_headers(Generation::Structured);
    CorsLayer::new().allow_origin(Any).allow_headers(Any).expose_headers(exposed)
}

fn is_preflight(request: &Parts) -> bool {
    request.method == Method::OPTIONS && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

#[tokio::test]
async fn a_preflight_is_not_charged_inside_of_cors_and_a_page_may_read_its_denial() {
    let stack = ServiceBuilder::new().layer(cors()).layer(limit());
    for app in [pages().layer(limit()).layer(cors()), pages().layer(stack)] {
        let mut connection = Connection::http1(serve(app).await.address).await;
        for expected in [StatusCode::OK, StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
            for _ in 0..3 {
                let allowed = preflight(&mut connection).await;
                assert_eq!((allowed.status(), allowed.headers().contains_key("ratelimit")), (StatusCode::OK, false));
                assert_eq!(allowed.headers()["access-control-allow-headers"], "*");
            }
            let answer = from_page(&mut connection).await;
            assert_eq!(answer.status(), expected);
            assert_eq!(answer.headers()["access-control-allow-origin"], "*");
            let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap();
            let exposed: Vec<_> = exposed.split(',').collect();
            for field in ["ratelimit", "ratelimit-policy", "retry-after"] {
                assert!(exposed.contains(&field), "{exposed:?}");
                let is_expected = field != "retry-after" || expected == StatusCode::TOO_MANY_REQUESTS;
                assert_eq!(answer.headers().contains_key(field), is_expected);
            }
        }
    }
}

#[tokio::test]
async fn a_preflight_that_is_skipped_is_not_charged_outside_of_cors() {
    let limit = || limit().skip(is_preflight);
    let stack = ServiceBuilder::new().layer(limit()).layer(cors());
    for app in [pages().layer(cors()).layer(limit()), pages().layer(stack)] {
        let mut connection = Connection::http1(serve(app).await.address).await;
        for expected in [StatusCode::OK, StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
            assert_eq!(preflight(&mut connection).await.status(), StatusCode::OK);
            assert_eq!(from_page(&mut connection).await.status(), expected);
        }
    }
}

#[tokio::test]
async fn a_plain_options_request_is_charged_where_preflights_are_skipped() {
    let limited = pages().layer(limit().skip(is_preflight));
    let mut connection = Connection::http1(serve(limited).await.address).await;
    for expected in [405, 405, 405, 429] {
        assert_eq!(connection.send_as(Method::OPTIONS, "/", &[]).await.status(), expected);
    }
}

#[tokio::test]
async fn outside_of_cors_and_without_a_skip_a_preflight_is_charged() {
    let mut connection = Connection::http1(serve(pages().layer(cors()).layer(limit())).await.address).await;
    for expected in [StatusCode::OK, StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        assert_eq!(preflight(&mut connection).await.status(), expected);
    }
}

//! What tower's own rate limit gets wrong (axum#3682), on ours: it is not `Clone`; behind a `Buffer`, which makes it so, it
//! limits nothing where axum applies the layer anew for each request.

use axum::{Router, error_handling::HandleErrorLayer, http::StatusCode, routing::get};
use limiter_core::Limiter;
use limiter_tower::{ThrottleError, ThrottleLayer};
use std::time::{Duration, Instant};
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};

#[tokio::test]
async fn it_is_clone_and_all_clones_and_services_of_a_layer_are_under_one_limit() {
    let layer = ThrottleLayer::new(Limiter::parse("3/h").unwrap()).max_wait(Duration::ZERO);
    let echo = || service_fn(|n: u8| async move { Ok::<_, std::io::Error>(n) });
    let (one, other) = (layer.layer(echo()), layer.clone().layer(echo()));
    let mut admitted = 0;
    for service in [one.clone(), one.clone(), other.clone(), one, other] {
        admitted += usize::from(service.oneshot(1).await.is_ok());
    }
    assert_eq!(admitted, 3);
}

/// The address of a server of `app`.
async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/")
}

/// How many of `requests` at once are answered with 200 and how many with 429.
async fn storm(url: &str, requests: usize) -> (usize, usize) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let tasks: Vec<_> = (0..requests).map(|_| tokio::spawn(client.get(url).send())).collect();
    let mut counts = (0, 0);
    for task in tasks {
        match task.await.unwrap().unwrap().status() {
            StatusCode::OK => counts.0 += 1,
            StatusCode::TOO_MANY_REQUESTS => counts.1 += 1,
            other => panic!("{other}"),
        }
    }
    counts
}

async fn answer(error: BoxError) -> StatusCode {
    match error.downcast_ref() {
        Some(ThrottleError::Refused(_)) => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_axum_it_admits_exactly_the_limit_behind_a_buffer_around_one_and_without() {
    let throttle = || ThrottleLayer::new(Limiter::parse("20/h").unwrap()).max_wait(Duration::ZERO);
    let route = || get(|| async { "hello" });
    let plain = ServiceBuilder::new().layer(HandleErrorLayer::new(|error: ThrottleError| answer(error.into())));
    let behind = ServiceBuilder::new().layer(HandleErrorLayer::new(answer)).buffer(1024);
    let around = ServiceBuilder::new().layer(HandleErrorLayer::new(|error: ThrottleError| answer(error.into())));
    for app in [
        Router::new().route("/", route().layer(plain.layer(throttle()))),
        Router::new().route("/", route()).layer(behind.layer(throttle())),
        Router::new().route("/", route()).layer(around.layer(throttle()).buffer(1024)),
    ] {
        assert_eq!(storm(&serve(app).await, 150).await, (20, 130));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_axum_requests_that_may_wait_come_through_at_the_quotas_pace() {
    let throttle = ThrottleLayer::new(Limiter::parse("sliding_log 10/200ms").unwrap());
    let handled = ServiceBuilder::new().layer(HandleErrorLayer::new(answer)).buffer(1024).layer(throttle);
    let url = serve(Router::new().route("/", get(|| async { "hello" })).layer(handled)).await;
    let begun = Instant::now();
    assert_eq!(storm(&url, 40).await, (40, 0));
    assert!(begun.elapsed() > Duration::from_millis(600), "{:?}", begun.elapsed());
}

//! Clients as tower services, over real sockets: reqwest's own, hyper's, and tonic's channel.

use axum::{Router, extract::State, http::Uri, routing::get};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{client::legacy, rt::TokioExecutor};
use limiter_core::{Error, Limiter};
use limiter_tower::{Throttle, ThrottleError, ThrottleLayer};
use std::{
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

type Arrivals = Arc<Mutex<Vec<(String, Instant)>>>;

/// A server that notes each request; its address.
async fn server() -> (String, Arrivals) {
    let arrivals = Arrivals::default();
    let note = |State(arrivals): State<Arrivals>, uri: Uri| async move {
        arrivals.lock().unwrap().push((uri.path().to_owned(), Instant::now()));
    };
    let app = Router::new().fallback(get(note)).with_state(Arc::clone(&arrivals));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}"), arrivals)
}

/// Twelve requests at four in 150 ms take three periods; `since` is when the first was called.
fn assert_paced(arrivals: &Arrivals, since: Instant) {
    let arrivals = arrivals.lock().unwrap();
    assert_eq!(arrivals.len(), 12);
    for (place, (path, at)) in arrivals.iter().enumerate() {
        let period = u32::try_from(place / 4).unwrap();
        assert!(at.duration_since(since) >= period * Duration::from_millis(150), "{place}: {path}");
    }
}

const QUOTA: &str = "sliding_log 4/150ms";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reqwests_own_client_arrives_at_the_quotas_pace() {
    let (base, arrivals) = server().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let service: Throttle<reqwest::Client, reqwest::Request> =
        ThrottleLayer::new(Limiter::parse(QUOTA).unwrap()).layer(client.clone());
    let since = Instant::now();
    let tasks: Vec<_> = (0..12)
        .map(|number| client.get(format!("{base}/{number}")).build().unwrap())
        .map(|request| tokio::spawn(service.clone().oneshot(request)))
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), 200);
    }
    assert_paced(&arrivals, since);
}

#[tokio::test]
async fn one_client_that_sends_one_by_one_keeps_its_order() {
    let (base, arrivals) = server().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut service = ThrottleLayer::new(Limiter::parse(QUOTA).unwrap()).layer(client.clone());
    let since = Instant::now();
    for number in 0..12 {
        let request = client.get(format!("{base}/{number}")).build().unwrap();
        service.ready().await.unwrap().call(request).await.unwrap();
    }
    assert_paced(&arrivals, since);
    let paths: Vec<_> = arrivals.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(paths, (0..12).map(|number| format!("/{number}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn reqwests_own_errors_are_found_by_their_type() {
    let port = tokio::net::TcpSocket::new_v4().unwrap(); // at which nobody listens
    port.bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let url = format!("http://{}/", port.local_addr().unwrap());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut service = ThrottleLayer::new(Limiter::parse("1/h").unwrap()).max_wait(Duration::ZERO).layer(client.clone());
    let failed = service.ready().await.unwrap().call(client.get(&url).build().unwrap()).await.unwrap_err();
    assert!(failed.inner::<reqwest::Error>().unwrap().is_connect());
    // It was charged: whether it was sent cannot be told here.
    let refused = service.ready().await.unwrap().call(client.get(&url).build().unwrap()).await.unwrap_err();
    assert!(matches!(refused, ThrottleError::Refused(Error::WaitTooLong { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hypers_client_arrives_at_the_quotas_pace_with_a_key_a_host() {
    let (base, arrivals) = server().await;
    let (other, unlimited) = server().await;
    let client = legacy::Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let throttle = ThrottleLayer::new(Limiter::parse(QUOTA).unwrap())
        .key(|request: &http::Request<Full<Bytes>>| request.uri().authority().map(ToString::to_string));
    let service = throttle.layer(client);
    let request = |url: String| http::Request::get(url).body(Full::default()).unwrap();
    let since = Instant::now();
    let tasks: Vec<_> =
        (0..12).map(|number| tokio::spawn(service.clone().oneshot(request(format!("{base}/{number}"))))).collect();
    service.clone().oneshot(request(format!("{other}/"))).await.unwrap();
    assert_eq!(unlimited.lock().unwrap().len(), 1, "another host, another line");
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), 200);
    }
    assert_paced(&arrivals, since);
}

/// Whether a generated client takes it for its channel.
fn as_generated_clients_need_it<T: tonic::client::GrpcService<tonic::body::Body>>(channel: T) -> T {
    channel
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tonic_channel_arrives_at_the_quotas_pace() {
    let (base, arrivals) = server().await; // which speaks HTTP/2 too
    let channel = tonic::transport::Channel::from_shared(base).unwrap().connect_lazy();
    let channel = ThrottleLayer::new(Limiter::parse(QUOTA).unwrap()).layer(channel);
    let channel = as_generated_clients_need_it(channel);
    let since = Instant::now();
    let tasks: Vec<_> = (0..12)
        .map(|number| http::Request::get(format!("/service/{number}")).body(tonic::body::Body::empty()).unwrap())
        .map(|request| tokio::spawn(channel.clone().oneshot(request)))
        .collect();
    for task in tasks {
        let response = task.await.unwrap().unwrap();
        assert_eq!((response.status(), response.version()), (http::StatusCode::OK, http::Version::HTTP_2));
    }
    assert_paced(&arrivals, since);
}

#[tokio::test]
async fn an_inner_error_and_a_time_out_inside_compose() {
    let service = service_fn(|request: http::Request<String>| async move {
        match request.uri().path() {
            "/slow" => std::future::pending().await,
            "/broken" => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
            path => Ok(http::Response::new(path.to_owned())),
        }
    });
    // The time-out counts the call, not the wait for its turn.
    let throttle = ThrottleLayer::new(Limiter::parse("sliding_log 1/120ms").unwrap());
    let stack = ServiceBuilder::new().layer(throttle).timeout(Duration::from_millis(60)).service(service);
    let call = |path: &str| stack.clone().oneshot(http::Request::get(path).body(String::new()).unwrap());
    assert_eq!(call("/1").await.unwrap().body(), "/1");
    assert_eq!(call("/2").await.unwrap().body(), "/2", "after a wait longer than the time-out");
    let broken = call("/broken").await.unwrap_err();
    assert_eq!(broken.inner::<io::Error>().unwrap().kind(), io::ErrorKind::BrokenPipe);
    assert!(call("/slow").await.unwrap_err().inner::<tower::timeout::error::Elapsed>().is_some());
}

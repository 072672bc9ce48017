//! What only some kinds have.

use crate::{
    common::{closed, plain_client, virtual_limiter},
    kinds::{Kind, Outcome},
};
use limiter_core::Limiter;
use limiter_reqwest::{Client, Error, LimitedError, Limits, blocking};
use reqwest::{Method, Version, header::HeaderMap};
use std::{
    convert::Infallible,
    error::Error as _,
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};
use tower::{Layer, ServiceExt};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

async fn server() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_string("body")).mount(&server).await;
    server
}

fn limits(quota: &str) -> Limits {
    Limits::new(Limiter::parse(quota).unwrap())
}

fn blocking_client(limits: Limits) -> blocking::Client {
    blocking::Client::new(reqwest::blocking::Client::builder().no_proxy().build().unwrap(), limits)
}

/// Without a runtime anywhere: the server is a thread too.
#[test]
fn threads_share_a_quota_without_a_runtime() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody").unwrap();
        }
    });
    let client = blocking_client(limits("sliding_log 5/500ms"));
    let started = Instant::now();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (client, url) = (client.clone(), url.clone());
            thread::spawn(move || {
                for _ in 0..5 {
                    assert_eq!(client.get(&url).send().unwrap().text().unwrap(), "body");
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(started.elapsed() > Duration::from_secs(1), "15 at 5 each 500 ms are two waits");

    let status = client.status(&url.parse().unwrap()).unwrap().unwrap();
    assert_eq!((status.answered, status.waiting, status.in_flight), (15, 0, 0));
    assert_eq!(client.statuses().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_told_to_one_kind_holds_the_others() {
    let server = MockServer::start().await;
    let refusal = ResponseTemplate::new(503).insert_header("retry-after", "5");
    Mock::given(any()).respond_with(refusal).up_to_n_times(1).mount(&server).await;
    let (limiter, _) = virtual_limiter("sliding_log 10/s");
    let limits = Limits::new(limiter).max_wait(Duration::ZERO);
    let blocking = Kind::Blocking.client(limits.clone()).await;
    assert_eq!(blocking.post(&server.uri()).await, Outcome::Answered(503));
    for kind in [Kind::Middleware, Kind::Wrapped, Kind::Blocking, Kind::Tower] {
        let outcome = kind.client(limits.clone()).await.post(&server.uri()).await;
        let Outcome::WaitTooLong { needed, .. } = outcome else { panic!("{kind:?}: {outcome:?}") };
        assert_eq!(needed, Duration::from_secs(5), "{kind:?}");
    }
}

/// One method of each kind, and each way to say something of a request.
macro_rules! everything {
    ($client:expr, $url:expr) => {{
        let (client, url) = ($client, $url);
        let mut headers = HeaderMap::new();
        headers.insert("x-many", "3".parse().unwrap());
        let request = client
            .put(url)
            .header("x-one", "1")
            .headers(headers)
            .bearer_auth("token")
            .query(&[("page", "2")])
            .json(&[1, 2])
            .version(Version::HTTP_11)
            .map(|builder| builder.header("x-mapped", "yes"))
            .timeout(Duration::from_secs(60));
        assert!(request.try_clone().is_some());
        request
    }};
}

fn check_everything(requests: &[wiremock::Request], others: &[&str]) {
    let first = &requests[0];
    let field = |name: &str| first.headers.get(name).and_then(|value| value.to_str().ok());
    assert_eq!((first.method.as_str(), first.url.query()), ("PUT", Some("page=2")));
    assert_eq!((field("x-one"), field("x-many"), field("x-mapped")), (Some("1"), Some("3"), Some("yes")));
    assert_eq!((field("authorization"), field("content-type")), (Some("Bearer token"), Some("application/json")));
    assert_eq!(first.body, b"[1,2]");
    let methods: Vec<_> = requests[1..].iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, others);
    assert_eq!(requests[1].headers.get("authorization").unwrap(), "Basic YWRhOnNlY3JldA==");
}

const METHODS: [&str; 6] = ["GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"];

#[tokio::test]
async fn the_wrapped_client_has_reqwests_surface() {
    let server = server().await;
    let (client, url) = (Client::new(plain_client(), limits("sliding_log 100/s")), &server.uri());
    assert_eq!(everything!(&client, url).send().await.unwrap().status(), 200);
    client.get(url).basic_auth("ada", Some("secret")).send().await.unwrap();
    let request = client.post(url).form(&[("a", "b")]).build().unwrap();
    client.execute(request).await.unwrap();
    for request in [client.patch(url), client.delete(url), client.head(url), client.request(Method::OPTIONS, url)] {
        request.send().await.unwrap();
    }
    check_everything(&server.received_requests().await.unwrap(), &METHODS);
    let status = client.limits().status(&url.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(status.answered, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_blocking_client_has_reqwests_surface() {
    let server = server().await;
    let url = server.uri();
    let blocking = move || {
        let (client, url) = (blocking_client(limits("sliding_log 100/s")), &url);
        assert_eq!(everything!(&client, url).send().unwrap().status(), 200);
        client.get(url).basic_auth("ada", Some("secret")).send().unwrap();
        let request = client.post(url).form(&[("a", "b")]).build().unwrap();
        client.execute(request).unwrap();
        for request in [client.patch(url), client.delete(url), client.head(url), client.request(Method::OPTIONS, url)] {
            request.send().unwrap();
        }
        client.status(&url.parse().unwrap()).unwrap().unwrap().answered
    };
    assert_eq!(tokio::task::spawn_blocking(blocking).await.unwrap(), 7);
    check_everything(&server.received_requests().await.unwrap(), &METHODS);
}

#[tokio::test]
async fn errors_say_what_they_come_from_and_can_do_without_the_url() {
    let (_port, closed) = closed();
    let client = Client::new(plain_client(), limits("sliding_log 1/h").max_wait(Duration::ZERO));
    let error = client.get(format!("http://{closed}/?token=secret")).send().await.unwrap_err();
    assert!(error.reqwest().is_some_and(reqwest::Error::is_connect) && error.source().is_some());
    assert!(!error.without_url().to_string().contains("secret"));

    let error = client.get("no url").send().await.unwrap_err();
    assert!(error.reqwest().is_some_and(reqwest::Error::is_builder), "{error}");

    let server = server().await;
    assert!(client.get(server.uri()).send().await.is_ok());
    let error = client.get(server.uri()).send().await.unwrap_err();
    assert!(error.needed() > Some(Duration::from_secs(3500)), "{error}");
    assert!(matches!(&error, Error::Limited(limited) if error.limited().unwrap().host() == limited.host()));
}

#[tokio::test]
async fn a_service_of_requests_without_a_uris_host_goes_by_the_host_field() {
    let echo = tower::service_fn(async |request: http::Request<()>| Ok::<_, Infallible>(http::Response::new(request)));
    let service = limits("sliding_log 1/h").max_wait(Duration::ZERO).layer(echo);
    let get = |host: &str| http::Request::get("/").header("host", host).body(()).unwrap();
    let answer = service.clone().oneshot(get("a.example")).await.unwrap().into_body();
    assert_eq!(answer.headers()["host"], "a.example");
    assert!(service.clone().oneshot(get("b.example")).await.is_ok());
    let error = service.clone().oneshot(get("a.example")).await.unwrap_err();
    assert!(matches!(&error, LimitedError::Limited(limited) if limited.host() == "a.example"), "{error}");
    let error = service.oneshot(http::Request::new(())).await.unwrap_err();
    assert!(matches!(error, LimitedError::NoHost), "{error}");
}

#[tokio::test]
async fn a_wrapped_request_dropped_on_its_way_is_no_longer_in_flight() {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(600)))
        .mount(&server)
        .await;
    let client = Client::new(plain_client(), limits("sliding_log 3/h"));
    let url = server.uri().parse().unwrap();
    let sent = tokio::spawn(client.get(server.uri()).send());
    while server.received_requests().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    sent.abort();
    assert!(sent.await.unwrap_err().is_cancelled());
    let status = client.limits().status(&url).await.unwrap().unwrap();
    assert_eq!((status.in_flight, status.remaining), (0, 2));
}

//! The layer before a service that hyper serves, without a framework: what comes over the socket.

#![allow(clippy::unwrap_used)]

mod support;

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use limiter_core::{Limiter, ManualClock, Timestamp};
use limiter_tower::{Format, RateLimitLayer};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use support::{
    client::{Connection, Manner},
    fields::{integer, strings},
};
use tokio::net::TcpListener;
use tower::{Layer, service_fn};

/// Serves `hello` behind the layer; counts what reaches it.
async fn serve(layer: RateLimitLayer) -> (SocketAddr, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let service = layer.layer(service_fn(move |_: Request<Incoming>| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello"))) }
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, calls)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_client_exactly_the_quota_is_admitted() {
    for quota in ["sliding_log 20/h", "20/h", "fixed_window 20/day", "sliding_window 20/h"] {
        for manner in Manner::ALL {
            let (server, calls) = serve(RateLimitLayer::new(Limiter::parse(quota).unwrap())).await;
            let answers = manner.send(server, 60).await;
            let of = |status| answers.iter().filter(|answer| answer.status() == status).count();
            let seen = (of(StatusCode::OK), of(StatusCode::TOO_MANY_REQUESTS), calls.load(Ordering::SeqCst));
            assert_eq!(seen, (20, 40, 20), "{quota}, {manner:?}: admitted, denied, served");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fields_of_concurrent_answers_count_down_without_a_gap() {
    for manner in Manner::ALL {
        let (server, _) = serve(RateLimitLayer::new(Limiter::parse("fixed_window 20/day").unwrap())).await;
        let answers = manner.send(server, 40).await;
        let mut left = Vec::new();
        for answer in answers {
            let policies = strings(answer.headers(), "ratelimit-policy");
            assert_eq!((policies[0].value.as_str(), policies[0].parameters["q"]), ("default", 20), "{manner:?}");
            let state = &strings(answer.headers(), "ratelimit")[0].parameters;
            match answer.status() {
                StatusCode::OK => left.push(state["r"]),
                _ => assert_eq!((state["r"], integer(answer.headers(), "retry-after")), (0, state["t"]), "{manner:?}"),
            }
        }
        left.sort_unstable();
        assert_eq!(left, (0..20).collect::<Vec<_>>(), "{manner:?}");
    }
}

#[tokio::test]
async fn obeying_retry_after_over_the_wire_always_succeeds() {
    for quota in
        ["1/s burst 3", "7/1500ms", "3/min, 10/h", "fixed_window 2/10s", "sliding_window 5/min", "sliding_log 2/s"]
    {
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_123_456));
        let limiter = Limiter::builder(quota.parse().unwrap()).clock(clock.clone()).build();
        let (server, _) = serve(RateLimitLayer::new(limiter)).await;
        for mut connection in [Connection::http1(server).await, Connection::http2(server).await] {
            let mut denials = 0;
            while denials < 20 {
                let answer = connection.get("/").await;
                if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                    denials += 1;
                    clock.advance(Duration::from_secs(integer(answer.headers(), "retry-after")));
                    assert_eq!(connection.get("/").await.status(), StatusCode::OK, "{quota}");
                }
            }
        }
    }
}

/// The same with the clock on the wall: two rounds of a second each, all quotas beside one another.
#[tokio::test]
async fn obeying_retry_after_succeeds_in_real_time() {
    let obey = |quota: &'static str| async move {
        let (server, _) = serve(RateLimitLayer::new(Limiter::parse(quota).unwrap())).await;
        let mut connection = Connection::http1(server).await;
        for _ in 0..2 {
            let denied = loop {
                let answer = connection.get("/").await;
                if answer.status() != StatusCode::OK {
                    break answer;
                }
            };
            assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS, "{quota}");
            tokio::time::sleep(Duration::from_secs(integer(denied.headers(), "retry-after"))).await;
            assert_eq!(connection.get("/").await.status(), StatusCode::OK, "{quota}");
        }
    };
    let quotas =
        ["2/s", "sliding_log 2/800ms", "fixed_window 2/s", "sliding_window 2/s", "sliding_log 2/500ms, 3/1100ms"];
    let clients: tokio::task::JoinSet<()> = quotas.map(obey).into_iter().collect();
    clients.join_all().await;
}

#[tokio::test]
async fn a_grpc_denial_is_one_frame_of_headers_that_ends_the_stream() {
    let layer = RateLimitLayer::new(Limiter::parse("1/h").unwrap()).answer(Format::Grpc);
    let (server, calls) = serve(layer).await;
    let Connection::Http2(mut sender) = Connection::http2(server).await else { unreachable!("HTTP/2 was asked for") };
    for expected in [None, Some("8")] {
        let request = Request::post("http://test/package.Service/Method").header("content-type", "application/grpc");
        let response = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers().get("grpc-status").map(|status| status.to_str().unwrap()), expected);
        assert_eq!(response.body().is_end_stream(), expected.is_some(), "no data and no trailers follow a denial");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

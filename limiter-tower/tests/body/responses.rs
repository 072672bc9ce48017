//! Responses that are looked after to the end of their bodies: settled by the bytes that went out, at work until then.

use super::common::{Remote, World, policy, request};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use limiter_core::{Limiter, MemoryStore, Store};
use limiter_tower::{CountedBody, Policy, RateLimitLayer, StoreFailure, TrueCost, WholeResponse, WholeResponseLayer};
use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};
use tower::{Layer, Service, ServiceExt};

/// A body of so many bytes a frame, which tells no length.
struct Stream(VecDeque<Result<usize, &'static str>>);

impl Body for Stream {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let frame = self.0.pop_front();
        Poll::Ready(frame.map(|frame| frame.map(|bytes| Frame::data(Bytes::from(vec![b'x'; bytes])))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl From<String> for Stream {
    fn from(text: String) -> Self {
        Self([Ok(text.len())].into())
    }
}

/// Answers with frames of these sizes, and with the status that the request's body names.
#[derive(Clone)]
struct Frames(&'static [usize]);

impl Service<Request<String>> for Frames {
    type Response = Response<Stream>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Stream>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let mut frames: VecDeque<_> = self.0.iter().copied().map(Ok).collect();
        if request.body() == "breaks" {
            frames.push_back(Err("broken"));
        }
        let mut response = Response::new(Stream(frames));
        if request.body() == "fails" {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        if request.body() == "told" {
            response.extensions_mut().insert(TrueCost(7));
        }
        ready(Ok(response))
    }
}

type Served<S> = WholeResponse<Frames, S>;

async fn send<S: Store>(service: &Served<S>, body: &str) -> Response<CountedBody<Stream>> {
    service.clone().oneshot(Request::new(body.to_owned())).await.unwrap()
}

/// What is left once all that is under way by itself is done.
async fn left<S: Store>(limiter: &Limiter<S>) -> u64 {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    limiter.peek_async(()).await.unwrap().remaining()
}

/// In units of a byte.
fn by_bytes<S: Store>(policy: Policy<S>) -> WholeResponseLayer<S> {
    RateLimitLayer::new(policy).whole_responses().true_cost_of_body(|_, bytes| Some(bytes))
}

async fn bytes_are_settled<S: Store>(store: S) {
    let limiter = World::over(store).limiter("bytes", "10000/h");
    let service = by_bytes(policy(&limiter)).layer(Frames(&[300, 0, 20]));
    let response = send(&service, "").await;
    assert_eq!(response.headers()["ratelimit"], r#""bytes";r=9999;t=1"#, "what was left before");
    assert!(response.extensions().is_empty(), "nothing is left for others to find");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 320);
    assert_eq!(left(&limiter).await, 10_000 - 320);

    let mut cut_off = send(&service, "").await.into_body();
    cut_off.frame().await.unwrap().unwrap();
    drop(cut_off);
    assert_eq!(left(&limiter).await, 10_000 - 320 - 300, "what went out");

    drop(send(&service, "").await);
    assert_eq!(left(&limiter).await, 10_000 - 320 - 300, "nothing went out");

    assert_eq!(send(&service, "breaks").await.into_body().collect().await.unwrap_err(), "broken");
    assert_eq!(left(&limiter).await, 10_000 - 320 - 300 - 320);
}

#[tokio::test]
async fn a_streamed_body_is_settled_by_the_bytes_that_went_out() {
    bytes_are_settled(MemoryStore::new()).await;
    bytes_are_settled(Remote::default()).await;
}

#[tokio::test]
async fn what_the_head_says_goes_before_the_bytes() {
    let limiter = World::new().limiter("bytes", "1000/h");
    let service = by_bytes(policy(&limiter).true_cost(TrueCost::of).refund_server_errors()).layer(Frames(&[100]));
    for (body, expected) in [("told", 7), ("fails", 0), ("", 100)] {
        let before = left(&limiter).await;
        send(&service, body).await.into_body().collect().await.unwrap();
        assert_eq!(before - left(&limiter).await, expected, "{body}");
    }
}

#[tokio::test]
async fn each_policy_makes_of_the_bytes_what_it_wants() {
    let world = World::new();
    let (requests, bytes) = (world.limiter("requests", "1000/h"), world.limiter("bytes", "1000/h"));
    let layer = RateLimitLayer::new(policy(&requests)).policy(policy(&bytes)).unwrap();
    let of_bytes = |name: &limiter_tower::PolicyName, bytes: u64| (name.as_str() == "bytes").then_some(bytes / 10);
    let service = layer.whole_responses().true_cost_of_body(of_bytes).layer(Frames(&[100, 25]));
    send(&service, "").await.into_body().collect().await.unwrap();
    assert_eq!((left(&requests).await, left(&bytes).await), (999, 1000 - 12));
}

#[tokio::test]
async fn who_has_had_too_much_is_denied_and_the_denial_is_not_counted() {
    let limiter = World::new().limiter("bytes", "fixed_window 100/h");
    let service = by_bytes(policy(&limiter)).layer(Frames(&[150]));
    send(&service, "").await.into_body().collect().await.unwrap();
    for _ in 0..3 {
        let denied = send(&service, "").await;
        assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
        denied.into_body().collect().await.unwrap();
    }
    assert_eq!(left(&limiter).await, 0);
}

#[tokio::test]
async fn bytes_that_this_process_decided_on_are_settled_here() {
    let world = World::over(Remote::down());
    let layer = RateLimitLayer::new(world.policy("bytes", "1000/h")).on_store_failure(StoreFailure::DecideLocally);
    let service = layer.whole_responses().true_cost_of_body(|_, bytes| Some(bytes)).layer(Frames(&[99]));
    let first = send(&service, "").await;
    assert!(first.headers()["ratelimit"].to_str().unwrap().starts_with(r#""bytes";r=999;"#));
    first.into_body().collect().await.unwrap();
    let second = send(&service, "").await;
    assert!(second.headers()["ratelimit"].to_str().unwrap().starts_with(r#""bytes";r=900;"#));
}

async fn places<S: Store>(store: S, waits: bool) {
    let limiter = World::over(store).builder("downloads", "100/h").at_once(1).build();
    let mut layer = RateLimitLayer::new(policy(&limiter));
    if waits {
        layer = layer.wait_up_to(std::time::Duration::from_millis(20));
    }
    let plain = layer.clone().layer(Frames(&[1, 1]));
    let kept = plain.clone().oneshot(request()).await.unwrap();
    assert_eq!(plain.oneshot(request()).await.unwrap().status(), StatusCode::OK, "its head is there");
    drop(kept);

    let service = layer.whole_responses().layer(Frames(&[1, 1]));
    let mut download = send(&service, "").await.into_body();
    download.frame().await.unwrap().unwrap();
    if !waits {
        assert_eq!(send(&service, "").await.status(), StatusCode::TOO_MANY_REQUESTS, "one is at work");
    }
    download.frame().await.unwrap().unwrap();
    assert!(limiter.place(()).is_err());
    assert!(download.frame().await.is_none());
    assert_eq!(send(&service, "").await.status(), StatusCode::OK, "and that one is dropped at once");
    assert!(limiter.place(()).is_ok());
}

#[tokio::test]
async fn a_request_is_at_work_until_its_responses_body_has_ended() {
    for waits in [false, true] {
        places(MemoryStore::new(), waits).await;
        places(Remote::default(), waits).await;
    }
}

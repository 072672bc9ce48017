//! The layers over real sockets, under axum.

use axum::{
    Router,
    body::{Body, Bytes},
    http::{StatusCode, header::CONTENT_LENGTH},
    routing::{get, post},
};
use http::{Request, Response};
use http_body_util::BodyExt;
use limiter_core::Limiter;
use limiter_tower::{HeaderKey, KeyError, RateLimitLayer, ThrottleRequestBodyLayer, ThrottleResponseBodyLayer};
use std::{
    convert::Infallible,
    time::{Duration, Instant},
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

async fn serve(app: Router) -> (reqwest::Client, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (reqwest::Client::builder().no_proxy().build().unwrap(), format!("http://{address}/"))
}

fn user() -> HeaderKey {
    HeaderKey::new("x-user".parse().unwrap()).optional()
}

/// 200 kB under 400 kB/s with 100 kB at once take a quarter of a second.
const QUOTA: &str = "400000/s burst 100000";
const LEN: usize = 200_000;
const AT_LEAST: Duration = Duration::from_millis(250);

fn file() -> Vec<u8> {
    (0..=250).cycle().take(LEN).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_takes_its_time_arrives_whole_and_keeps_its_length() {
    let layer = ThrottleResponseBodyLayer::new(Limiter::parse(QUOTA).unwrap()).key(user());
    let (client, url) = serve(Router::new().route("/", get(|| async { file() })).layer(layer)).await;
    let begun = Instant::now();
    let response = client.get(&url).header("x-user", "ada").send().await.unwrap();
    assert_eq!(response.headers()[CONTENT_LENGTH], LEN.to_string());
    assert_eq!(response.bytes().await.unwrap(), file());
    assert!(begun.elapsed() >= AT_LEAST, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_is_charged_for_the_bytes_that_went_out_and_is_at_work_until_then() {
    let limiter = Limiter::builder("fixed_window 1000000/day".parse().unwrap()).at_once(1).build();
    let layer = RateLimitLayer::new(limiter.clone()).whole_responses().true_cost_of_body(|_, bytes| Some(bytes));
    let (client, url) = serve(Router::new().route("/", get(|| async { file() })).layer(layer)).await;
    let mut left = 1_000_000;
    for _ in 0..3 {
        let response = client.get(&url).send().await.unwrap();
        assert_eq!((response.status(), response.bytes().await.unwrap().len()), (StatusCode::OK, LEN));
        left -= LEN as u64;
        let begun = Instant::now();
        while limiter.peek(()).unwrap().remaining() != left || limiter.place(()).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the server has sent it long since");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downloads_of_one_user_share_the_pace_and_another_user_has_his_own() {
    let layer = ThrottleResponseBodyLayer::new(Limiter::parse(QUOTA).unwrap()).key(user());
    let (client, url) = serve(Router::new().route("/", get(|| async { file() })).layer(layer)).await;
    let begun = Instant::now();
    let download = |name: &'static str| {
        let request = client.get(&url).header("x-user", name);
        tokio::spawn(async move { (request.send().await.unwrap().bytes().await.unwrap().len(), begun.elapsed()) })
    };
    let (first, second, other) = (download("ada"), download("ada"), download("bob"));
    let ((first, at), (second, later), (other, _)) =
        (first.await.unwrap(), second.await.unwrap(), other.await.unwrap());
    assert_eq!([first, second, other], [LEN; 3]);
    // 400 kB in all: the last of them goes out three quarters of a second after the first.
    assert!(at.max(later) >= Duration::from_millis(750), "{at:?} {later:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_takes_its_time_and_arrives_whole() {
    let layer = ThrottleRequestBodyLayer::new(Limiter::parse(QUOTA).unwrap()).key(user());
    let check = |body: Bytes| async move { if body == file() { StatusCode::OK } else { StatusCode::BAD_REQUEST } };
    let (client, url) = serve(Router::new().route("/", post(check)).layer(layer)).await;
    let begun = Instant::now();
    let response = client.post(&url).header("x-user", "ada").body(file()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(begun.elapsed() >= AT_LEAST, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_is_given_up_leaves_the_line_to_others() {
    let limiter = Limiter::parse("1000/h burst 1000").unwrap();
    let layer = ThrottleResponseBodyLayer::new(limiter.clone());
    let (client, url) = serve(Router::new().route("/", get(|| async { file() })).layer(layer)).await;
    let mut response = client.get(&url).send().await.unwrap();
    response.chunk().await.unwrap();
    let waiting = async |expected: usize| {
        while limiter.waiting() != expected {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting(1)).await.unwrap();
    drop(response);
    tokio::time::timeout(Duration::from_secs(30), waiting(0)).await.unwrap();
}

#[tokio::test]
async fn a_key_that_cannot_be_had_is_answered_and_never_an_unlimited_body() {
    let limiter = || Limiter::parse("1/h").unwrap();
    let key = |_: &http::request::Parts| Err::<u64, _>(KeyError::new("no tenant").with_status(StatusCode::FORBIDDEN));
    for app in [
        Router::new().route("/", get(|| async { file() })).layer(ThrottleResponseBodyLayer::new(limiter()).key(key)),
        Router::new().route("/", get(|| async { file() })).layer(ThrottleRequestBodyLayer::new(limiter()).key(key)),
    ] {
        let (client, url) = serve(app).await;
        let response = client.get(&url).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert!(response.text().await.unwrap().contains("no tenant"));
    }
}

#[tokio::test]
async fn a_rate_limit_outside_answers_with_a_body_that_does_not_wait() {
    let spent = || Limiter::parse("1/h").unwrap();
    let hello = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new("!".to_owned())) });
    let mut service = ServiceBuilder::new()
        .layer(RateLimitLayer::new(spent()))
        .layer(ThrottleResponseBodyLayer::new(spent()))
        .service(hello);
    let mut sizes = Vec::new();
    for _ in 0..2 {
        let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
        sizes.push((response.status(), response.into_body().collect().await.unwrap().to_bytes().len() > 1));
    }
    assert_eq!(sizes, [(StatusCode::OK, false), (StatusCode::TOO_MANY_REQUESTS, true)]);
}

#[tokio::test]
async fn requests_without_a_key_are_as_they_were() {
    let limiter = || Limiter::parse("1/h").unwrap();
    let app = Router::new()
        .route("/", post(|body: Body| async move { body }))
        .layer(ThrottleResponseBodyLayer::new(limiter()).key(user()))
        .layer(ThrottleRequestBodyLayer::new(limiter()).key(user()));
    let (client, url) = serve(app).await;
    let response = client.post(&url).body(file()).send().await.unwrap();
    assert_eq!(response.bytes().await.unwrap(), file());
}

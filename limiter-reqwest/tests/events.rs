//! What a client does for limits can be seen: as it happens, and how each host stands.
#![allow(clippy::unwrap_used)]

mod common;

use common::{client, in_line, status, virtual_limiter};
use limiter_core::{Limiter, MemoryStore};
use limiter_reqwest::Limits;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

const SECOND: Duration = Duration::from_secs(1);

/// A server that refuses its first request, and says 200 to others, with nothing left at the third.
async fn server() -> MockServer {
    let server = MockServer::start().await;
    let refusal = ResponseTemplate::new(429).insert_header("retry-after", "5");
    let used_up = ResponseTemplate::new(200).insert_header("ratelimit", r#""default";r=0;t=3"#);
    for answer in [refusal, ResponseTemplate::new(200), used_up] {
        Mock::given(any()).respond_with(answer).up_to_n_times(1).mount(&server).await;
    }
    server
}

fn log() -> (Arc<Mutex<Vec<String>>>, impl Fn(&limiter_reqwest::Event<'_>) + Send + Sync + 'static) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&lines);
    (lines, move |event: &limiter_reqwest::Event<'_>| log.lock().unwrap().push(event.to_string()))
}

#[tokio::test]
async fn each_thing_that_happens_is_told_once() {
    let (limiter, clock) = virtual_limiter("sliding_log 10/s");
    let (lines, hook) = log();
    let limits = Limits::new(limiter).resend(1).on_event(hook);
    let (client, server) = (client(limits.clone()), server().await);
    let task = in_line(&client, &limits, &server.uri(), 1).await.remove(0); // refused, and waits to be sent again
    clock.advance(5 * SECOND);
    assert_eq!(task.await.unwrap(), 200);
    clock.advance(SECOND);
    assert_eq!(status(client.clone(), server.uri().into()).await, 200);
    let impatient = limits.clone().max_wait(SECOND);
    assert!(common::client(impatient).get(server.uri()).send().await.is_err());
    let host = server.address();
    assert_eq!(
        *lines.lock().unwrap(),
        [
            format!("{host}: refused with 429"),
            format!("{host}: paused for 5s, as told by Retry-After"),
            format!("{host}: waited 5s"),
            format!("{host}: sent again, time 1"),
            format!("{host}: paused for 3s, as told by RateLimit"),
            format!("{host}: gave up: the wait would be 3s, above the 1s allowed"),
        ]
    );
}

#[tokio::test]
async fn a_status_says_how_a_host_stands() {
    let (limiter, clock) = virtual_limiter("sliding_log 10/s");
    let limits = Limits::new(limiter);
    let (client, server) = (client(limits.clone()), server().await);
    let url = server.uri().parse().unwrap();
    let before = limits.status(&url).await.unwrap().unwrap();
    assert_eq!((before.remaining, before.answered, before.last), (10, 0, None));
    assert!(limits.statuses().await.unwrap().is_empty(), "looking leaves nothing behind");

    assert_eq!(status(client.clone(), server.uri().into()).await, 429);
    let tasks = in_line(&client, &limits, &server.uri(), 2).await;
    let paused = limits.status(&url).await.unwrap().unwrap();
    assert_eq!(paused.host, server.address().to_string());
    assert_eq!(paused.quota, "sliding_log 10/s".parse().unwrap());
    assert_eq!((paused.remaining, paused.waiting, paused.in_flight), (0, 2, 0));
    assert_eq!((paused.paused_for, paused.paced_for), (5 * SECOND, 6 * SECOND));
    assert_eq!((paused.last.unwrap().as_u16(), paused.answered, paused.refused), (429, 1, 1));

    clock.advance(5 * SECOND);
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
        clock.advance(SECOND / 10);
    }
    let all = limits.statuses().await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].waiting, all[0].answered, all[0].refused), (0, 3, 1));
    assert_eq!(all[0].last.unwrap().as_u16(), 200);
}

#[tokio::test]
async fn a_pause_that_another_process_was_told_of_is_seen() {
    let (store, server) = (MemoryStore::new(), server().await);
    let process = || Limits::new(Limiter::builder("10/s".parse().unwrap()).store(store.clone()).build());
    let (told, other) = (process(), process());
    assert_eq!(status(client(told), server.uri().into()).await, 429);
    let status = other.status(&server.uri().parse().unwrap()).await.unwrap().unwrap();
    assert!(status.paused_for > 4 * SECOND && status.answered == 0, "{status:?}");
}

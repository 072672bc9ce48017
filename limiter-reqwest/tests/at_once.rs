//! At most so many requests of a host are on their way at once, each until the head of its answer is there.
#![allow(clippy::unwrap_used)]

mod common;

use axum::{Router, routing::get};
use common::{Task, client, status};
use limiter_core::{Error, Limiter};
use limiter_reqwest::{Limits, MaxWait, RateLimitError};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::sleep,
};

/// A server that takes its time, and the most requests that it had at once.
async fn slow_server() -> (String, Arc<AtomicUsize>) {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let handle = async move || {
        seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        sleep(Duration::from_millis(30)).await;
        now.fetch_sub(1, Ordering::SeqCst);
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(handle))).await });
    (url, most)
}

fn at_once(places: usize) -> Limits {
    Limits::new(Limiter::builder("sliding_log 1000/s".parse().unwrap()).at_once(places).build())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_host_has_its_places() {
    let ((a, most_of_a), (b, most_of_b)) = (slow_server().await, slow_server().await);
    let client = client(at_once(3));
    let tasks: Vec<Task> =
        [a, b].iter().cycle().take(40).map(|url| tokio::spawn(status(client.clone(), url.as_str().into()))).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert_eq!((most_of_a.load(Ordering::SeqCst), most_of_b.load(Ordering::SeqCst)), (3, 3));
}

#[tokio::test]
async fn a_place_is_free_once_the_head_of_the_answer_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await.unwrap();
            open.push(stream); // its body never comes
        }
    });
    let client = client(at_once(1));
    let first = client.get(&url).send().await.unwrap();
    let second = client.get(&url).send().await.unwrap();
    assert_eq!((first.content_length(), second.content_length()), (Some(5), Some(5)));
}

#[tokio::test]
async fn who_finds_no_place_in_time_is_told_so_and_a_dropped_request_leaves_its_place() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap(); // accepts, and never answers
    let url: Arc<str> = format!("http://{}/", listener.local_addr().unwrap()).into();
    let limits = at_once(1);
    let client = client(limits.clone());
    let first = tokio::spawn(status(client.clone(), url.clone()));
    while limits.status(&url.parse().unwrap()).await.unwrap().unwrap().in_flight == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    let get = || client.get(&*url).with_extension(MaxWait(Duration::from_millis(50)));
    let error = get().send().await.unwrap_err();
    let limited = RateLimitError::find(&error).unwrap();
    assert!(
        matches!(limited.reason(), Error::TimedOut { waited } if *waited == Duration::from_millis(50)),
        "{limited}"
    );
    // The wait that was needed has no bound, and the error says so.
    assert_eq!((limited.needed(), limited.in_flight()), (None, 1));
    assert!(limited.to_string().ends_with("how much longer they take is not known (1 on their way)"), "{limited}");
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let error = get().timeout(Duration::from_millis(50)).send().await.unwrap_err();
    assert!(error.is_timeout() && RateLimitError::find(&error).is_none(), "it was sent: {error}");
}

//! Limited WebSockets, over real sockets and with a client that is not ours.

#![allow(clippy::unwrap_used, clippy::panic)]

use axum::{
    Router,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    routing::any,
};
use futures_util::{SinkExt, StreamExt};
use limiter_axum::LimitedSocket;
use limiter_core::{Limiter, ManualClock};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, protocol::frame::coding::CloseCode},
};

type Client = WebSocketStream<TcpStream>;

/// A server that echoes what `limit` lets through; a client of it.
async fn echo(limit: impl Fn(WebSocket) -> LimitedSocket + Clone + Send + Sync + 'static) -> (Client, SocketAddr) {
    let route = async move |upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async move |socket| {
            let mut socket = limit(socket);
            while let Some(Ok(message)) = socket.recv().await {
                if matches!(message, Message::Text(_) | Message::Binary(_)) {
                    socket.send(message).await.unwrap();
                }
            }
        })
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/", any(route));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (connect(address).await, address)
}

async fn connect(address: SocketAddr) -> Client {
    let stream = TcpStream::connect(address).await.unwrap();
    client_async(format!("ws://{address}/"), stream).await.unwrap().0
}

async fn send(client: &mut Client, messages: usize) {
    for number in 0..messages {
        client.feed(tungstenite::Message::text(number.to_string())).await.unwrap();
    }
    client.flush().await.unwrap();
}

/// What comes back until the connection ends: the texts, and the code and reason of its end.
async fn read(client: &mut Client) -> (Vec<String>, Option<(CloseCode, String)>) {
    let mut texts = Vec::new();
    while let Some(message) = client.next().await {
        match message.unwrap() {
            tungstenite::Message::Text(text) => texts.push(text.to_string()),
            tungstenite::Message::Close(frame) => {
                return (texts, frame.map(|frame| (frame.code, frame.reason.to_string())));
            }
            other => panic!("{other}"),
        }
    }
    (texts, None)
}

fn numbers(end: usize) -> Vec<String> {
    (0..end).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn who_sends_too_much_is_told_when_to_come_back_by_a_close_of_1008() {
    let limiter = Limiter::builder("3/h".parse().unwrap()).clock(ManualClock::default()).build();
    let limit = move |socket| LimitedSocket::new(socket, limiter.clone(), "k").max_wait(Duration::ZERO);
    let (mut client, address) = echo(limit).await;
    send(&mut client, 10).await;
    let (texts, close) = read(&mut client).await;
    assert_eq!(texts, numbers(3));
    assert_eq!(close, Some((CloseCode::Policy, "rate limit exceeded; retry after 1200 s".to_owned())));
    // The key is still out of units: another connection of it gets no further.
    let mut again = connect(address).await;
    send(&mut again, 1).await;
    assert_eq!(read(&mut again).await.1.unwrap().0, CloseCode::Policy);
}

#[tokio::test]
async fn messages_that_may_wait_come_through_in_order_at_the_quotas_pace() {
    let limiter = Limiter::parse("sliding_log 4/100ms").unwrap();
    let (mut client, _) = echo(move |socket| LimitedSocket::new(socket, limiter.clone(), ())).await;
    let begun = Instant::now();
    send(&mut client, 12).await;
    for number in numbers(12) {
        assert_eq!(client.next().await.unwrap().unwrap().into_text().unwrap(), number.as_str());
    }
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    client.close(None).await.unwrap();
    assert!(client.next().await.is_none_or(|end| end.is_ok_and(|message| message.is_close())));
}

#[tokio::test]
async fn a_flood_that_goes_on_while_the_connection_is_closed_does_not_hide_why() {
    let limiter = Limiter::parse("1/h").unwrap();
    let limit = move |socket| LimitedSocket::new(socket, limiter.clone(), ()).max_wait(Duration::ZERO);
    let (client, _) = echo(limit).await;
    let (mut write, mut read) = client.split();
    let flood = tokio::spawn(async move {
        // Until the other side says that it is enough.
        while write.send(tungstenite::Message::binary(vec![7; 4096])).await.is_ok() {}
    });
    let mut close = None;
    while let Some(Ok(message)) = read.next().await {
        if let tungstenite::Message::Close(frame) = message {
            close = frame.map(|frame| frame.code);
        }
    }
    assert_eq!(close, Some(CloseCode::Policy));
    flood.await.unwrap();
}

#[tokio::test]
async fn costs_are_by_message_and_one_that_can_never_fit_is_too_big() {
    let limiter = Limiter::parse("100/h").unwrap();
    let by_bytes = |message: &Message| message.clone().into_data().len() as u64;
    let limit = move |socket| LimitedSocket::new(socket, limiter.clone(), ()).cost(by_bytes);
    let (mut client, _) = echo(limit).await;
    for len in [99, 1, 101] {
        client.send(tungstenite::Message::text("x".repeat(len))).await.unwrap();
    }
    let (texts, close) = read(&mut client).await;
    assert_eq!(texts.iter().map(String::len).collect::<Vec<_>>(), [99, 1]);
    assert_eq!(close.unwrap().0, CloseCode::Size);
}

#[tokio::test]
async fn a_closed_limiter_is_a_close_that_says_to_come_again() {
    let limiter = Limiter::parse("1/h").unwrap();
    limiter.close_now();
    let (mut client, _) = echo(move |socket| LimitedSocket::new(socket, limiter.clone(), ())).await;
    send(&mut client, 1).await;
    assert_eq!(read(&mut client).await.1.unwrap().0, CloseCode::Again);
}

#[tokio::test]
async fn a_recv_that_is_dropped_while_it_waits_loses_no_message_and_no_turn() {
    let limiter = Limiter::parse("sliding_log 1/100ms").unwrap();
    let route = async move |upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async move |socket| {
            let mut socket = LimitedSocket::new(socket, limiter, ());
            let mut dropped = 0;
            loop {
                match tokio::time::timeout(Duration::from_millis(20), socket.recv()).await {
                    Ok(Some(Ok(message))) => socket.send(message).await.unwrap(),
                    Ok(_) => return,
                    Err(_) if dropped < 200 => dropped += 1,
                    Err(_) => return,
                }
            }
        })
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", any(route))).await });
    let mut client = connect(address).await;
    send(&mut client, 4).await;
    for number in numbers(4) {
        assert_eq!(client.next().await.unwrap().unwrap().into_text().unwrap(), number.as_str());
    }
}

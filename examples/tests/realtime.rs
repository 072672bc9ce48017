//! The realtime example over real sockets.

#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code)]
#[path = "../realtime/main.rs"]
mod realtime;

use axum::{Extension, extract::ConnectInfo};
use futures_util::{SinkExt, StreamExt};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};

async fn started() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = realtime::app().unwrap().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

async fn connected(address: SocketAddr, path: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    client_async(format!("ws://{address}{path}"), stream).await.unwrap().0
}

#[tokio::test]
async fn a_chat_that_is_flooded_is_closed_with_1008_and_the_time_to_come_back() {
    let mut chat = connected(started().await, "/chat").await;
    let mut echoed = 0;
    let close = loop {
        // Two a second come back, and this sends as fast as it hears.
        let _ = chat.send(Message::text("hello")).await;
        match chat.next().await.unwrap().unwrap() {
            Message::Text(_) => echoed += 1,
            Message::Close(frame) => break frame.unwrap(),
            other => panic!("{other}"),
        }
    };
    assert!(echoed >= 10, "{echoed}");
    assert_eq!((close.code, close.reason.as_str()), (CloseCode::Policy, "rate limit exceeded; retry after 1 s"));
}

#[tokio::test]
async fn orders_wait_for_their_turn_and_keep_their_order() {
    let mut orders = connected(started().await, "/orders").await;
    let begun = Instant::now();
    for number in 0..11 {
        orders.feed(Message::text(number.to_string())).await.unwrap();
    }
    orders.flush().await.unwrap();
    for number in 0..11 {
        assert_eq!(orders.next().await.unwrap().unwrap(), Message::text(number.to_string()));
    }
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn two_streams_of_events_from_one_address_share_its_pace_and_lose_none() {
    let address = started().await;
    share_a_pace_and_lose_none([address; 2], 16, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn two_addresses_of_one_ipv6_prefix_share_its_pace() {
    let app = realtime::app().unwrap();
    let served_to = async |peer: &str| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = app.clone().layer(Extension(ConnectInfo(peer.parse::<SocketAddr>().unwrap())));
        tokio::spawn(async move { axum::serve(listener, app).await });
        address
    };
    let first = served_to("[2001:db8::1]:4711").await;
    let second = served_to("[2001:db8::2]:4711").await;
    share_a_pace_and_lose_none([first, second], 26, Duration::from_secs(3)).await; // each by itself: 2 s
}

/// As many events at five a second, of which five come at once.
async fn share_a_pace_and_lose_none([one, other]: [SocketAddr; 2], count: usize, least: Duration) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let open = |address: SocketAddr| client.get(format!("http://{address}/ticks")).send();
    let begun = Instant::now();
    let (mut first, mut second) = (open(one).await.unwrap(), open(other).await.unwrap());
    assert_eq!(first.headers()["content-type"], "text/event-stream");
    let mut texts = [String::new(), String::new()];
    let events = |text: &String| text.matches("\n\n").count();
    while texts.iter().map(events).sum::<usize>() < count {
        let (text, chunk) = tokio::select! {
            chunk = first.chunk() => (&mut texts[0], chunk),
            chunk = second.chunk() => (&mut texts[1], chunk),
        };
        text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
    }
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
    for text in &texts {
        let expected: String = (1..=events(text)).map(|number| format!("data: {number}\n\n")).collect();
        assert!(text.starts_with(&expected) && events(text) > 0, "{text}");
    }
}

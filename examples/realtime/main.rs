//! Limits inside a connection: chat messages, orders and server-sent events.
//!
//! `cargo run --release --example realtime`, then try the lines it prints.

use axum::{
    Router,
    extract::{
        ConnectInfo, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::{any, get},
};
use clap::Parser;
use futures_util::{StreamExt, stream};
use limiter_axum::{LimitedSocket, PeerAddr};
use limiter_core::Limiter;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::net::TcpListener;

/// WebSockets and server-sent events under quotas.
#[derive(Parser, Debug)]
#[command(name = "realtime")]
struct Args {
    /// The address to listen on; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let listener = TcpListener::bind(args.listen).await?;
    println!("{}", help(listener.local_addr()?));
    axum::serve(listener, app()?.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

/// Each address by itself: all its connections together.
#[derive(Clone)]
struct Limits {
    chat: Limiter,
    orders: Limiter,
    ticks: Limiter,
}

pub(crate) fn app() -> anyhow::Result<Router> {
    let limits = Limits {
        chat: Limiter::parse("2/s burst 10")?,
        orders: Limiter::parse("sliding_log 5/s")?,
        ticks: Limiter::parse("sliding_log 5/s")?,
    };
    Ok(Router::new()
        .route("/chat", any(chat))
        .route("/orders", any(orders))
        .route("/ticks", get(ticks))
        .with_state(limits))
}

/// Whose quota it is: of IPv6 the /64, of which a client has all addresses.
fn group(peer: SocketAddr) -> IpAddr {
    PeerAddr::new().group(peer.ip())
}

/// Who talks too much is shown out, and told when to come back.
async fn chat(
    State(limits): State<Limits>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .on_upgrade(move |socket| echo(LimitedSocket::new(socket, limits.chat, group(peer)).max_wait(Duration::ZERO)))
}

/// Who sends too fast is slowed down: nothing is read ahead of its turn, and TCP tells the sender.
async fn orders(
    State(limits): State<Limits>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.on_upgrade(move |socket: WebSocket| echo(LimitedSocket::new(socket, limits.orders, group(peer))))
}

async fn echo(mut socket: LimitedSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// A stream has no answer to refuse with: each event waits for its turn.
async fn ticks(State(limits): State<Limits>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> impl IntoResponse {
    let ticks = stream::iter(1_u64..).map(|number| Event::default().data(number.to_string()));
    Sse::new(limits.ticks.stream(group(peer), ticks)).keep_alive(KeepAlive::default())
}

/// What to try.
fn help(address: SocketAddr) -> String {
    format!(
        "listening on http://{address}; ctrl-c stops it

five events a second for each address, however many streams it opens:
    curl -N http://{address}/ticks

ten chat messages at once and two a second; the eleventh ends the connection with code 1008:
    seq 20 | websocat ws://{address}/chat

five orders a second; the others wait:
    seq 20 | websocat ws://{address}/orders"
    )
}

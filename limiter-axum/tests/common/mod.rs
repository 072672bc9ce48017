//! A server on a loopback socket, and a client that knows just enough HTTP.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test file uses a part of this one

use axum::Router;
use limiter_axum::RateLimitLayer;
use limiter_core::{Limiter, ManualClock};
use std::{collections::HashMap, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// In a time that stands still: what is told of it is exact, however slow the machine is.
pub fn limit(quota: &str) -> RateLimitLayer {
    RateLimitLayer::new(Limiter::builder(quota.parse().unwrap()).clock(ManualClock::default()).build())
}

/// Serves `app` as axum does unless told otherwise: without the peer's address.
pub async fn serve(app: Router) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Server { address }
}

pub async fn serve_with_peers(app: Router) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Server { address }
}

#[derive(Clone, Copy)]
pub struct Server {
    pub address: SocketAddr,
}

pub struct Reply {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Server {
    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "").await
    }

    pub async fn statuses<const N: usize>(&self, paths: [&str; N]) -> [u16; N] {
        let mut statuses = [0; N];
        for (status, path) in statuses.iter_mut().zip(paths) {
            *status = self.get(path).await.status;
        }
        statuses
    }

    /// Sends a request on a connection of its own; `headers` are whole lines.
    pub async fn send(&self, method: &str, path: &str, headers: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap()).map(|(name, value)| (name.into(), value.into()));
        Reply { status, headers: headers.collect(), body: body.to_owned() }
    }
}

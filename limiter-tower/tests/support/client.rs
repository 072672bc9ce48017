//! Clients of a server on a loopback socket: HTTP/1.1 and, with prior knowledge, HTTP/2.

use http::{Method, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Bytes,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use tokio::{net::TcpStream, task::JoinSet};

/// How a client sends many requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Each on a connection of its own, after the answer to the one before.
    OneByOne,
    /// Each on a connection of its own, all at once.
    AtOnce,
    /// One after the other on one connection that is kept alive.
    KeptAlive,
    /// One after the other on one HTTP/2 connection.
    Http2,
    /// All at once on one HTTP/2 connection.
    Multiplexed,
    /// On several HTTP/2 connections at once, each of which takes its part one by one.
    SeveralHttp2,
}

impl Manner {
    pub const ALL: [Self; 6] =
        [Self::OneByOne, Self::AtOnce, Self::KeptAlive, Self::Http2, Self::Multiplexed, Self::SeveralHttp2];

    /// Sends `count` requests for `/`; the answers in no order.
    pub async fn send(self, server: SocketAddr, count: usize) -> Vec<Response<String>> {
        match self {
            Self::OneByOne => {
                let mut answers = Vec::new();
                for _ in 0..count {
                    answers.push(Connection::http1(server).await.get("/").await);
                }
                answers
            }
            Self::AtOnce => {
                together((0..count).map(|_| async move { vec![Connection::http1(server).await.get("/").await] })).await
            }
            Self::KeptAlive => in_turn(Connection::http1(server).await, count).await,
            Self::Http2 => in_turn(Connection::http2(server).await, count).await,
            Self::Multiplexed => {
                let connection = Connection::http2(server).await;
                together((0..count).map(|_| in_turn(connection.another(), 1))).await
            }
            Self::SeveralHttp2 => {
                const CONNECTIONS: usize = 4;
                assert_eq!(count % CONNECTIONS, 0);
                let part = count / CONNECTIONS;
                together((0..CONNECTIONS).map(|_| async move { in_turn(Connection::http2(server).await, part).await }))
                    .await
            }
        }
    }
}

async fn in_turn(mut connection: Connection, count: usize) -> Vec<Response<String>> {
    let mut answers = Vec::new();
    for _ in 0..count {
        answers.push(connection.get("/").await);
    }
    answers
}

async fn together<F>(parts: impl Iterator<Item = F>) -> Vec<Response<String>>
where
    F: Future<Output = Vec<Response<String>>> + Send + 'static,
{
    let tasks: JoinSet<_> = parts.collect();
    tasks.join_all().await.into_iter().flatten().collect()
}

/// One connection, kept until it is dropped.
pub enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    pub async fn http1(server: SocketAddr) -> Self {
        let stream = TokioIo::new(TcpStream::connect(server).await.unwrap());
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self::Http1(sender)
    }

    pub async fn http2(server: SocketAddr) -> Self {
        let stream = TokioIo::new(TcpStream::connect(server).await.unwrap());
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        Self::Http2(sender)
    }

    /// The same connection once more; HTTP/1.1 has no such thing.
    pub fn another(&self) -> Self {
        match self {
            Self::Http1(_) => panic!("HTTP/1.1 takes one request at a time"),
            Self::Http2(sender) => Self::Http2(sender.clone()),
        }
    }

    pub async fn get(&mut self, path: &str) -> Response<String> {
        self.send(Request::new(()), path).await
    }

    /// Sends the head of `request` for `path`, without a body.
    pub async fn send(&mut self, request: Request<()>, path: &str) -> Response<String> {
        let mut request = request.map(|()| Full::default());
        let response = match self {
            Self::Http1(sender) => {
                request.headers_mut().insert("host", "test".parse().unwrap());
                *request.uri_mut() = path.parse().unwrap();
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
            Self::Http2(sender) => {
                *request.version_mut() = Version::HTTP_2;
                *request.uri_mut() = format!("http://test{path}").parse().unwrap();
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Response::from_parts(head, String::from_utf8_lossy(&body).into_owned())
    }

    pub async fn send_as(&mut self, method: Method, path: &str, headers: &[(&str, &str)]) -> Response<String> {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(()).unwrap(), path).await
    }
}

//! What the tests share.
#![allow(dead_code)] // each test uses a part

use limiter_core::{Limiter, ManualClock, Store, Timestamp};
use limiter_reqwest::RateLimitMiddleware;
use reqwest::{Client, Request, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    net::TcpSocket,
    time::{Instant, sleep},
};

pub(crate) fn client<S: Store>(limits: RateLimitMiddleware<S>) -> ClientWithMiddleware {
    ClientBuilder::new(plain_client()).with(limits).build()
}

/// The same, which notes the longest time that a request was on its way.
pub(crate) fn timed_client<S: Store>(limits: RateLimitMiddleware<S>, slowest: &Slowest) -> ClientWithMiddleware {
    ClientBuilder::new(plain_client()).with(limits).with(slowest.clone()).build()
}

#[derive(Clone, Default)]
pub(crate) struct Slowest(Arc<Mutex<Duration>>);

impl Slowest {
    pub(crate) fn time(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

#[async_trait::async_trait]
impl Middleware for Slowest {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let sent = Instant::now();
        let answer = next.run(request, extensions).await;
        let mut slowest = self.0.lock().unwrap();
        *slowest = slowest.max(sent.elapsed());
        answer
    }
}

/// Without the proxy that the environment may name: the servers are on this machine.
pub(crate) fn plain_client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

/// An address that nobody listens at, nor any other test as long as the socket lives.
pub(crate) fn closed() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A limiter in virtual time. The network's time stays real: what is awaited takes some, and moves no clock.
pub(crate) fn virtual_limiter(quota: &str) -> (Limiter, ManualClock) {
    let clock = ManualClock::new(Timestamp::from_micros(1_000_000_000));
    let limiter = Limiter::builder(quota.parse().unwrap()).clock(clock.clone()).sleep(clock.clone()).build();
    (limiter, clock)
}

/// Waits for something that must come, however slow the machine is.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "it never came: {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

/// `n` times `GET`, each in a task of its own; all are in line when this returns.
pub(crate) async fn in_line(
    client: &ClientWithMiddleware,
    limits: &RateLimitMiddleware,
    url: &str,
    n: usize,
) -> Vec<Task> {
    let before = waiting(limits, url).await;
    let tasks = (0..n).map(|_| tokio::spawn(status(client.clone(), url.into()))).collect();
    while waiting(limits, url).await < before + n {
        sleep(Duration::from_millis(1)).await;
    }
    tasks
}

/// How many requests wait for their turn to `url`.
pub(crate) async fn waiting(limits: &RateLimitMiddleware, url: &str) -> usize {
    limits.status(&url.parse().unwrap()).await.unwrap().unwrap().waiting
}

pub(crate) type Task = tokio::task::JoinHandle<u16>;

/// The status that a `GET` is answered with.
pub(crate) async fn status(client: ClientWithMiddleware, url: Arc<str>) -> u16 {
    client.get(&*url).send().await.unwrap().status().as_u16()
}

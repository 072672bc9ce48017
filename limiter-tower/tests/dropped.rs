//! Requests that are answered, fail, hang, wait and are dropped anywhere on their way: the quota holds, and no unit is lost
//! or found.

#![allow(clippy::unwrap_used)]

mod common;

use common::Remote;
use http::{Request, Response};
use limiter_core::{Clock, Limiter, ManualClock, MemoryStore, Store};
use limiter_tower::{Policy, PolicyName, RateLimit, RateLimitLayer};
use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tower::{Layer, Service};

const SECOND_US: u64 = 1_000_000;

type Answer = Pin<Box<dyn Future<Output = Result<Response<String>, &'static str>> + Send>>;

/// Notes when it is called and whether it failed, as the request's body says.
#[derive(Clone)]
struct Noting {
    calls: Arc<Mutex<Vec<(u64, bool)>>>,
    clock: ManualClock,
}

impl Service<Request<String>> for Noting {
    type Response = Response<String>;
    type Error = &'static str;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Answer {
        let what = request.into_body();
        let calls = Arc::clone(&self.calls);
        let place = calls.lock().unwrap().len();
        calls.lock().unwrap().push((self.clock.now().as_micros(), false));
        Box::pin(async move {
            match what.as_str() {
                "fails" => {
                    calls.lock().unwrap()[place].1 = true;
                    Err("on purpose")
                }
                "hangs" => std::future::pending().await,
                _ => Ok(Response::new(String::new())),
            }
        })
    }
}

struct World<S: Store> {
    clock: ManualClock,
    user: Limiter<S>,
    all: Limiter<S>,
    inner: Noting,
    service: RateLimit<Noting, S>,
    answers: Vec<Answer>,
}

impl<S: Store> World<S> {
    /// Four a second, of which failures are given back; six a second, of which nothing is.
    fn new(store: &S, waits: bool) -> Self {
        let clock = ManualClock::default();
        let limiter = |name: &str, quota: &str| {
            let builder = Limiter::builder(quota.parse().unwrap()).name(name).store(store.clone());
            builder.clock(clock.clone()).sleep(clock.clone()).build()
        };
        let (user, all) = (limiter("user", "sliding_log 4/s"), limiter("all", "sliding_log 6/s"));
        let policy = |limiter: &Limiter<S>| Policy::new(PolicyName::new(limiter.name()).unwrap(), limiter.clone());
        let layer = RateLimitLayer::new(policy(&user).refund_server_errors()).policy(policy(&all)).unwrap();
        let layer = if waits { layer.wait_up_to(Duration::from_secs(3)) } else { layer };
        let inner = Noting { calls: Arc::default(), clock: clock.clone() };
        Self { clock, user, all, service: layer.layer(inner.clone()), inner, answers: Vec::new() }
    }

    fn send(&mut self, what: &str) {
        assert!(self.service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
        self.answers.push(Box::pin(self.service.call(Request::new(what.to_owned()))));
    }

    /// Polls everybody, often enough for a store that answers a turn later.
    fn poll(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        self.answers.retain_mut(|answer| (0..12).all(|_| answer.as_mut().poll(&mut cx).is_pending()));
    }

    /// Stops at each instant that somebody waits for.
    fn advance(&mut self, micros: u64) {
        let end = self.clock.now().as_micros() + micros;
        loop {
            self.poll();
            let now = self.clock.now().as_micros();
            if now >= end {
                return;
            }
            let next = self.clock.next_wake().map_or(end, |wake| wake.as_micros().clamp(now + 1, end));
            self.clock.advance(Duration::from_micros(next - now));
        }
    }
}

fn nothing_is_lost_or_found<S: Store>(store: impl Fn() -> S, waits: bool) {
    let mut random = 7_u64;
    let mut below = move |end: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % end
    };
    for round in 0..40 {
        let mut world = World::new(&store(), waits);
        for _ in 0..60 {
            let some = usize::try_from(below(60)).unwrap();
            match below(5) {
                0..3 => world.send(["answers", "fails", "hangs"][some % 3]),
                3 if some < world.answers.len() => drop(world.answers.swap_remove(some)),
                3 => world.poll(),
                _ => world.advance(below(200_000)),
            }
        }
        world.answers.clear();
        let (now, calls) = (world.clock.now().as_micros(), world.inner.calls.lock().unwrap().clone());
        for (first, (from, _)) in calls.iter().enumerate() {
            let in_window = calls[first..].iter().filter(|(at, _)| *at <= from + SECOND_US);
            assert!(in_window.count() <= 6, "round {round}: in any second from {from}");
        }
        let taken = |is_refunded: bool| {
            let recent = calls.iter().filter(|(at, _)| at + SECOND_US >= now);
            recent.filter(|(_, has_failed)| !(is_refunded && *has_failed)).count() as u64
        };
        let left = |limiter: &Limiter<S>| limiter.blocking().peek_n((), 0).unwrap().remaining();
        let expected = (4 - taken(true), 6 - taken(false));
        assert_eq!((left(&world.user), left(&world.all)), expected, "round {round} at {now}: {calls:?}");
        assert_eq!((world.user.waiting(), world.all.waiting()), (0, 0), "round {round}");
    }
}

#[test]
fn requests_dropped_anywhere_neither_lose_nor_find_a_unit() {
    for waits in [false, true] {
        nothing_is_lost_or_found(MemoryStore::new, waits);
        nothing_is_lost_or_found(Remote::default, waits);
    }
}

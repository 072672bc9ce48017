//! Waiting instead of refusing: exact, bounded, fair, and without a claim on anything meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Ready, Remote, World, field, policy, problem, with_header};
use http::{HeaderName, Request, Response, StatusCode};
use limiter_core::{Clock, Limiter, MemoryStore, Store};
use limiter_tower::{HeaderKey, RateLimit, RateLimitLayer};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};

const SECOND: Duration = Duration::from_secs(1);

impl<S: Store> World<S> {
    /// Each user's quota and everybody's.
    fn two(&self, each: &str, all: &str) -> RateLimitLayer<S> {
        let layer = RateLimitLayer::new(policy(self.limiter("user", each)).key(by_user()));
        layer.policy(policy(self.limiter("all", all))).unwrap()
    }

    /// Moves the clock to the next instant that somebody waits for.
    fn next(&self) -> Duration {
        let due = self.clock.next_wake().expect("somebody waits");
        let wait = due.saturating_since(self.clock.now());
        self.clock.advance(wait);
        wait
    }
}

fn by_user() -> HeaderKey {
    HeaderKey::new(HeaderName::from_static("x-user"))
}

fn user(name: &str) -> Request<String> {
    with_header("x-user", name)
}

type Answer<E = Infallible> = Pin<Box<dyn Future<Output = Result<Response<String>, E>> + Send>>;

fn call<Svc>(service: &mut Svc, request: Request<String>) -> Answer<Svc::Error>
where
    Svc: Service<Request<String>, Response = Response<String>, Future: Send + 'static>,
{
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    Box::pin(service.call(request))
}

/// Polls often enough for a store that answers a turn later.
fn poll<E>(answer: &mut Answer<E>) -> Poll<Result<Response<String>, E>> {
    for _ in 0..8 {
        if let Poll::Ready(response) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Poll::Ready(response);
        }
    }
    Poll::Pending
}

fn response(answer: &mut Answer) -> Response<String> {
    match poll(answer) {
        Poll::Ready(response) => response.unwrap(),
        Poll::Pending => panic!("it still waits"),
    }
}

fn waits(answer: &mut Answer) -> bool {
    poll(answer).is_pending()
}

fn in_turn<S: Store>(world: &World<S>, layer: RateLimitLayer<S>) {
    let inner = Ready::default();
    let mut service = layer.wait_up_to(5 * SECOND).layer(inner.clone());
    assert_eq!(response(&mut call(&mut service, user("ada"))).status(), StatusCode::OK);
    let mut answers: Vec<Answer> = (0..4).map(|_| call(&mut service, user("ada"))).collect();
    assert!(answers.iter_mut().all(waits));
    assert_eq!(inner.calls(), 1);
    for n in 0..4 {
        assert_eq!(world.next(), SECOND);
        let admitted = response(&mut answers[n]);
        assert_eq!(admitted.status(), StatusCode::OK);
        assert!(field(&admitted, "ratelimit").starts_with(r#""user";r=0;t=1"#), "{:?}", admitted.headers());
        assert!(answers[n + 1..].iter_mut().all(waits));
        assert_eq!(inner.calls(), n + 2);
    }
}

#[test]
fn requests_wait_in_turn_for_one_policy_and_for_several() {
    let world = World::new();
    in_turn(&world, RateLimitLayer::new(policy(world.limiter("user", "1/s")).key(by_user())));
    let world = World::new();
    in_turn(&world, world.two("1/s", "9/s"));
    let world = World::over(Remote::default());
    in_turn(&world, RateLimitLayer::new(policy(world.limiter("user", "1/s")).key(by_user())));
    let world = World::over(Remote::default());
    in_turn(&world, world.two("1/s", "9/s"));
}

fn refused_at_once<S: Store>(world: &World<S>, layer: RateLimitLayer<S>) {
    let mut service = layer.wait_up_to(2 * SECOND).layer(Ready::default());
    response(&mut call(&mut service, user("ada")));
    let mut waiting = [call(&mut service, user("ada")), call(&mut service, user("ada"))];
    assert!(waiting.iter_mut().all(waits));
    let refused = response(&mut call(&mut service, user("ada")));
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(field(&refused, "retry-after"), "3"); // behind those who wait
    assert_eq!(problem(&refused)["violated-policies"], serde_json::json!(["user"]));
    for answer in &mut waiting {
        world.next();
        assert_eq!(response(answer).status(), StatusCode::OK); // and it took nobody's turn
    }
    world.clock.advance(SECOND);
    assert_eq!(response(&mut call(&mut service, user("ada"))).status(), StatusCode::OK); // obeying succeeds
}

#[test]
fn who_would_wait_too_long_is_refused_at_once_and_told_how_long() {
    let world = World::new();
    refused_at_once(&world, RateLimitLayer::new(policy(world.limiter("user", "1/s")).key(by_user())));
    let world = World::new();
    refused_at_once(&world, world.two("1/s", "9/s"));
    let world = World::over(Remote::default());
    refused_at_once(&world, RateLimitLayer::new(policy(world.limiter("user", "1/s")).key(by_user())));
    let world = World::over(Remote::default());
    refused_at_once(&world, world.two("1/s", "9/s"));
}

#[test]
fn who_waits_for_one_policy_delays_nobody_on_the_others() {
    let world = World::new();
    let mut service = world.two("1/s", "2/s").wait_up_to(5 * SECOND).layer(Ready::default());
    response(&mut call(&mut service, user("ada")));
    let mut ada = call(&mut service, user("ada"));
    assert!(waits(&mut ada));
    assert_eq!(response(&mut call(&mut service, user("bob"))).status(), StatusCode::OK);
    let mut cy = call(&mut service, user("cy"));
    assert!(waits(&mut cy));
    assert_eq!(world.next(), Duration::from_millis(500));
    assert_eq!(response(&mut cy).status(), StatusCode::OK);
    assert_eq!(world.next(), Duration::from_millis(500));
    assert_eq!(response(&mut ada).status(), StatusCode::OK);
}

fn leaving<S: Store>(world: &World<S>, layer: RateLimitLayer<S>, limiter: &Limiter<S>) {
    let inner = Ready::default();
    let mut service = layer.wait_up_to(9 * SECOND).layer(inner.clone());
    response(&mut call(&mut service, user("ada")));
    let (mut first, mut second) = (call(&mut service, user("ada")), call(&mut service, user("ada")));
    assert!(waits(&mut first) && waits(&mut second));
    assert_eq!(limiter.waiting(), 2);
    drop(first);
    assert_eq!(limiter.waiting(), 1);
    assert_eq!(world.next(), SECOND); // the second one's turn is when the first one's was
    assert_eq!(response(&mut second).status(), StatusCode::OK);

    let mut unread = call(&mut service, user("ada"));
    assert!(waits(&mut unread));
    world.next(); // granted, and nobody polls it
    drop(unread);
    assert_eq!(response(&mut call(&mut service, user("ada"))).status(), StatusCode::OK); // it was given back
    assert_eq!(inner.calls(), 3);
}

#[test]
fn a_request_that_is_dropped_while_it_waits_gives_everything_back() {
    for remote in [false, true] {
        if remote {
            let world = World::over(Remote::default());
            let limiter = world.limiter("user", "1/s");
            leaving(&world, RateLimitLayer::new(policy(limiter.clone()).key(by_user())), &limiter);
        } else {
            let world = World::new();
            let limiter = world.limiter("user", "1/s");
            let layer = RateLimitLayer::new(policy(limiter.clone()).key(by_user()));
            leaving(&world, layer.clone().policy(policy(world.limiter("all", "9/s"))).unwrap(), &limiter);
            world.clock.advance(5 * SECOND);
            leaving(&world, layer, &limiter);
        }
    }
}

#[test]
fn who_waits_keeps_no_readiness_from_others() {
    let world = World::new();
    let layer = RateLimitLayer::new(policy(world.limiter("user", "1/s")).key(by_user())).wait_up_to(SECOND);
    let echo = service_fn(|request: Request<String>| async { Ok::<_, Infallible>(Response::new(request.into_body())) });
    let mut service = layer.layer(ConcurrencyLimitLayer::new(1).layer(echo));
    response(&mut call(&mut service, user("ada")));
    let mut ada = call(&mut service, user("ada"));
    assert!(waits(&mut ada));
    assert_eq!(response(&mut call(&mut service, user("bob"))).status(), StatusCode::OK);
    world.next();
    assert_eq!(response(&mut ada).status(), StatusCode::OK);
}

#[test]
fn what_was_granted_comes_back_where_the_service_does_not_become_ready() {
    let world = World::new();
    let limiter = world.limiter("user", "1/s");
    let layer = RateLimitLayer::new(policy(limiter.clone()).key(by_user())).wait_up_to(SECOND);
    let hangs = service_fn(|_: Request<String>| std::future::pending::<Result<Response<String>, Infallible>>());
    let mut service = layer.layer(ConcurrencyLimitLayer::new(1).layer(hangs));
    limiter.check("ada").unwrap();
    let mut ada = call(&mut service, user("ada"));
    assert!(waits(&mut ada));
    let mut busy = call(&mut service, user("bob"));
    assert!(waits(&mut busy)); // holds the only place inside
    world.next();
    assert!(waits(&mut ada)); // granted, but the service is busy
    assert_eq!(limiter.peek_n("ada", 0).unwrap().remaining(), 0);
    drop(ada);
    assert_eq!(limiter.peek_n("ada", 0).unwrap().remaining(), 1);
}

/// Is ready once, and fails from then on.
#[derive(Clone, Default)]
struct Failing(Arc<AtomicUsize>);

impl Service<Request<String>> for Failing {
    type Response = Response<String>;
    type Error = &'static str;
    type Future = std::future::Ready<Result<Response<String>, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(if self.0.fetch_add(1, Ordering::Relaxed) == 0 { Ok(()) } else { Err("broken") })
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        std::future::ready(Ok(Response::new(String::new())))
    }
}

#[test]
fn a_service_that_fails_while_a_request_waits_fails_the_request_and_costs_it_nothing() {
    let world = World::new();
    let limiter = world.limiter("user", "1/s");
    let layer = RateLimitLayer::new(policy(limiter.clone()).key(by_user())).wait_up_to(SECOND);
    limiter.check("ada").unwrap();
    let inner = Failing::default();
    let mut service = layer.layer(inner.clone());
    let mut ada = call(&mut service, user("ada"));
    assert!(poll(&mut ada).is_pending());
    world.next();
    assert!(matches!(poll(&mut ada), Poll::Ready(Err("broken"))));
    assert_eq!(limiter.peek_n("ada", 0).unwrap().remaining(), 1); // even if the future is kept
    assert!(poll(&mut ada).is_pending());
    assert_eq!(inner.0.load(Ordering::Relaxed), 2); // and a failed service is not asked again
}

#[test]
fn one_more_than_may_wait_is_refused() {
    let world = World::new();
    let limiter = world.builder("user", "1/s").max_waiters(1).build();
    let mut service = RateLimitLayer::new(policy(limiter)).wait_up_to(9 * SECOND).layer(Ready::default());
    response(&mut call(&mut service, user("ada")));
    let mut waiting = call(&mut service, user("ada"));
    assert!(waits(&mut waiting));
    let refused = response(&mut call(&mut service, user("ada")));
    assert_eq!((refused.status(), field(&refused, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, "2".to_owned()));
}

#[test]
fn a_quota_that_is_changed_while_a_request_waits_is_the_one_it_is_told() {
    let world = World::new();
    let limiter = world.limiter("user", "1/s");
    let layer = RateLimitLayer::new(policy(limiter.clone())).wait_up_to(5 * SECOND);
    let mut service = layer.layer(Ready::default());
    response(&mut call(&mut service, user("ada")));
    let mut waiting = call(&mut service, user("ada"));
    assert!(waits(&mut waiting));
    limiter.set_quota("fixed_window 9/min, 100/h".parse().unwrap());
    world.clock.advance(5 * SECOND);
    let admitted = response(&mut waiting);
    assert_eq!(field(&admitted, "ratelimit-policy"), r#""user-1min";q=9;w=60,"user-1h";q=100;w=3600"#);
    let state = field(&admitted, "ratelimit");
    assert!(state.starts_with(r#""user-1min";r="#) && state.contains(r#","user-1h";r="#), "{state}");
}

/// A place among those at once is not a store that failed.
#[test]
fn who_waited_for_others_to_finish_in_vain_is_not_told_that_the_store_failed() {
    let world = World::new();
    let limiter = world.builder("user", "2/s").at_once(1).build();
    let at_work = limiter.acquire(()).blocking().unwrap();
    limiter.check(()).unwrap();
    let layer = RateLimitLayer::new(policy(limiter)).wait_up_to(SECOND);
    let mut service = layer.layer(Ready::default());
    let mut waiting = call(&mut service, user("ada"));
    assert!(waits(&mut waiting));
    world.clock.advance(2 * SECOND);
    assert_ne!(response(&mut waiting).status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(at_work);
}

#[tokio::test]
async fn a_store_that_stalls_holds_no_request_for_as_long_as_it_may_wait() {
    let world = World::over(Remote::slow(60 * SECOND));
    let layer = RateLimitLayer::new(policy(world.limiter("user", "1/s")));
    let layer = layer.wait_up_to(30 * SECOND).time_budget(Duration::from_millis(50));
    let since = Instant::now();
    let refused = layer.layer(Ready::default()).oneshot(user("ada")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(since.elapsed() < 20 * SECOND, "{:?}", since.elapsed());
}

#[test]
fn the_hook_is_told_how_long_a_request_waited_and_a_cost_that_never_fits_waits_for_nothing() {
    let world = World::new();
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    let layer = RateLimitLayer::new(policy(world.limiter("user", "1/s")))
        .cost(|request| if request.headers.contains_key("x-big") { 2 } else { 1 })
        .wait_up_to(SECOND)
        .on_decision(move |event| lines.lock().unwrap().push((event.outcome().name(), event.waited_for())));
    let mut service = layer.layer(Ready::default());
    response(&mut call(&mut service, user("ada")));
    let mut waiting = call(&mut service, user("ada"));
    assert!(waits(&mut waiting));
    std::thread::sleep(Duration::from_millis(5));
    world.next();
    response(&mut waiting);
    let refused = response(&mut call(&mut service, with_header("x-big", "")));
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let log = log.lock().unwrap();
    assert_eq!(log[0], ("admitted", Duration::ZERO));
    assert!(log[1].0 == "admitted" && log[1].1 >= Duration::from_millis(5), "{log:?}");
    assert_eq!(log[2], ("never fits", Duration::ZERO));
}

/// By the wall's time, on two threads: all are let in, and never more than the quota allows.
async fn crowd<S: Store>(layer: RateLimitLayer<S>) {
    let service: RateLimit<Ready, S> = layer.wait_up_to(60 * SECOND).layer(Ready::default());
    let since = Instant::now();
    let tasks: Vec<_> = (0..60)
        .map(|n| {
            let service = service.clone();
            tokio::spawn(async move { service.oneshot(user(&(n % 4).to_string())).await.unwrap().status() })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), StatusCode::OK);
    }
    assert!(since.elapsed() > Duration::from_millis(5 * 40)); // 60 at 10 in 40 ms: 10 at once, then five times 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_let_in_at_the_quotas_pace() {
    let limiter = |store: &MemoryStore, name: &str, quota: &str| {
        Limiter::builder(quota.parse().unwrap()).name(name).store(store.clone()).build()
    };
    let store = MemoryStore::new();
    crowd(RateLimitLayer::new(limiter(&store, "all", "sliding_log 10/40ms"))).await;
    let store = MemoryStore::new();
    let user = policy(limiter(&store, "user", "sliding_log 5/40ms")).key(by_user());
    crowd(RateLimitLayer::new(user).policy(policy(limiter(&store, "all", "sliding_log 10/40ms"))).unwrap()).await;
}

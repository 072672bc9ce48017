//! The contract of `poll_ready`: it only forwards, and who waits for a turn holds no place of the inner service.

use crate::common::{
    Ready, Remote,
    crowd::{Crowd, Noting, call, limiter},
    request,
};
use limiter_core::Limiter;
use limiter_tower::{ThrottleError, ThrottleLayer};
use std::{
    future::{Ready as Immediate, ready},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};

#[tokio::test]
async fn the_service_that_was_polled_ready_is_the_one_called() {
    let inner = Ready::default(); // which panics otherwise
    let service = ThrottleLayer::new(Limiter::parse("sliding_log 4/50ms").unwrap()).layer(inner.clone());
    for _ in 0..6 {
        let mut clone = service.clone();
        clone.ready().await.unwrap().call(request()).await.unwrap();
        clone.ready().await.unwrap().call(request()).await.unwrap();
    }
    assert_eq!(inner.calls(), 12, "of which eight waited");
}

#[test]
fn an_inner_service_that_is_busy_makes_the_throttle_busy_and_takes_no_units() {
    let (limiter, clock) = limiter("9/s");
    let pending = service_fn(|_: u8| std::future::pending::<Result<(), io::Error>>());
    let mut service = ThrottleLayer::new(limiter.clone()).layer(ConcurrencyLimitLayer::new(1).layer(pending));
    let mut crowd = Crowd::new(&clock);
    let under_way = crowd.add(call(&mut service, 0));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_pending());
    assert_eq!(limiter.peek(()).unwrap().remaining(), 8);
    crowd.cancel(under_way);
    assert!(service.poll_ready(&mut cx).is_ready());
}

#[test]
fn a_call_that_waits_holds_no_place_of_a_concurrency_limit() {
    let (limiter, clock) = limiter("sliding_log 1/s");
    let inner = Noting::new(&clock);
    let throttle = ThrottleLayer::new(limiter).key(|name: &&'static str| *name);
    let mut service = throttle.layer(ConcurrencyLimitLayer::new(1).layer(inner.clone()));
    let mut crowd = Crowd::new(&clock);
    for name in ["ada", "ada", "bob", "eve"] {
        crowd.add(call(&mut service, name)); // `call` panics where the only place is taken
    }
    assert_eq!(inner.calls(), [("ada", 0), ("bob", 0), ("eve", 0)]);
    crowd.run();
    assert_eq!(inner.calls().last(), Some(&("ada", 1_000_001)));
}

#[tokio::test]
async fn a_call_that_waits_holds_no_place_of_a_buffer() {
    let limiter = Limiter::parse("1/h").unwrap();
    let echo = service_fn(|name: &'static str| async move { Ok::<_, io::Error>(name) });
    let throttle = ThrottleLayer::new(limiter).key(|name: &&'static str| *name);
    let mut service = ServiceBuilder::new().layer(throttle).buffer(1).service(echo);
    assert_eq!(service.ready().await.unwrap().call("ada").await.unwrap(), "ada");
    let mut waiting = Box::pin(service.ready().await.unwrap().call("ada"));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let other = tokio::time::timeout(Duration::from_secs(30), async { service.ready().await?.call("bob").await });
    assert_eq!(other.await.unwrap().unwrap(), "bob");
}

#[tokio::test]
async fn over_a_store_that_is_asked_no_place_is_held_either() {
    let limiter = Limiter::builder("1/h".parse().unwrap()).store(Remote::default()).build();
    let echo = service_fn(|name: &'static str| async move { Ok::<_, io::Error>(name) });
    let throttle = ThrottleLayer::new(limiter.clone()).key(|name: &&'static str| *name);
    let mut service = throttle.layer(ConcurrencyLimitLayer::new(1).layer(echo));
    let asked = service.ready().await.unwrap().call("ada");
    assert_eq!(service.ready().await.unwrap().call("bob").await.unwrap(), "bob");
    assert_eq!(asked.await.unwrap(), "ada");
    let refused = service.ready().await.unwrap().call("ada");
    assert!(tokio::time::timeout(Duration::from_millis(50), refused).await.is_err());
    assert_eq!(limiter.waiting(), 0);
}

/// Ready when its gate is open; or failed.
#[derive(Clone, Default)]
struct Gated {
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_shut: AtomicBool,
    is_broken: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Gated {
    fn open(&self) {
        self.gate.is_shut.store(false, Ordering::SeqCst);
        if let Some(waker) = self.gate.waker.lock().unwrap().take() {
            waker.wake();
        }
    }
}

impl Service<u8> for Gated {
    type Response = u8;
    type Error = io::Error;
    type Future = Immediate<io::Result<u8>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gate.is_broken.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::Error::other("broken")));
        }
        if self.gate.is_shut.load(Ordering::SeqCst) {
            *self.gate.waker.lock().unwrap() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u8) -> Self::Future {
        ready(Ok(request))
    }
}

#[test]
fn who_was_granted_while_the_inner_service_is_busy_goes_out_when_it_is_ready() {
    let (limiter, clock) = limiter("sliding_log 1/s");
    let inner = Gated::default();
    let mut service = ThrottleLayer::new(limiter).layer(inner.clone());
    let mut crowd = Crowd::new(&clock);
    crowd.add(call(&mut service, 0));
    let waiting = crowd.add(call(&mut service, 1));
    inner.gate.is_shut.store(true, Ordering::SeqCst);
    crowd.advance(Duration::from_secs(5));
    assert!(!crowd.is_done(waiting));
    inner.open();
    crowd.poll();
    let (answer, at) = crowd.take(waiting).unwrap();
    assert_eq!((answer.unwrap(), at), (1, 5_000_000));
}

#[test]
fn a_call_that_waited_and_makes_the_inner_service_panic_stays_charged() {
    let (limiter, clock) = limiter("sliding_log 1/s");
    let panics = service_fn(|_: u8| -> Immediate<Result<(), io::Error>> { panic!("on purpose") });
    let mut service = ThrottleLayer::new(limiter.clone()).layer(panics);
    limiter.check(()).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut waiting = Box::pin(call(&mut service, 0));
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    clock.advance(Duration::from_micros(1_000_001));
    catch_unwind(AssertUnwindSafe(|| waiting.as_mut().poll(&mut cx).is_ready())).unwrap_err();
    drop(waiting);
    assert_eq!(limiter.peek_n((), 0).unwrap().remaining(), 0);
}

#[test]
fn a_call_dropped_after_its_grant_and_before_it_was_passed_on_gives_its_units_back() {
    let (limiter, clock) = limiter("sliding_log 1/s");
    let inner = Gated::default();
    let mut service = ThrottleLayer::new(limiter.clone()).layer(inner.clone());
    let mut crowd = Crowd::new(&clock);
    crowd.add(call(&mut service, 0));
    let waiting = crowd.add(call(&mut service, 1));
    inner.gate.is_shut.store(true, Ordering::SeqCst);
    crowd.advance(Duration::from_micros(1_000_001));
    assert_eq!(limiter.peek(()).unwrap().remaining(), 0);
    crowd.cancel(waiting);
    assert_eq!(limiter.peek(()).unwrap().remaining(), 1);
}

#[test]
fn an_inner_service_that_fails_to_become_ready_after_the_grant_costs_nothing() {
    let (limiter, clock) = limiter("sliding_log 1/s");
    let inner = Gated::default();
    let mut service = ThrottleLayer::new(limiter.clone()).layer(inner.clone());
    let mut crowd = Crowd::new(&clock);
    crowd.add(call(&mut service, 0));
    let waiting = crowd.add(call(&mut service, 1));
    inner.gate.is_broken.store(true, Ordering::SeqCst);
    crowd.run();
    let failed = crowd.take(waiting).unwrap().0.unwrap_err();
    assert!(matches!(failed, ThrottleError::Inner(error) if error.to_string() == "broken"));
    assert_eq!(limiter.peek(()).unwrap().remaining(), 1);
}

#[test]
fn layer_service_future_and_error_can_be_shared_and_sent_whatever_the_closures() {
    fn shared<T: Clone + Send + Sync + 'static>(value: T) -> T {
        value
    }
    fn sent<T: Send + 'static>(value: T) -> T {
        value
    }
    let layer = shared(ThrottleLayer::new(Limiter::parse("1/h").unwrap()).key(|_: &u8| "secret"));
    let mut service = shared(layer.layer(Gated::default()));
    let future = sent(call(&mut service, 1));
    sent(ThrottleError::Refused(limiter_core::Error::Closed));
    let shown = format!("{layer:?} {future:?}");
    assert!(shown.contains("1/h") && shown.contains("Sent") && !shown.contains("secret"), "{shown}");
}

//! Virtual time: futures polled only when they are woken, and a service that notes when it was called.

use limiter_core::{Clock, Limiter, ManualClock, Timestamp};
use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};
use tower::Service;

const START: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);

pub(crate) fn limiter(quota: &str) -> (Limiter, ManualClock) {
    let clock = ManualClock::new(START);
    let limiter = Limiter::builder(quota.parse().unwrap()).clock(clock.clone()).sleep(clock.clone()).build();
    (limiter, clock)
}

/// Microseconds since the start.
pub(crate) fn since_start(clock: &ManualClock) -> u64 {
    u64::try_from(clock.now().saturating_since(START).as_micros()).unwrap()
}

/// Notes each request and the microsecond at which it came, and answers with the request.
#[derive(Clone)]
pub(crate) struct Noting<Req> {
    clock: ManualClock,
    calls: Arc<Mutex<Vec<(Req, u64)>>>,
}

impl<Req: Clone> Noting<Req> {
    pub(crate) fn new(clock: &ManualClock) -> Self {
        Self { clock: clock.clone(), calls: Arc::default() }
    }

    pub(crate) fn calls(&self) -> Vec<(Req, u64)> {
        self.calls.lock().unwrap().clone()
    }
}

impl<Req: Clone> Service<Req> for Noting<Req> {
    type Response = Req;
    type Error = Infallible;
    type Future = Ready<Result<Req, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.calls.lock().unwrap().push((request.clone(), since_start(&self.clock)));
        ready(Ok(request))
    }
}

/// Calls a service that is always ready.
pub(crate) fn call<Svc: Service<Req>, Req>(service: &mut Svc, request: Req) -> Svc::Future {
    assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
    service.call(request)
}

/// What a future of [`Crowd`] gave, and the microsecond at which it did; `None` while it is under way.
pub(crate) type Outcome<T> = Option<(T, u64)>;

/// Futures that are polled only when they are woken.
pub(crate) struct Crowd<F: Future> {
    clock: ManualClock,
    members: Vec<Member<F>>,
}

struct Member<F: Future> {
    future: Option<Pin<Box<F>>>,
    woken: Arc<Woken>,
    outcome: Outcome<F::Output>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<F: Future> Crowd<F> {
    pub(crate) fn new(clock: &ManualClock) -> Self {
        Self { clock: clock.clone(), members: Vec::new() }
    }

    /// Adds a future and polls it; its number.
    pub(crate) fn add(&mut self, future: F) -> usize {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.members.push(Member { future: Some(Box::pin(future)), woken, outcome: None });
        self.poll();
        self.members.len() - 1
    }

    /// Drops a future, and polls who is woken by that; whether it was under way.
    pub(crate) fn cancel(&mut self, number: usize) -> bool {
        let was_under_way = self.members[number].future.take().is_some();
        self.poll();
        was_under_way
    }

    /// Polls those that were woken.
    pub(crate) fn poll(&mut self) {
        let now = since_start(&self.clock);
        for Member { future, woken, outcome } in &mut self.members {
            if !woken.0.swap(false, Ordering::SeqCst) {
                continue;
            }
            let Some(running) = future else { continue };
            if let Poll::Ready(output) =
                running.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(woken))))
            {
                *outcome = Some((output, now));
                *future = None;
            }
        }
    }

    /// Moves the clock from wake to wake until nobody sleeps.
    pub(crate) fn run(&mut self) {
        self.poll();
        while let Some(due) = self.clock.next_wake() {
            self.clock.advance(due.saturating_since(self.clock.now()));
            self.poll();
        }
    }

    /// Moves the clock on by `step`, and polls who is woken at each wake on the way.
    pub(crate) fn advance(&mut self, step: Duration) {
        let target = self.clock.now().saturating_add(step);
        while let Some(due) = self.clock.next_wake().filter(|due| *due <= target) {
            self.clock.advance(due.saturating_since(self.clock.now()));
            self.poll();
        }
        self.clock.advance(target.saturating_since(self.clock.now()));
        self.poll();
    }

    pub(crate) fn take(&mut self, number: usize) -> Outcome<F::Output> {
        self.members[number].outcome.take()
    }

    pub(crate) fn is_done(&self, number: usize) -> bool {
        self.members[number].outcome.is_some()
    }
}

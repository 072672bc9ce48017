//! Callers in virtual time, polled only when they are woken.

use limiter_core::{Acquire, AcquireFuture, Clock, Error, Limiter, ManualClock, MemoryStore, Permit, Timestamp};
use std::{
    collections::BTreeMap,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

pub(crate) const START: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);

pub(crate) fn limiter(quota: &str) -> (Limiter, ManualClock) {
    let clock = ManualClock::new(START);
    let limiter = Limiter::builder(quota.parse().unwrap()).clock(clock.clone()).sleep(clock.clone()).build();
    (limiter, clock)
}

/// Callers polled only when they are woken, with the instants at which they were granted.
pub(crate) struct Crowd {
    clock: ManualClock,
    pub(crate) callers: BTreeMap<usize, Caller>,
    next: usize,
}

pub(crate) type Caller = (Pin<Box<AcquireFuture<MemoryStore>>>, Arc<Woken>);

pub(crate) type Answer = Result<Permit<MemoryStore>, Error>;

#[derive(Default)]
pub(crate) struct Woken(pub(crate) AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Crowd {
    pub(crate) fn new(clock: &ManualClock) -> Self {
        Self { clock: clock.clone(), callers: BTreeMap::new(), next: 0 }
    }

    /// Polls a new caller once; whatever it answers at once, else its number.
    pub(crate) fn add(&mut self, request: Acquire<MemoryStore>) -> Result<usize, Box<Answer>> {
        let (mut future, woken) = (Box::pin(request.into_future()), Arc::new(Woken::default()));
        match future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&woken)))) {
            Poll::Ready(answer) => Err(Box::new(answer)),
            Poll::Pending => {
                self.next += 1;
                self.callers.insert(self.next, (future, woken));
                Ok(self.next)
            }
        }
    }

    /// Moves the clock from wake to wake until nobody waits; who was served, and the instant of the grant.
    pub(crate) fn run(&mut self) -> Vec<(usize, u64, Result<(), Error>)> {
        let mut served = Vec::new();
        loop {
            served.extend(self.served());
            let Some(due) = self.clock.next_wake() else { return served };
            self.clock.advance(due.saturating_since(self.clock.now()));
        }
    }

    pub(crate) fn served(&mut self) -> Vec<(usize, u64, Result<(), Error>)> {
        let now = self.clock.now();
        let mut served = Vec::new();
        self.callers.retain(|&number, (future, woken)| {
            if woken.0.swap(0, Ordering::SeqCst) == 0 {
                return true;
            }
            match future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(woken)))) {
                Poll::Pending => true,
                Poll::Ready(answer) => {
                    let at = answer.as_ref().map_or(now, |permit| permit.decision().at());
                    served.push((number, since_start(at), answer.map(drop)));
                    false
                }
            }
        });
        served
    }

    pub(crate) fn drop_caller(&mut self, number: usize) {
        drop(self.callers.remove(&number).unwrap());
    }
}

pub(crate) fn since_start(at: Timestamp) -> u64 {
    u64::try_from(at.saturating_since(START).as_micros()).unwrap()
}

/// The instants of a run in which everybody was granted, in order.
pub(crate) fn granted(served: Vec<(usize, u64, Result<(), Error>)>) -> Vec<(usize, u64)> {
    served
        .into_iter()
        .map(|(number, at, answer)| {
            answer.unwrap();
            (number, at)
        })
        .collect()
}

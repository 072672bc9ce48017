//! Waiting while a limiter is put through everything at once, in virtual time: whoever waits is served or told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use limiter_core::{Acquire, AcquireAll, Clock, Error, Limiter, ManualClock, MemoryStore, Permit, Timestamp};
use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};
use support::random::Rng;

const START: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);

const QUOTAS: [&str; 5] = ["10/s", "sliding_log 5/s", "fixed_window 7/s", "3/s, 20/min", "sliding_window 4/s"];

const SEEDS: u64 = 150;

type Permits = Vec<Permit<MemoryStore>>;
type Answer = Result<Permits, Error>;

type Waiting = Pin<Box<dyn Future<Output = Answer>>>;

struct Woken(mpsc::Sender<usize>, usize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.send(self.1).unwrap();
    }
}

/// Callers that are polled when they are woken, and else never again.
struct Crowd {
    callers: Vec<(usize, Waiting)>,
    next: usize,
    woken: (mpsc::Sender<usize>, mpsc::Receiver<usize>),
    permits: Permits,
}

impl Crowd {
    fn add(&mut self, future: impl Future<Output = Answer> + 'static) {
        self.callers.push((self.next, Box::pin(future)));
        self.woken.0.send(self.next).unwrap();
        self.next += 1;
        self.poll_woken();
    }

    fn poll_woken(&mut self) {
        while let Ok(number) = self.woken.1.try_recv() {
            let Some(place) = self.callers.iter().position(|(of, _)| *of == number) else { continue };
            let waker = Waker::from(Arc::new(Woken(self.woken.0.clone(), number)));
            if let Poll::Ready(answer) = self.callers[place].1.as_mut().poll(&mut Context::from_waker(&waker)) {
                drop(self.callers.remove(place));
                self.permits.extend(answer.into_iter().flatten());
            }
        }
    }
}

fn limiter(rng: &mut Rng, clock: &ManualClock) -> Limiter {
    let builder = Limiter::builder(QUOTAS[rng.index(QUOTAS.len())].parse().unwrap());
    let mut builder = builder.clock(clock.clone()).sleep(clock.clone());
    if rng.one_in(2) {
        builder = builder.at_once(1 + rng.index(3));
    }
    if rng.one_in(3) {
        builder = builder.buffer(Duration::from_millis(rng.below(50)));
    }
    if rng.one_in(3) {
        builder = builder.priority_step(Duration::from_millis(rng.below(500)));
    }
    builder.build()
}

fn ask(rng: &mut Rng, limiter: &Limiter, crowd: &mut Crowd) {
    let timeout = rng.one_in(3).then(|| Duration::from_millis(rng.below(3000)));
    if rng.one_in(5) {
        let parts = [0_u64, 1].map(|key| limiter.on(key).cost(rng.below(4)));
        let request = Limiter::all(parts).acquire();
        crowd.add(timeout.into_iter().fold(request, AcquireAll::timeout).into_future());
    } else {
        let request = limiter.acquire(rng.below(2)).cost(rng.below(4)).priority(u8::from(rng.one_in(2)));
        let future = timeout.into_iter().fold(request, Acquire::timeout).into_future();
        crowd.add(async { Ok(vec![future.await?]) });
    }
}

fn meddle(rng: &mut Rng, limiter: &Limiter, clock: &ManualClock) {
    let (key, quota) = (rng.below(2), QUOTAS[rng.index(QUOTAS.len())].parse().unwrap());
    match rng.below(6) {
        0 => limiter.reset(key).unwrap(),
        1 => drop(limiter.block(key, Duration::from_millis(rng.below(800))).unwrap()),
        2 => limiter.set_quota(quota),
        3 => limiter.restart(quota),
        4 => clock.set(Timestamp::from_micros(clock.now().as_micros() - rng.below(2_000_000))),
        _ => drop(limiter.sweep().unwrap()),
    }
}

fn run(seed: u64) -> usize {
    let rng = &mut Rng::new(seed);
    let clock = ManualClock::new(START);
    let limiter = limiter(rng, &clock);
    let mut crowd = Crowd { callers: Vec::new(), next: 0, woken: mpsc::channel(), permits: Vec::new() };
    for _ in 0..300 {
        match rng.below(12) {
            0..5 => ask(rng, &limiter, &mut crowd),
            5 if !crowd.permits.is_empty() => {
                let permit = crowd.permits.swap_remove(rng.index(crowd.permits.len()));
                if rng.one_in(2) {
                    permit.refund_detached();
                }
            }
            6 if !crowd.callers.is_empty() => drop(crowd.callers.swap_remove(rng.index(crowd.callers.len()))),
            7 => meddle(rng, &limiter, &clock),
            _ => clock.advance(Duration::from_millis(rng.below(400))),
        }
        crowd.poll_woken();
    }
    let mut wakes = 0;
    loop {
        crowd.permits.clear();
        crowd.poll_woken();
        if crowd.callers.is_empty() {
            break;
        }
        if crowd.permits.is_empty() {
            let due = clock.next_wake();
            let due = due.unwrap_or_else(|| panic!("seed {seed}: {} wait for nothing", crowd.callers.len()));
            clock.advance(due.saturating_since(clock.now()));
            wakes += 1;
            assert!(wakes < 100_000, "seed {seed}: without end");
        }
    }
    crowd.permits.clear();
    assert_eq!(limiter.waiting(), 0, "seed {seed}");
    clock.advance(Duration::from_secs(600));
    assert!(limiter.for_key(0_u64).acquire().timeout(Duration::ZERO).blocking().is_ok(), "seed {seed}");
    crowd.next
}

#[test]
fn nobody_stalls_whatever_the_limiter_is_put_through() {
    let (sender, receiver) = mpsc::channel();
    // On a thread of its own: who wakes each other without end never comes back.
    thread::spawn(move || (0..SEEDS).for_each(|seed| sender.send((seed, run(seed))).unwrap()));
    let mut asked = 0;
    for seed in 0..SEEDS {
        let answer = receiver.recv_timeout(Duration::from_secs(60));
        let (_, callers) = answer.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        asked += callers;
    }
    assert!(asked > 15_000, "{asked}");
}

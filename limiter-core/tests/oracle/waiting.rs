//! Lines under random arrivals, departures and refunds, against a line that is worked out by the oracle.

use super::{
    model::{Spec, World},
    random::{self, Label, Rng, each_seed},
};
use limiter_core::{AcquireFuture, Clock, Limiter, ManualClock, MemoryStore, Permit, Timestamp};
use std::{
    collections::VecDeque,
    future::IntoFuture,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

/// A caller that waits, or has been granted and has not looked yet.
struct Caller {
    number: usize,
    cost: u64,
    future: Pin<Box<AcquireFuture<MemoryStore>>>,
    woken: Arc<Woken>,
    /// Whether it looks when it is woken; else it is dropped some time, with what it was granted.
    looks: bool,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The line as it should be: one key's state, and who stands before it.
struct Expected {
    world: World,
    now: u64,
    line: VecDeque<(usize, u64)>,
    /// Who was granted, and when.
    granted: Vec<(usize, u64)>,
}

impl Expected {
    /// Grants in order, each as early as the quota lets it, until `now`.
    fn run_to(&mut self, now: u64) {
        while let Some(&(number, cost)) = self.line.front() {
            let answer = self.world.decide(&[(0, cost)], self.now, true);
            if answer.allowed {
                self.granted.push((number, self.now));
                self.line.pop_front();
                continue;
            }
            let due = self.now + u64::try_from(answer.retry_after.unwrap()).unwrap();
            if due > now {
                break;
            }
            self.now = due;
        }
        self.now = now;
    }

    fn instant_of(&self, number: usize) -> Option<u64> {
        self.granted.iter().rev().find(|(granted, _)| *granted == number).map(|&(_, at)| at)
    }
}

struct Run {
    label: Label,
    spec: Spec,
    limiter: Limiter,
    clock: ManualClock,
    expected: Expected,
    callers: Vec<Caller>,
    permits: Vec<(usize, Permit<MemoryStore>)>,
    next: usize,
}

impl Run {
    fn new(rng: &mut Rng, label: Label) -> Self {
        let spec = random::any_spec(rng);
        let (limiter, clock) = random::limiter(&spec);
        let world = World::of(&spec, 1);
        let expected = Expected { world, now: random::START, line: VecDeque::new(), granted: Vec::new() };
        Self { label, spec, limiter, clock, expected, callers: Vec::new(), permits: Vec::new(), next: 0 }
    }

    fn now(&self) -> u64 {
        self.clock.now().as_micros()
    }

    fn join(&mut self, rng: &mut Rng) {
        let capacity = self.spec.capacity();
        let cost = match rng.below(4) {
            0 => capacity,
            1 | 2 => 1,
            _ => rng.between(1, capacity),
        };
        let (number, looks) = (self.next, !rng.one_in(5));
        self.next += 1;
        self.expected.line.push_back((number, cost));
        self.expected.run_to(self.now());
        let future = Box::pin(self.limiter.acquire(()).cost(cost).into_future());
        self.callers.push(Caller { number, cost, future, woken: Arc::default(), looks });
        self.callers.last().unwrap().woken.0.store(true, Ordering::SeqCst);
        self.poll_woken(true);
    }

    /// Polls those who were woken; the last to have come in any case, once.
    fn poll_woken(&mut self, newest_too: bool) {
        let newest = self.callers.last().filter(|_| newest_too).map(|caller| caller.number);
        let mut place = 0;
        while let Some(caller) = self.callers.get_mut(place) {
            let is_due = caller.looks || newest == Some(caller.number);
            if is_due && caller.woken.0.swap(false, Ordering::SeqCst) {
                let waker = Waker::from(Arc::clone(&caller.woken));
                if let Poll::Ready(answer) = caller.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    let (number, permit) = (caller.number, answer.unwrap());
                    let at = permit.decision().at().as_micros();
                    let want = self.expected.instant_of(number);
                    assert_eq!(want, Some(at), "{}: caller {number} of {:?}", self.label, self.spec);
                    self.permits.push((number, permit));
                    self.callers.remove(place);
                    continue;
                }
            }
            place += 1;
        }
    }

    /// A caller goes: out of the line, or with units it never looked at, which come back.
    fn leave(&mut self, rng: &mut Rng) -> usize {
        if self.callers.is_empty() {
            return 0;
        }
        let caller = self.callers.remove(rng.index(self.callers.len()));
        let now = self.now();
        match self.expected.instant_of(caller.number) {
            Some(taken) => self.expected.world.0[0].refund(now, caller.cost, taken),
            None => self.expected.line.retain(|(number, _)| *number != caller.number),
        }
        self.expected.run_to(now);
        drop(caller);
        self.poll_woken(false);
        1
    }

    /// A permit is refunded, or kept.
    fn refund(&mut self, rng: &mut Rng) {
        if self.permits.is_empty() {
            return;
        }
        let (_, permit) = self.permits.remove(rng.index(self.permits.len()));
        if rng.one_in(2) {
            let now = self.now();
            self.expected.world.0[0].refund(now, permit.cost(), permit.decision().at().as_micros());
            self.expected.run_to(now);
            permit.refund_blocking().unwrap();
            self.poll_woken(false);
        }
    }

    /// Time passes, from one timer to the next.
    fn pass(&mut self, duration: u64) {
        let end = self.now() + duration;
        self.expected.run_to(end);
        while let Some(due) = self.clock.next_wake().filter(|due| due.as_micros() <= end) {
            self.clock.advance(due.saturating_since(self.clock.now()));
            self.poll_woken(false);
        }
        self.clock.set(Timestamp::from_micros(end));
        self.poll_woken(false);
    }

    fn check(&mut self) {
        let now = self.now();
        let waiting = self.callers.iter().filter(|caller| self.expected.instant_of(caller.number).is_none());
        assert_eq!(self.limiter.waiting(), waiting.count(), "{}: {:?}", self.label, self.spec);
        let want = self.expected.world.look(0, now);
        let got = self.limiter.check_n((), 0).unwrap();
        let context = || format!("{}: {:?} at {now}", self.label, self.spec);
        assert_eq!(i128::from(got.remaining()), want.remaining, "{}", context());
        assert_eq!(i128::from(random::micros(got.reset_after())), want.reset_after, "{}", context());
    }
}

static LEFT: AtomicUsize = AtomicUsize::new(0);

/// Callers of every cost come, go and give back; each grant comes to the caller and at the instant that the oracle
/// says, and what is left is the oracle's to the unit.
#[test]
fn a_hundred_thousand_departures_change_nothing_but_what_was_given_back() {
    each_seed(140, |rng, label| {
        let mut run = Run::new(rng, label);
        for _ in 0..1200 {
            match rng.below(10) {
                0..5 => run.join(rng),
                5..9 => drop(LEFT.fetch_add(run.leave(rng), Ordering::Relaxed)),
                _ => run.refund(rng),
            }
            if rng.one_in(2) {
                let period = run.spec.rates[0].period;
                let most = 2 * period / run.spec.capacity() + 2;
                run.pass(if rng.one_in(30) { rng.below(2 * period) } else { rng.below(most) });
            }
            run.check();
        }
        while run.leave(rng) > 0 {}
        run.check();
        assert_eq!(run.limiter.waiting(), 0, "{label}");
        run.pass(random::DAY * 40);
        assert_eq!(run.limiter.check_n((), 0).unwrap().remaining(), run.spec.capacity(), "{label}: capacity was lost");
        assert!(run.clock.next_wake().is_none_or(|due| due.saturating_since(run.clock.now()) > Duration::ZERO));
    });
    let left = LEFT.load(Ordering::Relaxed);
    assert!(left >= 100_000 || std::env::var_os("LIMITER_SEED").is_some(), "only {left} callers left");
}

//! Models of what threads do to each other here: [loom](https://docs.rs/loom) runs each through every order of its
//! threads' steps, up to a number of preemptions. `scripts/models` runs them; DESIGN.md tells what is not modelled.

#![allow(clippy::unwrap_used)]

use super::task::Task;
use crate::{
    AcquireFuture, Error, Limiter, MemoryStore, Permit, Quota, Timestamp,
    sync::{Mutex, atomic::AtomicU8},
};
use loom::{
    model::Builder,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};
use std::{
    future::{Future, IntoFuture, pending},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{self, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Every order of steps in which threads are stopped half-way at most `preemptions` times. What more would find takes
/// more than seconds.
fn model(preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}

// The executor: `task`.

#[test]
fn a_task_ends_once_and_misses_no_wake() {
    three_wakes(Task::paused, Task::run);
}

/// The mistake that the executor once had; what the model above is worth.
#[test]
#[should_panic = "a wake was missed"]
fn a_task_that_does_not_write_a_second_wake_down_misses_it() {
    three_wakes(Careless::paused, |task| task.run());
}

/// A future that ends when three flags are set, each by a thread that then runs it.
fn three_wakes<T: Send + Sync + 'static>(paused: fn(Flags) -> Arc<T>, run: fn(&Arc<T>)) {
    model(3, move || {
        let flags = Flags::default();
        let task = paused(flags.clone());
        let others = [0, 1].map(|place| {
            let (flags, task) = (flags.clone(), Arc::clone(&task));
            thread::spawn(move || {
                flags.set(place);
                run(&task);
            })
        });
        flags.set(2);
        run(&task);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(flags.ended.load(Ordering::SeqCst), 1, "a wake was missed");
    });
}

#[derive(Clone)]
struct Flags {
    set: Arc<[AtomicBool; 3]>,
    ended: Arc<AtomicUsize>,
}

impl Default for Flags {
    fn default() -> Self {
        Self { set: Arc::new([(); 3].map(|()| AtomicBool::new(false))), ended: Arc::new(AtomicUsize::new(0)) }
    }
}

impl Flags {
    fn set(&self, place: usize) {
        self.set[place].store(true, Ordering::Release);
    }
}

impl Future for Flags {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if !self.set.iter().all(|flag| flag.load(Ordering::Acquire)) {
            return Poll::Pending;
        }
        self.ended.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(())
    }
}

/// [`Task`] but for two things: who finds it woken already writes nothing, and who runs it then reads nothing. So it
/// need not see what came before the second wake.
struct Careless {
    state: AtomicU8,
    future: Mutex<Option<Flags>>,
}

impl Careless {
    fn paused(future: Flags) -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(0), future: Mutex::new(Some(future)) })
    }

    fn run(&self) {
        let begin = |state| (state < 2).then_some(state + 1);
        if self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, begin) != Ok(0) {
            return;
        }
        loop {
            let mut slot = self.future.lock().unwrap();
            let mut cx = Context::from_waker(Waker::noop());
            if slot.as_mut().is_some_and(|future| Pin::new(future).poll(&mut cx).is_ready()) {
                *slot = None;
            }
            drop(slot);
            if self.state.compare_exchange(1, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return;
            }
            self.state.store(1, Ordering::Release);
        }
    }
}

// Joining, granting and leaving, through the limiter itself: `queue`, `line`, `waiter`, `slots`, and the driver.

#[test]
fn units_given_back_while_a_caller_joins_are_not_missed() {
    model(5, || {
        let limiter = limiter("sliding_log 1/day");
        let taken = limiter.check("k").unwrap().at();
        let other = limiter.clone();
        let giver = thread::spawn(move || drop(other.refund("k", 1, taken).unwrap()));
        let mut caller = Caller::ask(&limiter);
        giver.join().unwrap();
        caller.expect_served();
        assert_eq!(limiter.waiting(), 0);
    });
}

#[test]
fn callers_who_begin_a_line_at_once_are_both_served() {
    model(4, || {
        let limiter = limiter("sliding_log 2/day");
        let taken = limiter.check_n("k", 2).unwrap().at();
        let other = limiter.clone();
        let second = thread::spawn(move || Caller::ask(&other));
        let mut first = Caller::ask(&limiter);
        limiter.refund("k", 2, taken).unwrap();
        let mut second = second.join().unwrap();
        first.expect_served();
        second.expect_served();
        assert_eq!(limiter.waiting(), 0);
    });
}

#[test]
fn a_caller_that_goes_as_it_is_granted_leaves_nothing_taken() {
    model(5, || {
        let limiter = limiter("sliding_log 1/day");
        let taken = limiter.check("k").unwrap().at();
        let caller = Caller::ask(&limiter);
        let other = limiter.clone();
        let giver = thread::spawn(move || drop(other.refund("k", 1, taken).unwrap()));
        drop(caller);
        giver.join().unwrap();
        assert_eq!((limiter.peek("k").unwrap().remaining(), limiter.waiting()), (1, 0));
    });
}

#[test]
fn a_caller_behind_one_that_goes_is_served() {
    model(5, || {
        let limiter = limiter("sliding_log 1/day");
        let taken = limiter.check("k").unwrap().at();
        let (first, mut second) = (Caller::ask(&limiter), Caller::ask(&limiter));
        let other = limiter.clone();
        let giver = thread::spawn(move || drop(other.refund("k", 1, taken).unwrap()));
        drop(first);
        giver.join().unwrap();
        second.expect_served();
        assert_eq!(limiter.waiting(), 0);
    });
}

#[test]
fn a_place_that_becomes_free_while_a_caller_joins_is_not_missed() {
    model(5, || {
        let limiter = Limiter::builder("9/day".parse().unwrap()).at_once(1);
        let limiter = limiter.store(store()).clock(NOW).sleep(|_| pending()).build();
        let held = Caller::ask(&limiter).served().unwrap();
        let leaver = thread::spawn(move || drop(held));
        let mut caller = Caller::ask(&limiter);
        leaver.join().unwrap();
        caller.expect_served();
    });
}

#[test]
fn who_waits_for_the_last_to_go_is_told() {
    model(5, || {
        let limiter = limiter("sliding_log 1/day");
        limiter.check("k").unwrap();
        let caller = Caller::ask(&limiter);
        let leaver = thread::spawn(move || drop(caller));
        let woken = Arc::<Woken>::default();
        let mut closing = pin!(limiter.close());
        let is_closed = woken.poll(closing.as_mut()).is_ready();
        leaver.join().unwrap();
        assert!(is_closed || woken.0.load(Relaxed));
        assert!(is_closed || woken.poll(closing.as_mut()).is_ready());
    });
}

// The quota that is changed while it is used: `limiter::core::Plans`.

#[test]
fn a_changed_quota_is_seen_by_all_who_come_after() {
    model(5, || {
        let limiter = limiter("1/day");
        let is_changed = Arc::new(AtomicBool::new(false));
        let (other, told) = (limiter.clone(), Arc::clone(&is_changed));
        let changer = thread::spawn(move || {
            other.set_quota("2/day".parse().unwrap());
            told.store(true, Ordering::Release);
        });
        let is_after = is_changed.load(Ordering::Acquire);
        let capacity = limiter.with_quota_of("k", Quota::capacity);
        assert!(capacity == 2 || (capacity == 1 && !is_after), "{capacity}");
        changer.join().unwrap();
    });
}

/// Two units, whoever takes them: a late call under the quota of one forgets none.
#[test]
fn a_call_that_a_larger_quota_overtakes_forgets_nothing() {
    model(5, || {
        let limiter = limiter("sliding_log 1/day");
        let other = limiter.clone();
        let late = thread::spawn(move || u64::from(other.check("k").unwrap().allowed()));
        limiter.set_quota("sliding_log 2/day".parse().unwrap());
        let taken = (0..2).filter(|_| limiter.check("k").unwrap().allowed()).count() as u64;
        let taken = taken + late.join().unwrap();
        assert_eq!(taken, 2);
        assert!(!limiter.check("k").unwrap().allowed());
    });
}

// What was granted before a reset: `store::Resets`.

#[test]
fn nothing_comes_back_of_a_permit_from_before_a_reset() {
    model(5, || {
        let limiter = limiter("sliding_log 1/day");
        let permit = Caller::ask(&limiter).served().unwrap();
        let other = thread::spawn(move || permit.refund_detached());
        limiter.reset("k").unwrap();
        assert!(limiter.check("k").unwrap().allowed());
        other.join().unwrap();
        assert!(!limiter.check("k").unwrap().allowed(), "minted");
    });
}

/// While it is under way on another thread.
#[test]
fn nothing_comes_back_of_a_permit_from_during_a_reset() {
    model(4, || {
        let limiter = limiter("sliding_log 1/day");
        let other = limiter.clone();
        let resetting = thread::spawn(move || other.reset("k").unwrap());
        if let Some(permit) = Caller::ask(&limiter).served() {
            let others = limiter.check("k").unwrap().allowed();
            permit.refund_detached();
            resetting.join().unwrap();
            assert!(!(others && limiter.check("k").unwrap().allowed()), "minted");
        }
    });
}

const NOW: Timestamp = Timestamp::MAX;

/// A limiter on which no time passes.
fn limiter(quota: &str) -> Limiter {
    Limiter::builder(quota.parse().unwrap()).store(store()).clock(NOW).sleep(|_| pending()).build()
}

fn store() -> MemoryStore {
    MemoryStore::builder().max_keys(1).build()
}

/// A caller of `acquire` on the key `k`, polled once.
struct Caller {
    future: AcquireFuture<MemoryStore>,
    woken: Arc<Woken>,
    answer: Option<Result<Permit<MemoryStore>, Error>>,
}

impl Caller {
    fn ask(limiter: &Limiter) -> Self {
        let mut caller = Self { future: limiter.acquire("k").into_future(), woken: Arc::default(), answer: None };
        caller.poll();
        caller
    }

    fn poll(&mut self) {
        if let Poll::Ready(answer) = self.woken.poll(Pin::new(&mut self.future)) {
            self.answer = Some(answer);
        }
    }

    /// Once nothing runs any more: it was served, if not at once then with a wake.
    fn expect_served(&mut self) {
        if self.answer.is_none() {
            assert!(self.woken.0.load(Relaxed), "it waits for ever");
            self.poll();
        }
        assert!(matches!(self.answer, Some(Ok(_))), "{:?}", self.answer);
    }

    fn served(self) -> Option<Permit<MemoryStore>> {
        self.answer?.ok()
    }
}

/// Whether a future was woken.
#[derive(Default)]
struct Woken(atomic::AtomicBool);

impl Woken {
    fn poll<F: Future>(self: &Arc<Self>, future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(self))))
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

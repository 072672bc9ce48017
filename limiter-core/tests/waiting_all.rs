//! Waiting for several keys at once, in virtual time: exact, first come first served, nothing held, nobody stalled.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use limiter_core::{
    AcquireAll, AcquireAllFuture, All, Clock, Error, Limiter, LimiterBuilder, ManualClock, MemoryStore, Permit,
    Timestamp,
};
use std::{
    cell::RefCell,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

mod support;

use support::random::Rng;

const START: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

struct World {
    store: MemoryStore,
    clock: ManualClock,
}

type Answer = Result<Vec<Permit<MemoryStore>>, Error>;
type Waiting = Pin<Box<AcquireAllFuture<MemoryStore>>>;

impl World {
    fn new() -> Self {
        Self { store: MemoryStore::new(), clock: ManualClock::new(START) }
    }

    fn builder(&self, name: &str, quota: &str) -> LimiterBuilder {
        let builder = Limiter::builder(quota.parse().unwrap()).name(name).store(self.store.clone());
        builder.clock(self.clock.clone()).sleep(self.clock.clone())
    }

    fn limiter(&self, name: &str, quota: &str) -> Limiter {
        self.builder(name, quota).build()
    }

    /// Moves the clock from wake to wake until all have their answers; each with the microsecond of its grant.
    fn run(&self, waiting: Vec<(usize, Waiting)>) -> Vec<(usize, u64, Result<(), Error>)> {
        let (mut waiting, mut served) = (waiting, Vec::new());
        loop {
            waiting.retain_mut(|(number, future)| match poll(future) {
                Poll::Pending => true,
                Poll::Ready(answer) => {
                    let at = answer.as_ref().map_or(self.clock.now(), |permits| permits[0].decision().at());
                    let micros = u64::try_from(at.saturating_since(START).as_micros()).unwrap();
                    served.push((*number, micros, answer.map(drop)));
                    false
                }
            });
            if waiting.is_empty() {
                return served;
            }
            let due = self.clock.next_wake().expect("somebody waits for nothing");
            self.clock.advance(due.saturating_since(self.clock.now()));
        }
    }
}

fn poll(future: &mut Waiting) -> Poll<Answer> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Polled once: in line, unless it was answered at once.
fn waits(all: &All, timeout: Option<Duration>) -> Waiting {
    let request = all.acquire();
    let request = match timeout {
        Some(limit) => request.timeout(limit),
        None => request,
    };
    let mut future = Box::pin(request.into_future());
    assert!(poll(&mut future).is_pending());
    future
}

fn refused(all: &All, timeout: Duration) -> Error {
    at_once(all.acquire().timeout(timeout)).unwrap_err()
}

fn answer(all: &All) -> Answer {
    at_once(all.acquire())
}

fn at_once(request: AcquireAll<MemoryStore>) -> Answer {
    match poll(&mut Box::pin(request.into_future())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

fn granted(served: Vec<(usize, u64, Result<(), Error>)>) -> Vec<(usize, u64)> {
    served.into_iter().map(|(number, at, answer)| answer.map(|()| (number, at)).unwrap()).collect()
}

#[test]
fn grants_come_at_their_exact_instants_in_order() {
    let world = World::new();
    let (user, all) = (world.limiter("user", "1/s"), world.limiter("all", "100/s"));
    let both = Limiter::all([user.on("ada"), all.on(())]);
    both.check().unwrap();
    let waiting = (0..4).map(|number| (number, waits(&both, None))).collect();
    assert_eq!(user.waiting(), 4);
    assert_eq!(granted(world.run(waiting)), [(0, 1_000_000), (1, 2_000_000), (2, 3_000_000), (3, 4_000_000)]);
    assert_eq!(user.waiting() + all.waiting(), 0);
}

#[test]
fn who_waits_for_one_key_holds_nothing_and_delays_nobody_on_the_others() {
    let world = World::new();
    let (user, all) = (world.limiter("user", "1/s"), world.limiter("all", "2/s"));
    let ada = Limiter::all([user.on("ada"), all.on(())]);
    ada.check().unwrap();
    let waiting = waits(&ada, None);
    assert_eq!(all.peek_n((), 0).unwrap().remaining(), 1);
    assert!(Limiter::all([user.on("bob"), all.on(())]).check().unwrap().allowed());
    // Now everybody's units are used up too, and whoever comes for them goes first: ada is not in that line.
    let cy = Limiter::all([user.on("cy"), all.on(())]);
    let served = granted(world.run(vec![(0, waiting), (1, waits(&cy, None))]));
    assert_eq!(served, [(1, 500_000), (0, 1_000_000)]);
}

#[test]
fn a_check_does_not_overtake_those_who_wait_and_is_told_how_long_it_will_be() {
    let world = World::new();
    let (user, all) = (world.limiter("user", "10/s burst 1"), world.limiter("all", "10/s"));
    all.check_n((), 10).unwrap();
    let large = Limiter::all([user.on("ada"), all.on(()).cost(10)]);
    let waiting = waits(&large, None);
    world.clock.advance(Duration::from_millis(500)); // five are there
    let bob = Limiter::all([user.on("bob"), all.on(())]);
    let denied = bob.check().unwrap();
    assert!(!denied.allowed() && denied.behind_waiters());
    assert_eq!(denied.retry_after(), Some(Duration::from_millis(600)));
    assert!(!all.check(()).unwrap().allowed()); // nor one that asks for this key alone
    assert_eq!(granted(world.run(vec![(0, waiting), (1, waits(&bob, None))])), [(0, 1_000_000), (1, 1_100_000)]);
}

#[test]
fn what_cannot_be_in_time_is_refused_at_once_also_for_those_ahead() {
    let world = World::new();
    let (user, all) = (world.limiter("user", "1/s"), world.limiter("all", "9/s"));
    let both = Limiter::all([user.on("ada"), all.on(())]);
    both.check().unwrap();
    let half = Duration::from_millis(500);
    assert!(
        matches!(refused(&both, half), Error::WaitTooLong { needed, allowed } if needed == SECOND && allowed == half)
    );
    let first = waits(&both, Some(SECOND));
    match refused(&both, SECOND) {
        Error::WaitTooLong { needed, .. } => assert_eq!(needed, 2 * SECOND),
        other => panic!("{other}"),
    }
    let second = waits(&both, Some(2 * SECOND));
    assert_eq!(granted(world.run(vec![(0, first), (1, second)])), [(0, 1_000_000), (1, 2_000_000)]);
    let never = Limiter::all([user.on("ada").cost(2), all.on(())]);
    assert!(matches!(refused(&never, SECOND), Error::NeverFits { part: Some(0), .. }));
}

#[test]
fn who_is_refused_by_another_key_next_waits_for_that_one() {
    let world = World::new();
    let (user, all) = (world.limiter("user", "1/s"), world.limiter("all", "1/3s"));
    let both = Limiter::all([user.on("ada"), all.on(())]);
    user.check("ada").unwrap();
    let waiting = waits(&both, None);
    world.clock.advance(Duration::from_millis(500));
    all.check(()).unwrap(); // taken by somebody else meanwhile
    assert_eq!(granted(world.run(vec![(0, waiting)])), [(0, 3_500_000)]);
}

#[test]
fn a_waiter_that_leaves_gives_its_turn_to_the_next() {
    let world = World::new();
    let (user, all) = (world.limiter("user", "1/s"), world.limiter("all", "9/s"));
    let both = Limiter::all([user.on("ada"), all.on(())]);
    both.check().unwrap();
    let (first, second, third) = (waits(&both, None), waits(&both, None), waits(&both, None));
    drop(first);
    drop(second);
    assert_eq!(user.waiting(), 1);
    assert_eq!(granted(world.run(vec![(3, third)])), [(3, 1_000_000)]);
}

#[test]
fn a_waiter_that_is_never_polled_again_stalls_nobody_and_its_grant_comes_back_when_it_is_dropped() {
    let world = World::new();
    let (user, all) = (world.limiter("user", "sliding_log 1/s"), world.limiter("all", "9/s"));
    let both = Limiter::all([user.on("ada"), all.on(())]);
    both.check().unwrap();
    let (parked, second) = (waits(&both, None), waits(&both, None));
    assert_eq!(granted(world.run(vec![(1, second)])), [(1, 2_000_002)]);
    // The parked one was granted at one second; its unit of the log is gone by now, that of the bucket too.
    drop(parked);
    assert_eq!(all.peek_n((), 0).unwrap().remaining(), 8);

    let (parked, third) = (waits(&both, None), waits(&both, None));
    world.clock.advance(Duration::from_micros(1_000_001)); // granted, and nobody has read it
    drop(parked);
    assert_eq!(granted(world.run(vec![(2, third)])), [(2, 3_000_003)]); // the very instant: it was given back
}

#[test]
fn a_refund_is_noticed_by_those_who_wait() {
    let world = World::new();
    let (user, all) = (world.limiter("user", "sliding_log 1/h"), world.limiter("all", "9/s"));
    let both = Limiter::all([user.on("ada"), all.on(())]);
    let taken = both.check().unwrap();
    let mut waiting = waits(&both, None);
    world.clock.advance(SECOND);
    both.asks()[0].permit(&taken).unwrap().refund_blocking().unwrap();
    assert!(matches!(poll(&mut waiting), Poll::Ready(Ok(_))));
}

#[test]
fn what_is_granted_after_a_restart_can_be_given_back() {
    let world = World::new();
    let (user, all) = (world.limiter("user", "1/s"), world.limiter("all", "9/day"));
    let both = Limiter::all([user.on("ada"), all.on(())]);
    both.check().unwrap();
    let mut waiting = waits(&both, None);
    all.restart("9/day".parse().unwrap());
    world.clock.advance(SECOND);
    let Poll::Ready(Ok(permits)) = poll(&mut waiting) else { panic!("not granted") };
    permits.into_iter().for_each(|permit| drop(permit.refund_blocking().unwrap()));
    assert_eq!(all.peek(()).unwrap().remaining(), 9);
}

#[test]
fn a_long_line_that_is_served_at_once_is_no_deep_recursion() {
    let world = World::new();
    let (user, all) = (world.limiter("user", "fixed_window 20000/min"), world.limiter("all", "fixed_window 20000/min"));
    all.check_n((), 20_000).unwrap();
    let waiting: Vec<_> = (0..20_000_u64)
        .map(|number| (usize::try_from(number).unwrap(), waits(&Limiter::all([user.on(number), all.on(())]), None)))
        .collect();
    let served = granted(world.run(waiting));
    assert_eq!(served.len(), 20_000);
    assert!(served.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 == pair[1].1));
}

#[test]
fn as_many_wait_as_the_limiter_lets_wait_and_closing_fails_them() {
    let world = World::new();
    let user = world.builder("user", "1/s").max_waiters(1).build();
    let all = world.limiter("all", "9/s");
    let both = Limiter::all([user.on("ada"), all.on(())]);
    both.check().unwrap();
    let mut waiting = waits(&both, None);
    assert!(matches!(refused(&both, 9 * SECOND), Error::QueueFull { waiting: 1 }));
    user.close_now();
    assert!(matches!(poll(&mut waiting), Poll::Ready(Err(Error::Closed))));
    assert!(matches!(refused(&both, SECOND), Error::Closed));
}

#[test]
fn a_limiter_closed_now_grants_nothing_to_who_waits_for_another_one_too() {
    let world = World::new();
    let (user, all) = (world.limiter("user", "1/s"), world.limiter("all", "9/day"));
    let both = Limiter::all([user.on("ada"), all.on(())]);
    both.check().unwrap();
    let mut waiting = waits(&both, None); // for the user's
    all.close_now();
    world.clock.advance(SECOND);
    assert!(matches!(poll(&mut waiting), Poll::Ready(Err(Error::Closed))));
    assert_eq!(all.peek(()).unwrap().remaining(), 8);
}

#[test]
fn places_at_once_are_waited_for_too() {
    let world = World::new();
    let user = world.builder("user", "9/s").at_once(1).build();
    let all = world.limiter("all", "9/s");
    let both = Limiter::all([user.on("ada"), all.on(())]);
    let at_work = both.acquire().blocking().unwrap();
    let mut next = waits(&both, None);
    let impatient = waits(&both, Some(SECOND));
    world.clock.advance(SECOND);
    assert!(matches!(world.run(vec![(0, impatient)])[0].2, Err(Error::WaitTooLong { .. } | Error::TimedOut { .. })));
    assert!(poll(&mut next).is_pending());
    drop(at_work);
    assert!(matches!(poll(&mut next), Poll::Ready(Ok(permits)) if permits.len() == 2));
}

thread_local! {
    static KEPT: RefCell<Vec<Permit<MemoryStore>>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn a_place_that_becomes_free_as_a_thread_ends_goes_to_who_waits_for_it() {
    let world = World::new();
    let user = world.builder("user", "9/s").at_once(1).build();
    let both = Limiter::all([user.on("ada"), user.on("bob")]);
    let (kept, (sender, receiver)) = (both.clone(), mpsc::channel());
    let (go_on, waits_now) = mpsc::channel::<()>();
    let keeper = thread::spawn(move || {
        KEPT.with_borrow_mut(|permits| permits.extend(kept.acquire().blocking().unwrap()));
        sender.send(()).unwrap();
        waits_now.recv().unwrap();
        user.reset("ada").unwrap(); // which wakes on this thread; what that needs ends before what is kept
    });
    receiver.recv().unwrap();
    let mut waiting = waits(&both, None);
    go_on.send(()).unwrap();
    keeper.join().unwrap();
    assert!(matches!(poll(&mut waiting), Poll::Ready(Ok(_))));
}

#[test]
fn never_more_than_every_log_allows_whoever_leaves() {
    let world = World::new();
    let quotas = [("user", "sliding_log 3/s"), ("tenant", "sliding_log 5/s"), ("all", "sliding_log 8/s")];
    let [user, tenant, all] = quotas.map(|(name, quota)| world.limiter(name, quota));
    let mut random = Rng::new(7);
    let (mut waiting, mut granted) = (Vec::new(), Vec::new());
    let mut settle = |waiting: &mut Vec<(u64, Waiting)>| {
        waiting.retain_mut(|(user, future)| match poll(future) {
            Poll::Pending => true,
            Poll::Ready(answer) => {
                granted.push((*user, answer.unwrap()[0].decision().at()));
                false
            }
        });
    };
    for _ in 0..4_000 {
        match random.below(8) {
            0..4 => {
                let who = random.below(6);
                let request = Limiter::all([user.on(who), tenant.on(who % 2), all.on(())]);
                waiting.push((who, Box::pin(request.acquire().into_future())));
            }
            4 if !waiting.is_empty() => {
                settle(&mut waiting); // only those who still wait leave: what was granted is counted
                if !waiting.is_empty() {
                    let place = usize::try_from(random.below(waiting.len() as u64)).unwrap();
                    drop(waiting.remove(place));
                }
            }
            _ => world.clock.advance(Duration::from_micros(random.below(400_000))),
        }
        settle(&mut waiting);
    }
    assert!(granted.len() > 1_000, "{}", granted.len());
    let most = |of: &dyn Fn(u64) -> bool| {
        let at: Vec<Timestamp> = granted.iter().filter(|(who, _)| of(*who)).map(|(_, at)| *at).collect();
        at.iter().map(|end| at.iter().filter(|at| **at <= *end && end.saturating_since(**at) <= SECOND).count()).max()
    };
    assert_eq!(most(&|_| true), Some(8));
    for tenant in 0..2 {
        assert!(most(&|who| who % 2 == tenant) <= Some(5));
    }
    for user in 0..6 {
        assert!(most(&|who| who == user) <= Some(3));
    }
}

#[test]
fn two_first_in_lines_that_share_their_keys_do_not_wake_each_other_without_end() {
    let world = World::new();
    let bounded = |name, quota| world.builder(name, quota).at_once(100).build();
    let (user, all) = (bounded("user", "10/s"), bounded("all", "10/h"));
    user.check_n("ada", 5).unwrap();
    let first = waits(&Limiter::all([user.on("ada").cost(6), all.on(()).cost(8)]), None);
    let mut second = waits(&Limiter::all([user.on("ada").cost(8), all.on(()).cost(1)]), None);
    all.check_n((), 8).unwrap(); // what the first then waits for, so that each is the first of a line of its own
    let (clock, done) = (world.clock.clone(), mpsc::channel());
    thread::spawn(move || {
        clock.advance(Duration::from_millis(100));
        clock.advance(SECOND);
        done.0.send(poll(&mut second).is_ready())
    });
    assert_eq!(done.1.recv_timeout(Duration::from_secs(30)), Ok(true), "they go on and on");
    drop(first);
}

#[test]
fn what_no_waiting_helps_is_said_at_once_also_behind_others() {
    let world = World::new();
    let user = world.builder("user", "1/h").at_once(1).build();
    let all = world.limiter("all", "9/s");
    let both = Limiter::all([user.on("ada"), all.on(())]);
    both.check().unwrap();
    let _waiting = waits(&both, None);
    let never = Limiter::all([user.on("ada"), all.on(()).cost(10)]);
    assert!(matches!(answer(&never), Err(Error::NeverFits { part: Some(1), .. })));
    // Which would wait for the place that it holds itself.
    let twice = Limiter::all([user.on("bob"), user.on("bob")]);
    assert!(matches!(answer(&twice), Err(Error::DuplicateKey)));
    let elsewhere = Limiter::parse("1/s").unwrap();
    assert!(matches!(answer(&Limiter::all([user.on("ada"), elsewhere.on(())])), Err(Error::SeveralStores)));
}

#[test]
fn time_and_timer_are_the_first_limiters() {
    let world = World::new();
    world.clock.set(Timestamp::from_micros(1_000_000)); // not the time it is
    let user = world.limiter("user", "10/s");
    let all = Limiter::builder("1/s".parse().unwrap()).name("all").store(world.store.clone()).build();
    let both = Limiter::all([user.on("ada"), all.on(())]);
    both.check().unwrap();
    let (first, second) = (waits(&both, Some(5 * SECOND)), waits(&both, Some(5 * SECOND)));
    assert!(matches!(refused(&both, 2 * SECOND), Error::WaitTooLong { needed, .. } if needed == 3 * SECOND));
    let denied = both.check().unwrap();
    assert_eq!((denied.behind_waiters(), denied.retry_after()), (true, Some(3 * SECOND)));
    assert_eq!(world.run(vec![(0, first), (1, second)]).len(), 2);
    assert_eq!(world.clock.now(), Timestamp::from_micros(3_000_000));
}

#[test]
fn a_timer_or_a_rule_that_panics_leaves_nobody_waiting_for_ever() {
    let store = MemoryStore::new();
    let builder = Limiter::builder("sliding_log 1/50ms".parse().unwrap()).store(store.clone());
    let user = builder.sleep(tokio::time::sleep).build(); // which panics without a runtime
    let rule = Limiter::by_key(|key| if key == b"bad" { panic!("a rule that panics") } else { "9/s".parse().unwrap() });
    let all = rule.store(store).build();
    let good = Limiter::all([user.on("ada"), all.on("good")]);
    good.check().unwrap();
    let bad = Limiter::all([user.on("bob"), all.on("bad")]);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send((good.acquire().blocking().is_ok(), bad.acquire().blocking())));
    let (granted, failed) = receiver.recv_timeout(Duration::from_secs(30)).expect("it waits for ever");
    assert!(granted && matches!(failed, Err(Error::Store(_))), "{failed:?}");
}

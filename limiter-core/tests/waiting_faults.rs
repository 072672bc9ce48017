//! What other limiters get wrong when they wait, each as a test of ours.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use limiter_core::{Clock, Limiter, Quota, Rate};
use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};
use support::crowd::{Crowd, granted, limiter};

/// Seen elsewhere: a flood of waiters on one key delays the others, or one waiting key blocks all.
#[test]
fn a_flood_on_one_key_moves_no_grant_of_a_thousand_others() {
    let grants_of = |flood: usize| {
        let (limiter, clock) = limiter("3/s burst 1");
        let mut crowd = Crowd::new(&clock);
        for key in 0..1000_u32 {
            limiter.check(key).unwrap();
        }
        limiter.check("flooded").unwrap();
        let mut quiet = Vec::new();
        for key in 0..1000_u32 {
            quiet.extend([0; 2].map(|_| crowd.add(limiter.acquire(key)).unwrap()));
            for _ in 0..flood {
                crowd.add(limiter.acquire("flooded")).unwrap();
            }
            clock.advance(Duration::from_micros(u64::from(key % 7)));
        }
        assert_eq!(limiter.waiting(), 2000 + 1000 * flood);
        let limit = clock.now().saturating_add(Duration::from_secs(2));
        let mut grants = Vec::new();
        while clock.next_wake().is_some_and(|due| due < limit) {
            clock.advance(clock.next_wake().unwrap().saturating_since(clock.now()));
            grants.extend(granted(crowd.served()));
        }
        grants.retain(|(number, _)| quiet.contains(number));
        let mut by_caller: Vec<(usize, u64)> =
            grants.iter().map(|(number, at)| (quiet.iter().position(|n| n == number).unwrap(), *at)).collect();
        by_caller.sort_unstable();
        by_caller
    };
    let alone = grants_of(0);
    assert_eq!(alone.len(), 2000);
    assert_eq!(grants_of(3), alone);
}

/// Seen elsewhere: small requests overtake, and one that needs the whole quota starves behind forty of them.
#[test]
fn a_request_for_the_whole_quota_is_granted_when_its_turn_comes() {
    for algorithm in ["", "fixed_window ", "sliding_window ", "sliding_log "] {
        let (limiter, clock) = limiter(&format!("{algorithm}10/s"));
        limiter.check_n("k", 10).unwrap();
        let mut crowd = Crowd::new(&clock);
        let mut order = Vec::new();
        for cost in 1..=10 {
            order.push(crowd.add(limiter.acquire("k").cost(cost)).unwrap());
            order.push(crowd.add(limiter.acquire("k").cost(10)).unwrap());
            order.extend([0; 4].map(|_| crowd.add(limiter.acquire("k")).unwrap()));
        }
        let mut instants = Vec::new();
        loop {
            // Whoever comes later and wants little does not get what the large ones wait for.
            assert!(limiter.waiting() == 0 || !limiter.check("k").unwrap().allowed());
            instants.extend(granted(crowd.served()));
            let Some(due) = clock.next_wake() else { break };
            clock.advance(due.saturating_since(clock.now()));
        }
        instants.extend(granted(crowd.served()));
        let served: Vec<usize> = instants.iter().map(|&(number, _)| number).collect();
        assert_eq!(served, order, "{algorithm}");
    }
}

/// Seen elsewhere: intervals that start when the last one was noticed, a fifth of the rate lost at 5 ms.
#[test]
fn no_interval_is_lost_between_a_thousand_grants() {
    let (limiter, clock) = limiter("200/s burst 1");
    limiter.check("k").unwrap();
    let mut crowd = Crowd::new(&clock);
    let numbers: Vec<usize> = (0..1000).map(|_| crowd.add(limiter.acquire("k")).unwrap()).collect();
    let expected: Vec<(usize, u64)> = numbers.into_iter().zip((1..).map(|n| n * 5_000)).collect();
    assert_eq!(granted(crowd.run()), expected);
}

/// Seen elsewhere: a wait of 10 ms takes 200, the interval of a poll.
#[test]
fn a_short_wait_is_short() {
    let limiter = Limiter::new(Rate::per_second(100).unwrap().burst(1).unwrap());
    let fastest = (0..10).map(|_| {
        limiter.check("k").unwrap();
        let asked = Instant::now();
        drop(limiter.acquire("k").blocking().unwrap());
        asked.elapsed()
    });
    // The best of ten: a machine that does other things too may be late now and then.
    let fastest = fastest.min().unwrap();
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

/// Counts the polls of a future.
struct Polled<F>(Pin<Box<F>>, Arc<AtomicUsize>);

impl<F: Future> Future for Polled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.as_mut().poll(cx)
    }
}

/// Seen elsewhere: every waiter wakes at every grant, a hundred polls each, and the order of arrival is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_is_polled_twice_and_granted_in_order() {
    let quota = Quota::from(Rate::per_second(10_000).unwrap().burst(100).unwrap());
    let (limiter, polls) = (Limiter::new(quota), Arc::new(AtomicUsize::new(0)));
    limiter.check_n("k", 100).unwrap();
    let waiters: Vec<_> = (0..2000)
        .map(|_| {
            let mut future = Polled(Box::pin(limiter.acquire("k").into_future()), Arc::clone(&polls));
            // In line before the next one comes, whatever the runtime's threads do.
            let first = Pin::new(&mut future).poll(&mut Context::from_waker(std::task::Waker::noop()));
            assert!(first.is_pending() || limiter.waiting() == 0, "overtaken");
            (first, future)
        })
        .collect();
    let mut instants = Vec::new();
    let tasks: Vec<_> = waiters
        .into_iter()
        .map(|(first, future)| match first {
            Poll::Ready(answer) => tokio::spawn(std::future::ready(answer).into_future()),
            Poll::Pending => {
                let later: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(future);
                tokio::spawn(later)
            }
        })
        .collect();
    for task in tasks {
        instants.push(task.await.unwrap().unwrap().decision().at());
    }
    assert!(instants.is_sorted(), "granted out of order");
    // Once to join, once as a task (which may find its grant there), once when it is woken.
    let polls = polls.load(Ordering::Relaxed);
    assert!(polls <= 3 * 2000, "{polls} polls for 2000 grants");
}

//! One atomic step a call, however many are under way.

use super::{Failure, after, quota};
use crate::{
    Quota, Store,
    conformance::{
        Harness,
        beside::left,
        block_on,
        concurrent::{on_thread, together},
        failure::ensure,
    },
    store::{Adjust, Demand, Scope},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Threads of each case, and takes of each.
const THREADS: u8 = 4;
const TAKES: u64 = 40;

/// Under a clock that stands still each holds 100 units.
const HUNDRED: [&str; 5] = [
    "1/day burst 100",
    "fixed_window 100/day",
    "sliding_window 100/day",
    "sliding_log 100/day",
    "sliding_log 100/day, 500/week",
];

/// Runs `work` on as many threads at once, each with the handle of its turn; the sum of what they return.
pub(super) async fn on_threads<S, W>(handles: &[S], work: W) -> Result<u64, Failure>
where
    S: Store,
    W: AsyncFn(&S, u8) -> Result<u64, Failure> + Clone + Send + 'static,
{
    let start = Arc::new(std::sync::Barrier::new(THREADS.into()));
    let threads: Vec<_> = (0..THREADS)
        .map(|nth| {
            let (work, start) = (work.clone(), Arc::clone(&start));
            let store = handles[usize::from(nth) % handles.len()].clone();
            on_thread(move || {
                start.wait();
                block_on(work(&store, nth))
            })
        })
        .collect();
    let mut sum = 0;
    for result in together(threads).await {
        sum += result??;
    }
    Ok(sum)
}

/// How many of `takes` takes of `cost` units are admitted.
pub(super) async fn admitted<S: Store>(
    store: &S,
    scope: &Scope,
    quota: &Quota,
    cost: u64,
    takes: u64,
) -> Result<u64, Failure> {
    let mut admitted = 0;
    for _ in 0..takes {
        let demand = Demand::new(scope, b"hot", quota, cost);
        if store.take(&[demand], Some(&after(0))).await?.allowed() {
            admitted += 1;
        }
        thread::yield_now();
    }
    Ok(admitted)
}

pub(in super::super) async fn threads_admit_exactly_the_quota<H: Harness>(harness: &H) -> Result<(), Failure> {
    let store = harness.fresh().await;
    for text in HUNDRED {
        let quota = quota(text)?;
        // More than fit; then as many as fit, of which none may be denied.
        for (name, cost, takes, expected) in
            [("more", 1, TAKES, 100), ("all", 1, 25, 100), ("three each", 3, TAKES, 33)]
        {
            let (scope, of) = (Scope::new(format!("{name} {text}")), quota.clone());
            let sum = on_threads(std::slice::from_ref(&store), async move |store: &_, _| {
                admitted(store, &scope, &of, cost, takes).await
            })
            .await?;
            let asked = u64::from(THREADS) * takes;
            ensure!(sum == expected, "{text}: of {asked} takes of {cost}: expected {expected} admitted, got {sum}");
        }
    }
    Ok(())
}

pub(in super::super) async fn futures_admit_exactly_the_quota<H: Harness>(harness: &H) -> Result<(), Failure> {
    let store = harness.fresh().await;
    for text in HUNDRED {
        let (quota, now) = (quota(text)?, after(0));
        for (name, asked) in [("more", 130), ("all", 100)] {
            let scope = Scope::new(format!("{name} {text}"));
            let take = async || store.take(&[Demand::new(&scope, b"hot", &quota, 1)], Some(&now)).await;
            let mut sum = 0;
            for result in together((0..asked).map(|_| take())).await {
                sum += u64::from(result?.allowed());
            }
            ensure!(sum == 100, "{text}: of {asked} takes at once: expected 100 admitted, got {sum}");
            let left = left(&store, Demand::new(&scope, b"hot", &quota, 0), Some(&now)).await?;
            ensure!(left == 0, "{text}: after {asked} takes at once: expected 0 left, got {left}");
        }
    }
    Ok(())
}

pub(in super::super) async fn several_demands_admit_exactly_the_quota<H: Harness>(harness: &H) -> Result<(), Failure> {
    let store = harness.fresh().await;
    demands_admit_exactly(std::slice::from_ref(&store)).await
}

/// Takes over overlapping pairs of four keys, in either order: the sums are exact on every key.
pub(super) async fn demands_admit_exactly<S: Store>(handles: &[S]) -> Result<(), Failure> {
    for text in HUNDRED {
        let (quota, now, scope) = (quota(text)?, after(0), Scope::new(format!("several {text}")));
        let (of, limiter) = (quota.clone(), scope.clone());
        // Each thread asks for its key and the next one's, every other thread in turned order.
        let sum = on_threads(handles, async move |store: &S, nth| {
            let (mine, next) = ([nth], [(nth + 1) % THREADS]);
            let mut pair = [Demand::new(&limiter, &mine, &of, 1), Demand::new(&limiter, &next, &of, 2)];
            if nth % 2 == 1 {
                pair.reverse();
            }
            let mut sum = 0;
            for _ in 0..TAKES {
                if store.take(&pair, Some(&now)).await?.allowed() {
                    sum += 1;
                } else {
                    // Nothing comes back: what did not fit then does not fit now.
                    let look = store.peek(&pair, Some(&now)).await?;
                    ensure!(!look.allowed(), "{of}: expected another denial after the first, got {look:?}");
                }
                thread::yield_now();
            }
            Ok(sum)
        })
        .await?;
        let mut kept = 0;
        for nth in 0..THREADS {
            kept += left(&handles[0], Demand::new(&scope, &[nth], &quota, 0), Some(&now)).await?;
        }
        let used = 100 * u64::from(THREADS) - kept;
        ensure!(used == 3 * sum, "{text}: {sum} takes over two keys: expected {} units used, got {used}", 3 * sum);
    }
    Ok(())
}

pub(in super::super) async fn nobody_sees_half_a_decision<H: Harness>(harness: &H) -> Result<(), Failure> {
    let store = harness.fresh().await;
    let (scope, quota, now) = (Scope::new("half"), quota("sliding_log 10/day")?, after(0));
    let full = Demand::new(&scope, b"full", &quota, 10);
    store.take(&[full], Some(&now)).await?;
    let is_over = Arc::new(AtomicBool::new(false));
    let looker = {
        let (store, scope, quota, is_over) = (store.clone(), scope.clone(), quota.clone(), Arc::clone(&is_over));
        on_thread(move || {
            block_on(async {
                let mut least = 10;
                while !is_over.load(Ordering::Acquire) {
                    least = least.min(left(&store, Demand::new(&scope, b"free", &quota, 0), Some(&now)).await?);
                    thread::yield_now();
                }
                Ok::<u64, Failure>(least)
            })
        })
    };
    let (limiter, of) = (scope.clone(), quota.clone());
    let denied = on_threads(std::slice::from_ref(&store), async move |store: &H::Store, nth| {
        let mut pair = [Demand::new(&limiter, b"free", &of, 7), Demand::new(&limiter, b"full", &of, 1)];
        if nth % 2 == 1 {
            pair.reverse();
        }
        let mut denied = 0;
        for _ in 0..TAKES {
            denied += u64::from(!store.take(&pair, Some(&now)).await?.allowed());
            thread::yield_now();
        }
        Ok(denied)
    })
    .await;
    is_over.store(true, Ordering::Release);
    let (least, denied) = (looker.await??, denied?);
    ensure!(denied == u64::from(THREADS) * TAKES, "expected every pair with a full key denied, got {denied} denials");
    ensure!(least == 10, "expected the free key always to show 10 units, got {least} beside denials");
    Ok(())
}

pub(in super::super) async fn refunds_at_once_return_what_was_taken<H: Harness>(harness: &H) -> Result<(), Failure> {
    let store = harness.fresh().await;
    for text in HUNDRED {
        let (quota, now, scope) = (quota(text)?, after(0), Scope::new(format!("refunds {text}")));
        let (of, limiter) = (quota.clone(), scope.clone());
        // Each takes 2 and gives them back, and keeps every fifth: 4 threads of 8 takes keep 64 units.
        let kept = on_threads(std::slice::from_ref(&store), async move |store: &H::Store, _| {
            let demand = Demand::new(&limiter, b"hot", &of, 2);
            let mut kept = 0;
            for nth in 0..TAKES {
                let taken = store.take(&[demand], Some(&now)).await?;
                ensure!(taken.allowed(), "{of}: expected 2 units of at least 30 left, got {taken:?}");
                if nth % 5 == 0 {
                    kept += 2;
                } else {
                    store.adjust(demand, Adjust::Refund { taken: taken.at() }, Some(&now)).await?;
                }
                thread::yield_now();
            }
            Ok(kept)
        })
        .await?;
        let left = left(&store, Demand::new(&scope, b"hot", &quota, 0), Some(&now)).await?;
        ensure!(left + kept == 100, "{text}: {kept} units kept: expected {} left, got {left}", 100 - kept);
    }
    Ok(())
}

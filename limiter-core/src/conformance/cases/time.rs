//! Whose time it is.

use super::{Failure, HOUR, after, before, quota};
use crate::{
    Clock, ManualClock, Store, Timestamp,
    conformance::{
        Harness, block_on,
        concurrent::{PATIENCE, on_thread, sleep, together},
        failure::ensure,
    },
    store::{Adjust, Demand, Scope},
};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long a time that does not move is waited for.
const AT_REST: Duration = Duration::from_secs(5);

/// A clock that moves a microsecond at each reading.
struct Counting(AtomicU64);

impl Clock for Counting {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

pub(in super::super) async fn an_injected_clock_is_the_time<H: Harness>(harness: &H) -> Result<(), Failure> {
    let store = harness.fresh().await;
    let (scope, quota) = (Scope::new("clocks"), quota("1/s burst 1000")?);
    let demand = Demand::new(&scope, b"k", &quota, 1);
    let clock = ManualClock::new(after(0));
    for at in [after(0), after(1), after(HOUR), before(HOUR), Timestamp::MAX, Timestamp::MIN, after(5)] {
        clock.set(at);
        let times = [
            ("take", store.take(&[demand], Some(&clock)).await?.at()),
            ("peek", store.peek(&[demand], Some(&clock)).await?.at()),
            ("adjust", store.adjust(demand, Adjust::Charge, Some(&clock)).await?.at()),
            ("now", store.now(Some(&clock)).await?),
        ];
        for (call, got) in times {
            ensure!(got == at, "{call}: expected the time {at:?}, got {got:?}");
        }
        if let Some((_, got)) = store.snapshot(demand, Some(&clock)).await {
            ensure!(got == at, "snapshot: expected the time {at:?}, got {got:?}");
        }
        if let Some(decision) = store.take_now(&[demand], Some(&clock)) {
            let got = decision?.at();
            ensure!(got == at, "take_now: expected the time {at:?}, got {got:?}");
        }
    }
    // The clock is asked during the call, not before it or after.
    let counting = Counting(AtomicU64::new(after(0).as_micros()));
    for nth in 0..20 {
        let earlier = counting.now();
        let got = store.take(&[demand], Some(&counting)).await?.at();
        let later = counting.now();
        ensure!(earlier < got && got < later, "take {nth}: expected between {earlier:?} and {later:?}, got {got:?}");
    }
    Ok(())
}

pub(in super::super) async fn the_stores_own_time_moves_on<H: Harness>(harness: &H) -> Result<(), Failure> {
    let store = harness.fresh().await;
    let (scope, quota) = (Scope::new("own time"), quota("sliding_log 1000/h")?);
    let demand = Demand::new(&scope, b"k", &quota, 1);
    let (started, first) = (Instant::now(), store.now(None).await?);
    let mut last = first;
    while last.saturating_since(first) < Duration::from_millis(20) {
        let (call, next) = match last.as_micros() % 4 {
            0 => ("now", store.now(None).await?),
            1 => ("peek", store.peek(&[demand], None).await?.at()),
            2 => ("adjust", store.adjust(Demand { cost: 0, ..demand }, Adjust::Charge, None).await?.at()),
            _ => ("take", store.take(&[demand], None).await?.at()),
        };
        ensure!(next >= last, "{call}: expected no earlier than {last:?}, got {next:?}");
        ensure!(started.elapsed() < AT_REST, "{call}: expected the time to move on from {first:?}, got {next:?}");
        last = next;
        sleep(Duration::from_millis(1)).await;
    }
    // A second of it is about a second here, too.
    let (began, from) = (Instant::now(), store.now(None).await?);
    sleep(Duration::from_secs(1)).await;
    let passed = store.now(None).await?.saturating_since(from);
    let most = began.elapsed() + Duration::from_millis(500);
    ensure!(
        passed > Duration::from_millis(500) && passed < most,
        "expected between 500ms and {most:?} to pass in a second, got {passed:?}"
    );
    Ok(())
}

pub(in super::super) async fn limits_hold_under_the_stores_own_time<H: Harness>(harness: &H) -> Result<(), Failure> {
    let store = harness.fresh().await;
    let (scope, period) = (Scope::new("own limits"), Duration::from_millis(400));
    for (text, limit) in [("sliding_log 3/400ms", 3), ("1/400ms", 1), ("sliding_log 1/400ms", 1)] {
        let quota = quota(text)?;
        let demand = Demand::new(&scope, text.as_bytes(), &quota, 1);
        let (started, mut admitted): (_, Vec<Timestamp>) = (Instant::now(), Vec::new());
        while admitted.len() < 2 * limit + 1 {
            let got = store.take(&[demand], None).await?;
            if got.allowed() {
                admitted.push(got.at());
            } else {
                let wait = got.retry_after().unwrap_or_default();
                ensure!(
                    wait <= period + Duration::from_millis(1),
                    "{text}: expected a wait of {period:?}, got {got:?}"
                );
                sleep(wait / 4 + Duration::from_micros(100)).await;
            }
            let count = admitted.len();
            ensure!(started.elapsed() < PATIENCE, "{text}: expected units to come back, got {count} in {PATIENCE:?}");
        }
        for window in admitted.windows(limit + 1) {
            let span = window[limit].saturating_since(window[0]);
            ensure!(
                span >= period,
                "{text}: expected {} units to take {period:?}, got {span:?}: {window:?}",
                limit + 1
            );
        }
        let got = store.take(&[demand], None).await?;
        if let Some(wait) = got.retry_after().filter(|wait| !wait.is_zero()) {
            sleep(wait + Duration::from_millis(1)).await; // a timer of this machine, a clock of the store's
            let got = store.take(&[demand], None).await?;
            ensure!(got.allowed(), "{text}: expected an admission after the wait of {wait:?}, got {got:?}");
        }
    }
    Ok(())
}

pub(in super::super) async fn time_is_read_inside_the_step<H: Harness>(harness: &H) -> Result<(), Failure> {
    const THREADS: usize = 4;
    const TAKES: usize = 50;
    let store = harness.fresh().await;
    for text in ["sliding_log 1000/week", "1000/week"] {
        let (scope, quota) = (Scope::new(text), quota(text)?);
        let threads = (0..THREADS).map(|_| {
            let (store, scope, quota) = (store.clone(), scope.clone(), quota.clone());
            on_thread(move || {
                block_on(async {
                    let mut steps = Vec::new();
                    for _ in 0..TAKES {
                        let got = store.take(&[Demand::new(&scope, b"hot", &quota, 1)], None).await?;
                        steps.push((got.remaining(), got.at()));
                        thread::yield_now();
                    }
                    Ok::<_, Failure>(steps)
                })
            })
        });
        let mut steps = Vec::new();
        for result in together(threads.collect::<Vec<_>>()).await {
            steps.extend(result??);
        }
        // A week is long: what is left tells the order in which they were decided.
        steps.sort_by_key(|&(left, _)| std::cmp::Reverse(left));
        for pair in steps.windows(2) {
            let [(left, earlier), (next, later)] = [pair[0], pair[1]];
            ensure!(next < left, "{text}: expected each take to leave a unit less, got {left} left twice");
            ensure!(
                earlier <= later,
                "{text}: the take that left {next} came after the one that left {left}: expected no earlier than \
                 {earlier:?}, got {later:?}"
            );
        }
    }
    Ok(())
}

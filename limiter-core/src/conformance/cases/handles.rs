//! Clones, other handles, reopened stores, and calls that are dropped.

use super::{
    DAY, EACH, Failure, MINUTE, after,
    concurrency::{admitted, demands_admit_exactly, on_threads},
    quota,
};
use crate::{
    Store,
    conformance::{
        Harness,
        beside::{Beside, left},
        concurrent::{PATIENCE, within},
        failure::ensure,
        stream::{Stream, Through, reopened, shared},
    },
    store::{Adjust, Demand, Scope},
};
use std::time::Duration;

pub(in super::super) async fn clones_share_state<H: Harness>(harness: &H) -> Result<(), Failure> {
    let (store, other) = (harness.fresh().await, harness.fresh().await);
    let clone = store.clone();
    ensure!(store.is_same(&clone) && clone.is_same(&store), "expected a clone to be the same store, got another");
    ensure!(
        !store.is_same(&other) && !other.is_same(&clone),
        "expected another store not to be the same, got the same"
    );
    let mut beside = Beside::new(store.clone());
    let scope = Scope::new("clones");
    for text in EACH {
        let quota = quota(text)?;
        let demand = Demand::new(&scope, text.as_bytes(), &quota, 1);
        for handle in [&store, &clone, &store.clone()] {
            beside.store = handle.clone();
            let taken = beside.take(&[demand], after(0)).await?;
            ensure!(taken.allowed(), "{text}: expected one of three units, got {taken:?}");
        }
        beside.take(&[demand], after(1)).await?;
        let apart = left(&other, demand, Some(&after(1))).await?;
        ensure!(apart == 3, "{text}: expected 3 units left in another store, got {apart}");
    }
    drop((store, clone));
    let quota = quota(EACH[0])?;
    beside.peek(&[Demand::new(&scope, EACH[0].as_bytes(), &quota, 1)], after(1)).await?;
    Ok(())
}

pub(in super::super) async fn dropped_futures_leave_no_lock<H: Harness>(harness: &H) -> Result<(), Failure> {
    const DROPPED: u64 = 24;
    let (store, now) = (harness.fresh().await, after(0));
    let (scope, quota) = (Scope::new("dropped"), quota("sliding_log 100/day")?);
    let ada = Demand::new(&scope, b"ada", &quota, 1);
    let bob = Demand::new(&scope, b"bob", &quota, 1);
    store.take(&[ada, bob], Some(&now)).await?;
    for nth in 0..DROPPED {
        // Polled once, or for as long as gets it to some point of its way.
        let time = Duration::from_micros(nth / 6 * 150);
        let cut = match nth % 6 {
            0 | 1 => within(time, store.take(&[ada], Some(&now))).await.map(drop),
            2 => within(time, store.take(&[bob, ada], Some(&now))).await.map(drop),
            3 => within(time, store.peek(&[ada, bob], Some(&now))).await.map(drop),
            4 => within(time, store.adjust(ada, Adjust::Charge, Some(&now))).await.map(drop),
            _ => within(time, store.sweep(Some(&now))).await.map(drop),
        };
        let how = if cut.is_some() { "that ended" } else { "dropped half-way" };
        let next = within(PATIENCE, store.take(&[ada, bob], Some(&now))).await;
        let Some(next) = next else {
            return Err(Failure::new(format!(
                "a take after call {nth}, {how}: expected an end, got none in {PATIENCE:?}"
            )));
        };
        ensure!(next?.allowed(), "a take after call {nth}, {how}: expected an admission of 1 in 100, got a denial");
    }
    // Each may have taken its unit or not, but no more.
    let (takes, sure) = (admitted_until_denied(&store, ada).await?, DROPPED + 1);
    let (least, most) = (100 - sure - DROPPED, 100 - sure);
    ensure!(
        (least..=most).contains(&takes),
        "after {DROPPED} dropped calls and {sure} takes: expected between {least} and {most} units left, got {takes}"
    );
    for call in ["reset", "sweep"] {
        let done = match call {
            "reset" => within(PATIENCE, store.reset(&scope, b"ada")).await.map(|result| result.map(|()| 0)),
            _ => within(PATIENCE, store.sweep(Some(&now))).await,
        };
        ensure!(done.is_some(), "{call} after dropped calls: expected an end, got none in {PATIENCE:?}");
        done.transpose()?;
    }
    Ok(())
}

async fn admitted_until_denied<S: Store>(store: &S, demand: Demand<'_>) -> Result<u64, Failure> {
    for admitted in 0..1000 {
        if !store.take(&[demand], Some(&after(0))).await?.allowed() {
            return Ok(admitted);
        }
    }
    Err(Failure::new("expected a denial within 1000 takes, got none"))
}

pub(in super::super) async fn state_survives_reopening<H: Harness>(harness: &H) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let scope = Scope::new("kept");
    let other = quota("sliding_log 5/min, 40/h")?;
    for round in 0..3 {
        for text in EACH {
            let quota = quota(text)?;
            let key = |what: &str| format!("{what} {round} {text}").into_bytes();
            let (units, blocked, changed) = (key("units"), key("blocked"), key("changed"));
            let demand = |key, cost| Demand::new(&scope, key, &quota, cost);
            beside.take(&[demand(&units, 2)], after(0)).await?;
            beside.take(&[demand(&units, 1)], after(1)).await?;
            beside.adjust(demand(&blocked, 0), Adjust::Block { until: after(DAY) }, after(1)).await?;
            beside.take(&[demand(&changed, 2)], after(1)).await?;
            beside.take(&[Demand { quota: &other, ..demand(&changed, 1) }], after(2)).await?;
        }
        beside.store = reopened(harness, beside.store).await?;
        for text in EACH {
            let quota = quota(text)?;
            for what in ["units", "blocked", "changed"] {
                for round in 0..=round {
                    let key = format!("{what} {round} {text}").into_bytes();
                    let demand = Demand::new(&scope, &key, &quota, 3);
                    let denied = beside.take(&[demand], after(3)).await?;
                    ensure!(!denied.allowed(), "{text}: {what}, reopened: expected a denial, got {denied:?}");
                    beside.snapshot(demand, after(MINUTE / 2)).await?;
                    beside.peek(&[demand], after(MINUTE + 1)).await?;
                }
            }
        }
    }
    Ok(())
}

pub(in super::super) async fn reopened_stores_decide_as_decide<H: Harness>(harness: &H) -> Result<(), Failure> {
    Stream { through: Through::Reopened, changes: true, ..Stream::default() }.run(harness).await
}

pub(in super::super) async fn handles_see_one_state<H: Harness>(harness: &H) -> Result<(), Failure> {
    Stream { through: Through::Shared, changes: true, ..Stream::default() }.run(harness).await
}

pub(in super::super) async fn handles_together_admit_exactly_the_quota<H: Harness>(harness: &H) -> Result<(), Failure> {
    let store = harness.fresh().await;
    let handles = [shared(harness, &store).await?, shared(harness, &store).await?, store];
    for text in ["1/day burst 100", "fixed_window 100/day", "sliding_window 100/day", "sliding_log 100/day"] {
        let (scope, quota) = (Scope::new(format!("one {text}")), quota(text)?);
        let (limiter, of) = (scope.clone(), quota.clone());
        let sum =
            on_threads(&handles, async move |store: &H::Store, _| admitted(store, &limiter, &of, 1, 40).await).await?;
        ensure!(sum == 100, "{text}: of 160 takes through three handles: expected 100 admitted, got {sum}");
        for (nth, handle) in handles.iter().enumerate() {
            let left = left(handle, Demand::new(&scope, b"hot", &quota, 0), Some(&after(0))).await?;
            ensure!(left == 0, "{text}: handle {nth}: expected 0 units left, got {left}");
        }
    }
    demands_admit_exactly(&handles).await
}

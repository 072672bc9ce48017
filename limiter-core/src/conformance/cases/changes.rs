//! Quotas that change while they run.

use super::{EACH, Failure, HOUR, MINUTE, after, quota};
use crate::{
    Store,
    conformance::{
        Harness,
        beside::{Beside, left},
        cases::concurrency::{admitted, on_threads},
        failure::ensure,
    },
    store::{Adjust, Demand, Scope},
};
use std::time::Duration;

pub(in super::super) async fn a_change_of_quota_carries_units_over<H: Harness>(harness: &H) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let scope = Scope::new("carried");
    for old in
        ["10/min burst 20", "fixed_window 20/min", "sliding_window 20/min", "sliding_log 20/min", "20/min, 100/h"]
    {
        for new in
            ["9/min", "fixed_window 9/min", "sliding_window 9/min", "sliding_log 9/min", "sliding_log 9/min, 30/h"]
        {
            let (key, old, new) = (format!("{old} to {new}"), quota(old)?, quota(new)?);
            let of_old = |cost| Demand::new(&scope, key.as_bytes(), &old, cost);
            let of_new = |cost| Demand::new(&scope, key.as_bytes(), &new, cost);
            let first = beside.take(&[of_old(6)], after(0)).await?;
            let second = beside.take(&[of_new(2)], after(1)).await?;
            ensure!(
                second.allowed() && second.remaining() == 1,
                "{key}: 6 units in use of 9, and 2 more: expected 1 left, got {second:?}"
            );
            let denied = beside.take(&[of_new(2)], after(2)).await?;
            ensure!(!denied.allowed(), "{key}: expected a denial of 2 with 1 left, got {denied:?}");
            beside.adjust(of_new(6), Adjust::Refund { taken: first.at() }, after(3)).await?;
            // To and fro, with a charge and a block that stays.
            beside.adjust(of_old(15), Adjust::Charge, after(4)).await?;
            beside.adjust(of_old(0), Adjust::Block { until: after(MINUTE) }, after(4)).await?;
            beside.take(&[of_new(1)], after(5)).await?;
            beside.adjust(of_new(1), Adjust::Charge, after(6)).await?;
            let blocked = beside.take(&[of_new(1)], after(MINUTE - 1)).await?;
            ensure!(!blocked.blocked_for().is_zero(), "{key}: expected the block to stay, got {blocked:?}");
            beside.take(&[of_new(1)], after(MINUTE + 1)).await?;
            beside.peek(&[of_old(1)], after(2 * MINUTE)).await?;
        }
    }
    Ok(())
}

pub(in super::super) async fn a_look_does_not_write_a_change_of_quota<H: Harness>(harness: &H) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let scope = Scope::new("looked at");
    // Both log and window would count the units from the change on, and a smaller quota would cut them.
    for old in ["10/h", "fixed_window 10/h", "sliding_window 10/h", "sliding_log 10/h"] {
        for new in EACH {
            let (key, old, new) = (format!("{old} and {new}"), quota(old)?, quota(new)?);
            let of_old = |cost| Demand::new(&scope, key.as_bytes(), &old, cost);
            let of_new = |cost| Demand::new(&scope, key.as_bytes(), &new, cost);
            beside.take(&[of_old(8)], after(0)).await?;
            for nth in 1..5 {
                beside.peek(&[of_new(1)], after(nth)).await?;
                beside.take(&[of_new(0)], after(nth)).await?;
                beside.take(&[of_new(4)], after(nth)).await?; // never fits
                beside.snapshot(of_new(1), after(nth)).await?;
            }
            let look = beside.peek(&[of_old(0)], after(5)).await?;
            ensure!(look.remaining() == 2, "{key}: expected 2 units left of the old quota, got {look:?}");
            beside.take(&[of_old(2)], after(HOUR / 2)).await?;
            beside.peek(&[of_old(10)], after(HOUR + 1)).await?;
        }
    }
    Ok(())
}

pub(in super::super) async fn a_wait_told_after_a_change_of_quota_holds<H: Harness>(
    harness: &H,
) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let scope = Scope::new("told to wait");
    for old in ["10/day", "fixed_window 10/day", "sliding_window 10/day", "sliding_log 10/day"] {
        for new in ["5/s", "fixed_window 5/s", "sliding_window 5/s", "sliding_log 5/s", "5/s, 50/min"] {
            let (key, old, new) = (format!("{old} and {new}"), quota(old)?, quota(new)?);
            let of_new = |cost| Demand::new(&scope, key.as_bytes(), &new, cost);
            beside.take(&[Demand::new(&scope, key.as_bytes(), &old, 10)], after(0)).await?;
            let denied = beside.take(&[of_new(1)], after(1)).await?;
            let wait = denied.retry_after().unwrap_or_default();
            ensure!(!wait.is_zero(), "{key}: expected a denial, got {denied:?}");
            let early = wait.saturating_sub(Duration::from_micros(1));
            let denied = beside.peek(&[of_new(1)], after(1).saturating_add(early)).await?;
            ensure!(!denied.allowed(), "{key}: expected a denial a microsecond early, got {denied:?}");
            let admitted = beside.take(&[of_new(1)], after(1).saturating_add(wait)).await?;
            ensure!(admitted.allowed(), "{key}: expected to be admitted after the wait of {wait:?}, got {admitted:?}");
        }
    }
    Ok(())
}

pub(in super::super) async fn takes_at_once_carry_a_change_over_once<H: Harness>(harness: &H) -> Result<(), Failure> {
    let store = harness.fresh().await;
    for (old, new) in [
        ("1/day burst 100", "sliding_log 80/day"),
        ("sliding_log 100/day", "1/day burst 80"),
        ("fixed_window 100/day", "fixed_window 80/day"),
        ("sliding_window 100/day", "sliding_window 80/day, 200/week"),
    ] {
        let (scope, old, new) = (Scope::new(format!("{old} to {new}")), quota(old)?, quota(new)?);
        let taken = store.take(&[Demand::new(&scope, b"hot", &old, 30)], Some(&after(0))).await?;
        ensure!(taken.allowed(), "{old}: expected 30 of 100 units, got {taken:?}");
        let (limiter, of) = (scope.clone(), new.clone());
        let sum = on_threads(std::slice::from_ref(&store), async move |store: &_, _| {
            admitted(store, &limiter, &of, 1, 20).await
        })
        .await?;
        ensure!(sum == 50, "{}: expected 50 admitted beside the 30 in use, got {sum}", scope.name());
        let left = left(&store, Demand::new(&scope, b"hot", &new, 0), Some(&after(0))).await?;
        ensure!(left == 0, "{}: expected 0 units left, got {left}", scope.name());
    }
    Ok(())
}

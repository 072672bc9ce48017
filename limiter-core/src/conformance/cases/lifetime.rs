//! How long state lasts.

use super::{DAY, EACH, Failure, HOUR, MINUTE, SECOND, after, before, quota};
use crate::{
    Store, Timestamp,
    conformance::{Harness, beside::Beside, concurrent::sleep, failure::ensure},
    store::{Adjust, Demand, Scope},
};
use std::time::Duration;

pub(in super::super) async fn a_reset_forgets_units_and_block<H: Harness>(harness: &H) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let scope = Scope::new("resets");
    beside.reset(&scope, b"never seen").await?;
    for text in EACH {
        let quota = quota(text)?;
        let demand = |cost| Demand::new(&scope, b"ada", &quota, cost);
        let neighbour = Demand::new(&scope, b"ada2", &quota, 2);
        beside.take(&[demand(3)], after(0)).await?;
        beside.adjust(demand(3), Adjust::Charge, after(0)).await?;
        beside.adjust(demand(0), Adjust::Block { until: after(HOUR) }, after(0)).await?;
        beside.take(&[neighbour], after(0)).await?;
        beside.reset(&scope, b"ada").await?;
        let look = beside.take(&[demand(3)], after(1)).await?;
        ensure!(look.allowed(), "{text}: expected all units of a key that was reset, got {look:?}");
        let look = beside.peek(&[Demand { cost: 0, ..neighbour }], after(1)).await?;
        ensure!(look.remaining() == 1, "{text}: expected 1 unit left of its neighbour, got {look:?}");
        beside.reset(&scope, b"ada").await?;
        beside.reset(&scope, b"ada").await?;
        beside.reset(&scope, b"ada2").await?;
        beside.peek(&[demand(3), neighbour], after(2)).await?;
    }
    Ok(())
}

pub(in super::super) async fn a_block_denies_until_its_end<H: Harness>(harness: &H) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let scope = Scope::new("blocks");
    for text in EACH {
        let quota = quota(text)?;
        let demand = |cost| Demand::new(&scope, text.as_bytes(), &quota, cost);
        let block = |until| Adjust::Block { until: after(until) };
        let at_least = |until| Adjust::BlockAtLeast { until: after(until) };
        beside.take(&[demand(1)], after(0)).await?;
        // What is set at 10, and until when the key is then blocked.
        for (adjust, until) in [
            (block(HOUR), HOUR),
            (at_least(MINUTE), HOUR),
            (at_least(2 * HOUR), 2 * HOUR),
            (block(400 * DAY), 400 * DAY),
            (block(MINUTE), MINUTE),
        ] {
            beside.adjust(demand(0), adjust, after(10)).await?;
            let denied = beside.take(&[demand(1)], after(until - 1)).await?;
            let waits = denied.retry_after().is_some_and(|wait| !wait.is_zero());
            ensure!(waits, "{text}: {adjust:?}: expected a denial a microsecond before its end, got {denied:?}");
            let open = beside.peek(&[demand(1)], after(until)).await?;
            ensure!(open.allowed(), "{text}: {adjust:?}: expected an admission at its end, got {open:?}");
            beside.peek(&[demand(1)], before(HOUR)).await?;
        }
        beside.adjust(demand(0), block(0), after(20)).await?;
        let open = beside.take(&[demand(1)], after(20)).await?;
        ensure!(open.allowed(), "{text}: expected a block that was ended to be over, got {open:?}");
        beside.adjust(demand(0), Adjust::Block { until: Timestamp::MAX }, after(30)).await?;
        beside.take(&[demand(1)], after(366 * DAY)).await?;
        beside.adjust(demand(0), Adjust::Block { until: Timestamp::MIN }, after(30)).await?;
        beside.take(&[demand(1)], after(31)).await?;
    }
    Ok(())
}

pub(in super::super) async fn a_sweep_drops_only_what_is_idle<H: Harness>(harness: &H) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let scope = Scope::new("sweeps");
    let mut expected = 0;
    let day = |text: &str| quota(&text.replace("min", "day"));
    for text in EACH {
        let (short, long) = (quota(text)?, day(text)?);
        for nth in 0..5 {
            let key = format!("{nth} {text}");
            beside.take(&[Demand::new(&scope, key.as_bytes(), &short, 1)], after(nth)).await?;
            expected += 1;
        }
        let demand = Demand::new(&scope, text.as_bytes(), &long, 3);
        beside.take(&[demand], after(0)).await?;
        let blocked = format!("blocked {text}");
        let blocked = Demand::new(&scope, blocked.as_bytes(), &short, 1);
        beside.adjust(blocked, Adjust::Block { until: after(365 * DAY) }, after(0)).await?;
        let debt = format!("debt {text}");
        beside.adjust(Demand::new(&scope, debt.as_bytes(), &long, 6), Adjust::Charge, after(0)).await?;
    }
    // Nothing is idle yet, nor hours before it was taken.
    for (what, at) in [("at once", after(10)), ("under a clock that stepped back", before(30 * DAY))] {
        let swept = beside.sweep(at).await?;
        ensure!(swept == 0, "{what}: expected no idle key, got {swept} dropped");
    }
    // Every short key has long been idle; the long ones are not for another part of their day, or have a block.
    let swept = beside.sweep(after(20 * HOUR)).await?;
    if harness.limits().counts_swept {
        ensure!(swept == expected, "after 20 hours: expected {expected} idle keys, got {swept}");
        let swept = beside.sweep(after(20 * HOUR)).await?;
        ensure!(swept == 0, "once more: expected no idle key, got {swept} dropped");
    }
    for text in EACH {
        let (short, long) = (quota(text)?, day(text)?);
        for (key, quota) in
            [(String::from(text), &long), (format!("blocked {text}"), &short), (format!("debt {text}"), &long)]
        {
            beside.take(&[Demand::new(&scope, key.as_bytes(), quota, 3)], after(20 * HOUR)).await?;
        }
        beside.take(&[Demand::new(&scope, format!("0 {text}").as_bytes(), &short, 3)], after(20 * HOUR)).await?;
    }
    Ok(())
}

pub(in super::super) async fn state_lasts_to_the_last_microsecond<H: Harness>(harness: &H) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let scope = Scope::new("lasting");
    let (small, clutter) = (quota("5/s")?, Scope::new("clutter"));
    for (name, period) in [("s", SECOND), ("min", MINUTE), ("h", HOUR), ("day", DAY), ("366day", 366 * DAY)] {
        for algorithm in ["", "fixed_window ", "sliding_window ", "sliding_log "] {
            let text = format!("{algorithm}1/{name}");
            let quota = quota(&text)?;
            let demand = Demand::new(&scope, text.as_bytes(), &quota, 1);
            // A window of the epoch's grid may end sooner: begin where one begins.
            let start = Timestamp::from_micros(after(0).as_micros().div_ceil(period) * period);
            let at = |micros| start.saturating_add(Duration::from_micros(micros));
            let taken = beside.take(&[demand], start).await?;
            ensure!(taken.allowed(), "{text}: expected the first unit, got {taken:?}");
            for nth in [period / 2, period - 2, period - 1] {
                for key in 0..8_u8 {
                    beside.take(&[Demand::new(&clutter, &[key], &small, 1)], at(nth)).await?;
                }
                beside.sweep(at(nth)).await?;
                let denied = beside.take(&[demand], at(nth)).await?;
                ensure!(!denied.allowed(), "{text}: expected a denial {nth} us after its take, got {denied:?}");
            }
            let wait = beside.peek(&[demand], at(period - 1)).await?.retry_after().unwrap_or_default();
            let again = beside.take(&[demand], at(period - 1).saturating_add(wait)).await?;
            ensure!(again.allowed(), "{text}: expected an admission after the wait of {wait:?}, got {again:?}");
        }
    }
    Ok(())
}

pub(in super::super) async fn crowds_of_new_keys_evict_nobody<H: Harness>(harness: &H) -> Result<(), Failure> {
    const OLD: u16 = 40;
    const NEW: u16 = 1500;
    let store = harness.fresh().await;
    let (old, new) = (Scope::new("old"), Scope::new("new"));
    let (day, moment) = (quota("sliding_log 1/day")?, quota("1/ms")?);
    for (admits, what) in [(true, "at first"), (false, "after a crowd")] {
        for key in (0..OLD).map(u16::to_be_bytes) {
            let got = store.take(&[Demand::new(&old, &key, &day, 1)], None).await?;
            ensure!(got.allowed() == admits, "{what}, old key {key:?}: expected {admits}, got {got:?}");
        }
        for key in (0..if admits { NEW } else { 0 }).map(u16::to_be_bytes) {
            store.take(&[Demand::new(&new, &key, &moment, 1)], None).await?;
        }
    }
    Ok(())
}

pub(in super::super) async fn real_time_does_not_expire_injected_time<H: Harness>(harness: &H) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let scope = Scope::new("standing still");
    let quotas = ["1/ms", "fixed_window 1/ms", "sliding_window 1/ms", "sliding_log 1/ms", "1/s", "sliding_log 1/s"];
    for text in quotas {
        let quota = quota(text)?;
        beside.take(&[Demand::new(&scope, text.as_bytes(), &quota, 1)], after(0)).await?;
        let key = format!("blocked {text}");
        let blocked = Demand::new(&scope, key.as_bytes(), &quota, 1);
        beside.adjust(blocked, Adjust::Block { until: after(1000) }, after(0)).await?;
    }
    sleep(Duration::from_millis(2500)).await;
    for text in quotas {
        let quota = quota(text)?;
        let denied = beside.take(&[Demand::new(&scope, text.as_bytes(), &quota, 1)], after(0)).await?;
        ensure!(!denied.allowed(), "{text}: expected a denial at the instant of its take, got {denied:?}");
        let blocked = format!("blocked {text}");
        beside.take(&[Demand::new(&scope, blocked.as_bytes(), &quota, 1)], after(0)).await?;
    }
    Ok(())
}

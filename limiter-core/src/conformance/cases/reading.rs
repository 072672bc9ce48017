//! Denials and peeks write nothing.

use super::{DAY, EACH, Failure, HOUR, MINUTE, after, before, quota};
use crate::{
    conformance::{Harness, beside::Beside, failure::ensure},
    store::{Adjust, Demand, Scope},
};

pub(in super::super) async fn a_denial_writes_nothing<H: Harness>(harness: &H) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let scope = Scope::new("denials");
    for text in EACH {
        let quota = quota(text)?;
        let demand = |cost| Demand::new(&scope, text.as_bytes(), &quota, cost);
        for cost in [4, u64::MAX] {
            let denied = beside.take(&[demand(cost)], after(0)).await?;
            ensure!(denied.retry_after().is_none(), "{text}: expected {cost} units never to fit, got {denied:?}");
        }
        beside.take(&[demand(2)], after(0)).await?;
        for nth in 1..=20 {
            let denied = beside.take(&[demand(2)], after(nth)).await?;
            ensure!(!denied.allowed(), "{text}: expected a denial of 2 units with 1 left, got {denied:?}");
        }
        let last = beside.take(&[demand(1)], after(21)).await?;
        ensure!(last.allowed(), "{text}: expected the last unit after 20 denials, got {last:?}");
        beside.peek(&[demand(1)], after(22)).await?;
        beside.take(&[demand(3)], after(30)).await?;
        beside.peek(&[demand(3)], after(MINUTE)).await?;
    }
    Ok(())
}

pub(in super::super) async fn a_peek_writes_nothing<H: Harness>(harness: &H) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let scope = Scope::new("peeks");
    for text in EACH {
        let quota = quota(text)?;
        let demand = |cost| Demand::new(&scope, text.as_bytes(), &quota, cost);
        for nth in 0..10 {
            let peek = beside.peek(&[demand(3)], after(nth)).await?;
            ensure!(peek.allowed() && peek.remaining() == 3, "{text}: expected 3 units left, got {peek:?}");
        }
        beside.take(&[demand(2)], after(0)).await?;
        // Hours before, the state lies too far ahead; only a take may pull it back.
        for at in [after(1), before(10 * HOUR), after(DAY), before(MINUTE), after(2)] {
            beside.peek(&[demand(1)], at).await?;
            beside.peek(&[demand(3)], at).await?;
            beside.take(&[demand(0)], at).await?;
        }
        let peek = beside.peek(&[demand(1)], after(3)).await?;
        ensure!(peek.remaining() == 1, "{text}: expected 1 unit left after peeks, got {peek:?}");
    }
    Ok(())
}

pub(in super::super) async fn keys_only_looked_at_are_not_kept<H: Harness>(harness: &H) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let scope = Scope::new("looks");
    for text in EACH {
        let quota = quota(text)?;
        for key in 0..5_u8 {
            let key = [key];
            let demand = |cost| Demand::new(&scope, &key, &quota, cost);
            beside.peek(&[demand(1)], after(0)).await?;
            beside.take(&[demand(0)], after(0)).await?;
            beside.take(&[demand(4)], after(0)).await?;
        }
        let full = Demand::new(&scope, b"full", &quota, 3);
        let new = Demand::new(&scope, b"new", &quota, 1);
        beside.take(&[full], after(0)).await?;
        let denied = beside.take(&[new, Demand { cost: 1, ..full }], after(1)).await?;
        ensure!(!denied.allowed(), "{text}: expected a denial beside a full key, got {denied:?}");
        beside.adjust(Demand { cost: 1, ..full }, Adjust::Charge, after(2)).await?;
        beside.reset(&scope, b"full").await?;
        let swept = beside.sweep(after(1000 * DAY)).await?;
        ensure!(swept == 0, "{text}: expected nothing to sweep after looks and a reset, got {swept} keys");
    }
    Ok(())
}

//! What comes back, and what goes without asking.

use super::{EACH, Failure, MINUTE, SECOND, after, quota};
use crate::{
    conformance::{Harness, beside::Beside, failure::ensure},
    store::{Adjust, Demand, Scope},
};

pub(in super::super) async fn a_refund_never_mints<H: Harness>(harness: &H) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let scope = Scope::new("refunds");
    for text in EACH {
        let quota = quota(text)?;
        let demand = |cost| Demand::new(&scope, text.as_bytes(), &quota, cost);
        let refund = Adjust::Refund { taken: after(0) };
        // Of a key never seen, more than was taken, twice, and after all of it has passed.
        let mut looks = vec![(3, beside.adjust(demand(3), refund, after(0)).await?)];
        beside.take(&[demand(2)], after(0)).await?;
        looks.push((2, beside.adjust(demand(1), refund, after(1)).await?));
        looks.push((3, beside.adjust(demand(3), refund, after(2)).await?));
        looks.push((3, beside.adjust(demand(u64::MAX), refund, after(3)).await?));
        beside.take(&[demand(3)], after(4 * MINUTE)).await?;
        looks.push((0, beside.adjust(demand(2), refund, after(4 * MINUTE + 1)).await?));
        for (nth, (left, look)) in looks.into_iter().enumerate() {
            ensure!(look.remaining() == left, "{text}: refund {nth}: expected {left} units left, got {look:?}");
        }
        let denied = beside.take(&[demand(1)], after(4 * MINUTE + 2)).await?;
        ensure!(!denied.allowed(), "{text}: expected a denial after a refund of what had passed, got {denied:?}");
    }
    Ok(())
}

pub(in super::super) async fn a_refund_returns_no_more_than_its_part<H: Harness>(harness: &H) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let scope = Scope::new("parts");
    for algorithm in ["1/day burst 10", "fixed_window 10/day", "sliding_window 10/day", "sliding_log 10/day"] {
        let quota = quota(algorithm)?;
        let demand = |cost| Demand::new(&scope, algorithm.as_bytes(), &quota, cost);
        beside.take(&[demand(4)], after(0)).await?;
        beside.take(&[demand(5)], after(SECOND)).await?;
        for (cost, taken, left) in [(4, after(0), 5), (2, after(SECOND), 7), (3, after(SECOND), 10)] {
            let look = beside.adjust(demand(cost), Adjust::Refund { taken }, after(2 * SECOND)).await?;
            let expected = left - u64::from(algorithm.contains("burst")); // a bucket drained a little since
            let range = expected..=left;
            ensure!(
                range.contains(&look.remaining()),
                "{algorithm}: refund of {cost}: expected {range:?} units left, got {look:?}"
            );
        }
        // Counted anew: a take stamped again lasts from then on.
        beside.take(&[demand(6)], after(3 * SECOND)).await?;
        beside.adjust(demand(6), Adjust::Restamp { taken: after(3 * SECOND) }, after(9 * SECOND)).await?;
        beside.peek(&[demand(10)], after(9 * SECOND)).await?;
    }
    Ok(())
}

pub(in super::super) async fn charges_end_at_one_quota_of_debt<H: Harness>(harness: &H) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let scope = Scope::new("charges");
    for text in EACH {
        let quota = quota(text)?;
        let demand = |cost| Demand::new(&scope, text.as_bytes(), &quota, cost);
        for (cost, left) in [(1, 2), (1, 1), (2, 0), (100, 0), (u64::MAX, 0)] {
            let look = beside.adjust(demand(cost), Adjust::Charge, after(0)).await?;
            ensure!(look.remaining() == left, "{text}: charge of {cost}: expected {left} units left, got {look:?}");
        }
        let denied = beside.take(&[demand(1)], after(1)).await?;
        ensure!(!denied.allowed(), "{text}: expected a denial in debt, got {denied:?}");
        let back = beside.peek(&[demand(3)], after(3 * MINUTE)).await?;
        ensure!(back.allowed(), "{text}: expected at most one quota of debt, got after three periods {back:?}");
    }
    Ok(())
}

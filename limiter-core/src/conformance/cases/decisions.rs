//! Every answer is that of `algorithm::decide`.

use super::{EACH, Failure, HOUR, MINUTE, after, quota};
use crate::{
    Algorithm,
    conformance::{Harness, beside::Beside, stream::Stream},
    store::{Adjust, Demand, Scope},
};

async fn of<H: Harness>(harness: &H, algorithm: Algorithm, with_cells: bool) -> Result<(), Failure> {
    let stream = Stream { algorithm: Some(algorithm), with_cells: Some(with_cells), ..Stream::default() };
    stream.run(harness).await
}

pub(in super::super) async fn buckets_decide_as_decide<H: Harness>(harness: &H) -> Result<(), Failure> {
    of(harness, Algorithm::Gcra, false).await
}

pub(in super::super) async fn fixed_windows_decide_as_decide<H: Harness>(harness: &H) -> Result<(), Failure> {
    of(harness, Algorithm::FixedWindow, false).await
}

pub(in super::super) async fn sliding_windows_decide_as_decide<H: Harness>(harness: &H) -> Result<(), Failure> {
    of(harness, Algorithm::SlidingWindow, false).await
}

pub(in super::super) async fn exact_logs_decide_as_decide<H: Harness>(harness: &H) -> Result<(), Failure> {
    of(harness, Algorithm::SlidingLog, false).await
}

pub(in super::super) async fn logs_of_a_resolution_decide_as_decide<H: Harness>(harness: &H) -> Result<(), Failure> {
    of(harness, Algorithm::SlidingLog, true).await
}

pub(in super::super) async fn several_demands_decide_as_decide<H: Harness>(harness: &H) -> Result<(), Failure> {
    Stream { are_several: true, ..Stream::default() }.run(harness).await
}

pub(in super::super) async fn changing_quotas_decide_as_decide<H: Harness>(harness: &H) -> Result<(), Failure> {
    Stream { changes: true, ..Stream::default() }.run(harness).await
}

pub(in super::super) async fn clocks_that_step_back_decide_as_decide<H: Harness>(harness: &H) -> Result<(), Failure> {
    Stream { is_wild: true, ..Stream::default() }.run(harness).await
}

pub(in super::super) async fn extreme_rates_decide_as_decide<H: Harness>(harness: &H) -> Result<(), Failure> {
    Stream { are_extreme: true, ..Stream::default() }.run(harness).await
}

pub(in super::super) async fn a_snapshot_is_the_state<H: Harness>(harness: &H) -> Result<(), Failure> {
    let mut beside = Beside::new(harness.fresh().await);
    let scope = Scope::new("snapshots");
    for text in EACH {
        let (quota, other) = (quota(text)?, quota("sliding_log 5/min, 20/h")?);
        let demand = Demand::new(&scope, text.as_bytes(), &quota, 2);
        beside.snapshot(demand, after(0)).await?;
        beside.take(&[demand], after(10)).await?;
        beside.snapshot(demand, after(10)).await?;
        beside.snapshot(demand, after(MINUTE)).await?;
        beside.snapshot(Demand { quota: &other, ..demand }, after(MINUTE / 2)).await?;
        beside.snapshot(demand, after(20)).await?; // the look under the other quota wrote nothing
        beside.adjust(demand, Adjust::Block { until: after(HOUR) }, after(20)).await?;
        beside.snapshot(demand, after(MINUTE)).await?;
        beside.peek(&[demand], after(MINUTE)).await?;
    }
    Ok(())
}

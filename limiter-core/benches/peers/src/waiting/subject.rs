//! What is waited on.

use governor::{DefaultDirectRateLimiter, Quota as GovernorQuota};
use limiter_core::{KeyLimiter, Limiter, Quota};
use std::{future::Future, num::NonZeroU32, sync::Arc, time::Duration};

/// A limiter whose clones limit together.
pub trait Subject: Clone + Send + Sync + 'static {
    /// Whether a grant is made by whoever wakes the task, and not by the task itself in its last poll.
    const GRANTS_WHEN_IT_WAKES: bool;

    fn acquire(&self) -> impl Future<Output = ()> + Send;
}

#[derive(Clone)]
pub struct Ours(Limiter);

impl Ours {
    pub fn new(quota: &str) -> Self {
        Self(Limiter::new(quota.parse::<Quota>().expect("a quota")))
    }
}

impl Subject for Ours {
    const GRANTS_WHEN_IT_WAKES: bool = true;

    async fn acquire(&self) {
        drop(self.0.acquire("sixteen-byte-key").await.expect("a permit"));
    }
}

/// A handle for one key: as the others, which have no keys, it has but one bucket to look at.
#[derive(Clone)]
pub struct OurKey(Arc<KeyLimiter>);

impl OurKey {
    pub fn new(quota: &str) -> Self {
        Self(Arc::new(Limiter::new(quota.parse::<Quota>().expect("a quota")).for_key("sixteen-byte-key")))
    }
}

impl Subject for OurKey {
    const GRANTS_WHEN_IT_WAKES: bool = true;

    async fn acquire(&self) {
        drop(self.0.acquire().await.expect("a permit"));
    }
}

/// Without keys, which is its quickest.
#[derive(Clone)]
pub struct Governor(Arc<DefaultDirectRateLimiter>);

impl Governor {
    pub fn new(per_second: u32, burst: u32) -> Self {
        let number = |n| NonZeroU32::new(n).expect("not zero");
        let quota = GovernorQuota::per_second(number(per_second)).allow_burst(number(burst));
        Self(Arc::new(governor::RateLimiter::direct(quota)))
    }
}

impl Subject for Governor {
    const GRANTS_WHEN_IT_WAKES: bool = false;

    async fn acquire(&self) {
        self.0.until_ready().await;
    }
}

#[derive(Clone)]
pub struct LeakyBucket(Arc<leaky_bucket::RateLimiter>);

impl LeakyBucket {
    /// Its default, which is fair. A millisecond is the least interval it takes.
    pub fn new(per_milli: usize, most: usize) -> Self {
        Self::build(per_milli, most, true)
    }

    pub fn unfair(per_milli: usize, most: usize) -> Self {
        Self::build(per_milli, most, false)
    }

    fn build(per_milli: usize, most: usize, is_fair: bool) -> Self {
        let mut builder = leaky_bucket::RateLimiter::builder();
        builder.refill(per_milli).interval(Duration::from_millis(1)).max(most).initial(most).fair(is_fair);
        Self(Arc::new(builder.build()))
    }
}

impl Subject for LeakyBucket {
    const GRANTS_WHEN_IT_WAKES: bool = true;

    async fn acquire(&self) {
        self.0.acquire_one().await;
    }
}

/// What the tasks cost without a limiter.
#[derive(Clone)]
pub struct Yield;

impl Subject for Yield {
    const GRANTS_WHEN_IT_WAKES: bool = false;

    fn acquire(&self) -> impl Future<Output = ()> + Send {
        tokio::task::yield_now()
    }
}

//! governor under a quota in our words.

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota as GovernorQuota};
use limiter_core::Quota;
use std::{hint::black_box, num::NonZeroU32};

/// One bucket a key, as it comes: DashMap, the standard library's hasher.
pub struct Governor(DefaultKeyedRateLimiter<String>);

impl Governor {
    pub fn new(quota: &str) -> Self {
        Self(governor::RateLimiter::keyed(translated(quota)))
    }

    #[inline]
    pub fn check(&self, key: &String) -> bool {
        black_box(&self.0.check_key(key)).is_ok()
    }
}

pub fn unkeyed(quota: &str) -> DefaultDirectRateLimiter {
    governor::RateLimiter::direct(translated(quota))
}

fn translated(quota: &str) -> GovernorQuota {
    let quota: Quota = quota.parse().expect("a quota");
    let [rate] = quota.rates() else { panic!("governor has one rate a quota") };
    let burst = u32::try_from(rate.capacity()).ok().and_then(NonZeroU32::new).expect("a burst of 32 bits");
    let unit = rate.period() / u32::try_from(rate.limit()).expect("a limit of 32 bits");
    GovernorQuota::with_period(unit).expect("some time a unit").allow_burst(burst)
}

//! A limiter with what stands beside it: who comes back after a pause comes back at its pace.

use limiter_core::{KeyBuf, Limiter, Quota, Rate, Store};
use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// A limiter as rules use it.
#[derive(Clone)]
pub(crate) struct Policy<S: Store> {
    /// Which of the process's policies this is: what is known of its keys is found by it.
    pub(crate) id: usize,
    pub(crate) limiter: Limiter<S>,
    /// One request each time a unit of the quota takes; asked after a pause.
    pub(crate) pace: Limiter<S>,
    /// A key's block says how long after a pause that is; no unit is ever taken.
    pub(crate) marks: Limiter<S>,
}

impl<S: Store> Policy<S> {
    pub(super) fn new(limiter: Limiter<S>) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);

        let name = |what: &str| format!("{} {what}", limiter.name());
        let paced = limiter.clone();
        let pace_of = move |key: &[u8]| paced.with_quota_of(key, one_at_a_time);
        let pace = limiter.beside(name("pace"), pace_of).at_once(1).build();
        let marks = limiter.clone();
        let marks = limiter.beside(name("after pauses"), move |key| marks.with_quota_of(key, one_at_a_time)).build();
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), limiter, pace, marks }
    }

    /// How long a unit of `key` takes at the pace of its quota, and the quota's period; each of its shortest one.
    pub(crate) fn pace_of(&self, key: &KeyBuf) -> (Duration, Duration) {
        self.limiter.with_quota_of(key, |quota| match quota.rates().first() {
            Some(rate) => (interval(rate), rate.period()),
            None => (Duration::ZERO, Duration::ZERO),
        })
    }
}

/// A bucket of one, at the rate of the quota's shortest period. The longer ones are kept by the quota itself.
fn one_at_a_time(quota: &Quota) -> Quota {
    let paced = quota.rates().first().and_then(|rate| Rate::new(rate.limit(), rate.period()).ok()?.burst(1).ok());
    paced.map_or_else(|| quota.clone(), Quota::from)
}

fn interval(rate: &Rate) -> Duration {
    rate.period().div_f64(rate.limit().max(1) as f64)
}

impl<S: Store> fmt::Debug for Policy<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limiter.fmt(f)
    }
}

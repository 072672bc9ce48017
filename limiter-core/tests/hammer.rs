//! Threads against one limiter: never too much, never too little, never a spurious denial.

#![allow(clippy::unwrap_used)]

use limiter_core::{
    Clock, Limiter, LocalStore, MemoryStore, Quota, Timestamp,
    store::{Demand, Scope},
};
use std::{
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

const THREADS: usize = 8;

/// Every algorithm, each with several rates, the last of which admits exactly 1000 units while the test runs.
const QUOTAS: [&str; 5] = [
    "1000/week burst 1000",
    "fixed_window 1000/week",
    "sliding_window 1000/week",
    "sliding_log 999/h, 1000/week",
    "sliding_log 1000/week resolution 7",
];

/// Runs `work` on all threads at once; the sum of what they return.
fn on_all_threads(work: impl Fn(usize) -> u64 + Sync) -> u64 {
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        let work = &work;
        let barrier = &barrier;
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    barrier.wait();
                    work(thread)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

/// A limiter whose clock stands still, so that what is admitted is exact.
fn frozen(quota: &str) -> Limiter {
    Limiter::builder(quota.parse().unwrap()).clock(Timestamp::from_micros(1_760_000_000_000_000)).build()
}

#[test]
fn one_hot_key_admits_exactly_the_quota() {
    for quota in QUOTAS {
        let limiter = frozen(quota);
        let capacity = limiter.quota().unwrap().capacity();
        let admitted = on_all_threads(|_| (0..2000).filter(|_| limiter.check("hot").unwrap().allowed()).count() as u64);
        assert_eq!(admitted, capacity, "{quota}");
    }
}

#[test]
fn mixed_costs_never_pass_the_quota_and_fill_it() {
    for quota in QUOTAS {
        let limiter = frozen(quota);
        let capacity = limiter.quota().unwrap().capacity();
        let admitted = on_all_threads(|thread| {
            let costs = (0..2000).map(|i| 1 + (i + thread as u64) % 7);
            costs.filter(|&cost| limiter.check_n("hot", cost).unwrap().allowed()).sum()
        });
        assert_eq!(admitted, capacity, "{quota}");
    }
}

#[test]
fn many_keys_admit_exactly_their_own_quotas() {
    for quota in ["3/week", "fixed_window 3/week", "sliding_window 3/week", "sliding_log 3/week"] {
        let limiter = frozen(quota);
        let admitted = on_all_threads(|thread| {
            let keys = (0..40_000_u64).map(|i| (i + 5000 * thread as u64) % 10_000);
            keys.filter(|&key| limiter.check(key).unwrap().allowed()).count() as u64
        });
        assert_eq!(admitted, 30_000, "{quota}");
        assert_eq!(limiter.store().usage().keys, 10_000);
    }
}

#[test]
fn under_the_real_clock_no_more_than_the_rate_comes_through() {
    for quota in ["200/100ms", "sliding_log 200/100ms"] {
        let limiter = Limiter::parse(quota).unwrap();
        let first = LocalStore::now(limiter.store(), None).unwrap();
        let admitted = AtomicU64::new(0);
        // Five periods, or as many more as a machine takes that stands still meanwhile.
        on_all_threads(|_| {
            while admitted.load(Ordering::Relaxed) < 1000 {
                let decision = limiter.check("hot").unwrap();
                admitted.fetch_add(u64::from(decision.allowed()), Ordering::Relaxed);
                let elapsed = decision.at().saturating_since(first);
                assert!(elapsed < Duration::from_secs(30), "{quota}: {admitted:?} in {elapsed:?}");
            }
            0
        });
        let elapsed = LocalStore::now(limiter.store(), None).unwrap().saturating_since(first);
        let (admitted, promised) = (admitted.into_inner(), 200 + 2 * u64::try_from(elapsed.as_millis()).unwrap());
        assert!(admitted <= promised, "{quota}: {admitted} of {promised}");
    }
}

#[test]
fn an_unlimited_quota_refuses_nobody() {
    let limit = "4_000_000_000/s";
    let quotas = ["gcra", "fixed_window", "sliding_window", "sliding_log"].map(|name| format!("{name} {limit}"));
    for quota in quotas {
        let limiter = Limiter::parse(&quota).unwrap();
        let refused = on_all_threads(|thread| {
            let refused = (0..50_000_u64).filter(|i| !limiter.check(i % 3 + thread as u64 % 2).unwrap().allowed());
            refused.count() as u64
        });
        assert_eq!(refused, 0, "{quota}");
    }
}

#[test]
fn several_keys_at_once_are_all_or_nothing_and_never_deadlock() {
    let store = MemoryStore::new();
    let (users, tenants): (Quota, Quota) = ("50/week".parse().unwrap(), "fixed_window 300/week".parse().unwrap());
    let (user_scope, tenant_scope) = (Scope::new("user"), Scope::new("tenant"));
    let now = Timestamp::from_micros(1_760_000_000_000_000);
    let admitted = on_all_threads(|thread| {
        let mut admitted = 0;
        for i in 0..4000_u64 {
            let user = (i * 7 + thread as u64) % 10;
            let (user, tenant) = (user.to_le_bytes(), (user % 2).to_le_bytes());
            let mut demands =
                [Demand::new(&user_scope, &user, &users, 1), Demand::new(&tenant_scope, &tenant, &tenants, 1)];
            if thread % 2 == 0 {
                demands.reverse(); // in the other order, whatever the locks are taken in
            }
            admitted += u64::from(LocalStore::take(&store, &demands, Some(&now)).unwrap().allowed());
        }
        admitted
    });
    // Five users a tenant of 50 each: 250 of the tenant's 300. A denied user charged no tenant.
    assert_eq!(admitted, 500);
    for tenant in 0..2_u64 {
        let key = tenant.to_le_bytes();
        let left = LocalStore::peek(&store, &[Demand::new(&tenant_scope, &key, &tenants, 1)], Some(&now)).unwrap();
        assert_eq!(left.remaining(), 50);
    }
}

/// A clock that every reading moves back or forth by up to a second.
struct Jittery(AtomicU64);

impl Clock for Jittery {
    fn now(&self) -> Timestamp {
        let reading = self.0.fetch_add(1, Ordering::Relaxed);
        Timestamp::from_micros(1_760_000_000_000_000 + (reading.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44))
    }
}

#[test]
fn threads_that_read_time_in_any_order_get_nothing_extra() {
    for quota in ["1000/week", "sliding_log 1000/week", "sliding_window 1000/week", "fixed_window 1000/week"] {
        let limiter = Limiter::builder(quota.parse().unwrap()).clock(Jittery(AtomicU64::new(0))).build();
        let admitted = on_all_threads(|_| (0..2000).filter(|_| limiter.check("hot").unwrap().allowed()).count() as u64);
        assert_eq!(admitted, 1000, "{quota}");
    }
}

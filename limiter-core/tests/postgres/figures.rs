use crate::fixture::*;
use crate::support::block_on;
use limiter_core::{
    Quota, Store,
    store::{Adjust, Demand, Scope},
};
use std::time::Instant;

fn time(name: &str, n: usize, mut f: impl FnMut(usize)) {
    for i in 0..20 {
        f(i)
    }
    let mut all: Vec<_> = (0..n)
        .map(|i| {
            let t = Instant::now();
            f(i);
            t.elapsed()
        })
        .collect();
    all.sort();
    eprintln!("{name}: median {:?} p90 {:?}", all[n / 2], all[n * 9 / 10]);
}

#[test]
#[ignore]
fn figures() {
    let (store, _prefix) = with_tables();
    let scope = Scope::new("api");
    time("now", 500, |_| {
        block_on(store.now(None)).unwrap();
    });
    for text in [
        "1000000/s",
        "fixed_window 1000000/s",
        "sliding_window 1000000/s",
        "sliding_log 10000/h",
        "sliding_log 100000/h, 1000000/day",
        "100/s, 1000/min, 10000/h, 100000/day",
    ] {
        let quota: Quota = text.parse().unwrap();
        let key = text.as_bytes();
        time(&format!("take {text}"), 500, |_| {
            block_on(store.take(&[Demand::new(&scope, key, &quota, 1)], None)).unwrap();
        });
        time(&format!("new key {text}"), 300, |i| {
            block_on(store.take(&[Demand::new(&scope, &i.to_le_bytes(), &quota, 1)], None)).unwrap();
        });
        time(&format!("peek {text}"), 500, |_| {
            block_on(store.peek(&[Demand::new(&scope, key, &quota, 1)], None)).unwrap();
        });
        time(&format!("charge {text}"), 300, |_| {
            block_on(store.adjust(Demand::new(&scope, key, &quota, 1), Adjust::Charge, None)).unwrap();
        });
    }
    let quota: Quota = "1000000/s".parse().unwrap();
    let keys: Vec<_> = (0..4u64).map(|i| i.to_le_bytes()).collect();
    let demands: Vec<_> = keys.iter().map(|k| Demand::new(&scope, k, &quota, 1)).collect();
    time("four keys", 500, |_| {
        block_on(store.take(&demands, None)).unwrap();
    });
}

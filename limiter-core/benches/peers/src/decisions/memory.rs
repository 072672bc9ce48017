//! Bytes a key, and the time to meet a new one.

use super::{keys, limiter, peer::Governor};
use crate::{
    alloc,
    harness::{Ratios, Table, figure},
};
use limiter_core::Limiter;
use std::time::Instant;

const FEWER: usize = 900_000;
const MORE: usize = 1_000_000;

pub fn run(ratios: &mut Ratios) {
    let all = keys::strings(MORE);
    let bucket = of_ours("1/min burst 5000000", &all);
    let governor = of_governor(&all);
    let mut table = Table::new(
        "Bytes a key, as asked of the allocator: 16-byte String keys, one take each",
        &["900,000 keys", "1,000,000 keys", "a new key, ns"],
    );
    let mut row = |name: &str, figures: [f64; 3]| table.row(name, figures.map(figure));
    row("limiter, gcra", bucket);
    row("limiter, fixed_window", of_ours("fixed_window 10/day", &all));
    row("limiter, sliding_window", of_ours("sliding_window 10/day", &all));
    row("limiter, sliding_log", of_ours("sliding_log 10/day", &all));
    row("limiter, gcra, five rates", of_ours("10/h, 20/day, 30/2days, 40/3days, 50/4days", &all));
    row("governor", governor);
    print!("{table}");
    ratios.add("bytes-900k", governor[0], bucket[0]);
    ratios.add("bytes-1m", governor[1], bucket[1]);
    ratios.add("new-key", governor[2], bucket[2]);
}

fn of_ours(quota: &str, all: &[String]) -> [f64; 3] {
    measured(
        all,
        || limiter(quota),
        |limiter: &Limiter, key| assert!(limiter.check(key).expect("a decision").allowed()),
    )
}

fn of_governor(all: &[String]) -> [f64; 3] {
    measured(all, || Governor::new("1/min burst 5000000"), |governor, key| assert!(governor.check(key)))
}

/// Bytes a key at the fewer and the more keys, and nanoseconds a key that was not there.
fn measured<L>(all: &[String], make: impl Fn() -> L, meet: impl Fn(&L, &String)) -> [f64; 3] {
    let fill = |count: usize| {
        let start = Instant::now();
        let (filled, bytes) = alloc::growth(|| {
            let limiter = make();
            all[..count].iter().for_each(|key| meet(&limiter, key));
            limiter
        });
        let nanos = start.elapsed().as_nanos() as f64;
        drop(filled);
        (bytes / count as f64, nanos / count as f64)
    };
    let ((fewer, _), (more, nanos)) = (fill(FEWER), fill(MORE));
    [fewer, more, nanos]
}

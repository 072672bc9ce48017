//! Keys, and the order they are asked in.

use crate::harness::Random;
use std::sync::Arc;

/// 16-byte Strings. Made first and only lent, so that no figure holds the making of keys.
pub struct Keys {
    keys: Vec<String>,
    order: Vec<u32>,
}

/// Length of the order, which then starts again; a power of two.
const ORDER: usize = 1 << 22;

impl Keys {
    pub fn one() -> Arc<Self> {
        Arc::new(Self { keys: strings(1), order: vec![0] })
    }

    /// Each as likely as any.
    pub fn uniform(count: usize) -> Arc<Self> {
        let mut random = Random(7);
        let order = (0..ORDER.min(64 * count.next_power_of_two())).map(|_| (random.next() % count as u64) as u32);
        Arc::new(Self { order: order.collect(), keys: strings(count) })
    }

    /// The n-th most likely is asked for in proportion to 1/n.
    pub fn zipf(count: usize) -> Arc<Self> {
        let mut sum = 0.0;
        let sums: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        let mut random = Random(7);
        let order = (0..ORDER).map(|_| {
            let at = random.unit() * sum;
            let rank = sums.partition_point(|&sum| sum <= at);
            // Spread, so that those that are often asked for do not lie side by side.
            (rank as u64 * 618_033 % count as u64) as u32
        });
        Arc::new(Self { order: order.collect(), keys: strings(count) })
    }

    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.keys.iter()
    }

    #[inline]
    pub fn nth(&self, nth: usize) -> &String {
        &self.keys[self.order[nth & (self.order.len() - 1)] as usize]
    }
}

pub fn strings(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("key-{number:012}")).collect()
}

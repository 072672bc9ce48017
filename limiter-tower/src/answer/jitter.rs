//! Spreads those who were denied together, so that they do not come again together.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A random part of a duration, another one each time.
#[derive(Clone)]
pub(crate) struct Jitter {
    most: Duration,
    seed: RandomState,
    turn: Arc<AtomicU64>,
}

impl Jitter {
    pub(crate) fn new(most: Duration) -> Self {
        Self { most, seed: RandomState::new(), turn: Arc::default() }
    }

    /// From nothing to all of it, evenly.
    pub(crate) fn next(&self) -> Duration {
        let random = self.seed.hash_one(self.turn.fetch_add(1, Ordering::Relaxed));
        let micros = u64::try_from(self.most.as_micros()).unwrap_or(u64::MAX);
        let part = (u128::from(micros) * u128::from(random)) >> 64;
        Duration::from_micros(u64::try_from(part).unwrap_or(micros))
    }
}

impl fmt::Debug for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Jitter").field(&self.most).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_spread_evenly_over_all_of_it_and_never_more() {
        let most = Duration::from_secs(10);
        let jitter = Jitter::new(most);
        let mut tenths = [0; 10];
        for _ in 0..10_000 {
            let some = jitter.next();
            assert!(some <= most);
            tenths[usize::try_from(some.as_secs()).unwrap().min(9)] += 1;
        }
        assert!(tenths.iter().all(|count| (700..1_300).contains(count)), "{tenths:?}");
    }

    #[test]
    fn none_and_ages_are_no_trouble() {
        assert_eq!(Jitter::new(Duration::ZERO).next(), Duration::ZERO);
        assert!(Jitter::new(Duration::MAX).next() <= Duration::MAX);
    }
}

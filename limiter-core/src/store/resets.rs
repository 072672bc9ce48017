//! Which keys of a limiter were reset, and since when nothing taken before comes back.

use crate::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};
use hashbrown::HashMap;
use std::{
    hash::{BuildHasher, RandomState},
    sync::PoisonError,
};

/// Resets and restarts of a limiter in this process, counted. Who asks for units notes the count before the store is
/// asked: what is counted later has forgotten them.
///
/// Keys are remembered as 64-bit hashes under a random seed, the last several thousand that were reset. Units from before
/// the oldest of these are taken for forgotten, whatever their key: what cannot be known is not given back.
pub(crate) struct Resets {
    /// Twice the count, and 1 more while a reset is under way.
    told: AtomicU64,
    known: Mutex<Known>,
    seed: RandomState,
}

#[derive(Default)]
struct Known {
    count: u64,
    /// Resets under way, of any key.
    under_way: u64,
    /// By key; the newer half, and the older one.
    young: HashMap<u64, Reset, RandomState>,
    old: HashMap<u64, Reset, RandomState>,
    /// What was asked for before this count is forgotten, whatever its key.
    all_before: u64,
}

/// The resets of a key.
#[derive(Clone, Copy, Default)]
struct Reset {
    /// What was asked for before this count is forgotten.
    before: u64,
    /// How many are under way.
    under_way: u64,
}

/// Keys in each half.
const MOST: usize = 1 << 13;

/// A reset under way; it ends when this is dropped.
pub(crate) struct Resetting<'a> {
    resets: &'a Resets,
    key: u64,
}

impl Resets {
    pub(crate) fn new() -> Self {
        Self { told: AtomicU64::new(0), known: Mutex::new(Known::default()), seed: RandomState::new() }
    }

    /// The count, to be noted before units are asked for.
    #[inline]
    pub(crate) fn count(&self) -> u64 {
        self.told.load(Ordering::Acquire) / 2
    }

    /// Begins the reset of a key, before the store forgets it. What is granted for it until the reset ends may be among
    /// what the store forgets, and counts as such.
    pub(crate) fn begin(&self, key: &[u8]) -> Resetting<'_> {
        let key = self.hash(key);
        self.change(|known| {
            known.make_room();
            known.of(key).under_way += 1;
            known.under_way += 1;
        });
        Resetting { resets: self, key }
    }

    /// Forgets whatever was granted so far. To be called before anything can be granted anew.
    pub(crate) fn forget_all(&self) {
        self.change(|known| {
            known.all_before = known.count;
            known.old.clear();
            known.young.retain(|_, reset| reset.under_way > 0);
        });
    }

    /// Whether units of the key of a hash, asked for when the count was `since`, were forgotten.
    #[inline]
    pub(crate) fn have_forgotten(&self, key: impl FnOnce() -> u64, since: u64) -> bool {
        self.told.load(Ordering::Acquire) != 2 * since && self.have_forgotten_since(key(), since)
    }

    #[cold]
    fn have_forgotten_since(&self, key: u64, since: u64) -> bool {
        let known = self.known();
        let reset = known.young.get(&key).or_else(|| known.old.get(&key));
        since < known.all_before || reset.is_some_and(|reset| reset.under_way > 0 || since < reset.before)
    }

    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.seed.hash_one(key)
    }

    /// Counts one more, with what `note` does under the new count.
    fn change(&self, note: impl FnOnce(&mut Known)) {
        let mut known = self.known();
        known.count += 1;
        note(&mut known);
        self.told.store(2 * known.count + known.under_way.min(1), Ordering::Release);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Resetting<'_> {
    fn drop(&mut self) {
        self.resets.change(|known| {
            let count = known.count;
            let reset = known.of(self.key);
            reset.before = count;
            reset.under_way = reset.under_way.saturating_sub(1);
            known.under_way = known.under_way.saturating_sub(1);
        });
    }
}

impl Known {
    /// What is known of a key, among the young.
    fn of(&mut self, key: u64) -> &mut Reset {
        let old = &mut self.old;
        self.young.entry(key).or_insert_with(|| old.remove(&key).unwrap_or_default())
    }

    /// Forgets the older half where the newer one is full.
    fn make_room(&mut self) {
        if self.young.len() < MOST {
            return;
        }
        let dropped = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        self.all_before = dropped.values().map(|reset| reset.before).fold(self.all_before, u64::max);
        self.young.extend(dropped.into_iter().filter(|(_, reset)| reset.under_way > 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_forgotten(resets: &Resets, key: &[u8], since: u64) -> bool {
        resets.have_forgotten(|| resets.hash(key), since)
    }

    #[test]
    fn what_was_granted_before_a_reset_or_during_it_is_forgotten() {
        let resets = Resets::new();
        let before = resets.count();
        assert!(!has_forgotten(&resets, b"a", before));
        let resetting = [resets.begin(b"a"), resets.begin(b"a")];
        let during = resets.count();
        assert!(has_forgotten(&resets, b"a", before) && has_forgotten(&resets, b"a", during));
        assert!(!has_forgotten(&resets, b"b", before) && !has_forgotten(&resets, b"b", during));
        let [first, second] = resetting;
        drop(first);
        let between = resets.count();
        assert!(has_forgotten(&resets, b"a", between), "the second one is still under way");
        drop(second);
        assert!([before, during, between].iter().all(|since| has_forgotten(&resets, b"a", *since)));
        assert!(!has_forgotten(&resets, b"a", resets.count()));
    }

    #[test]
    fn a_restart_forgets_all_there_was() {
        let resets = Resets::new();
        drop(resets.begin(b"a"));
        let before = resets.count();
        resets.forget_all();
        assert!(has_forgotten(&resets, b"a", before) && has_forgotten(&resets, b"b", before));
        assert!(!has_forgotten(&resets, b"a", resets.count()));
    }

    #[test]
    fn so_many_keys_are_known_at_most_and_what_is_not_known_is_not_given_back() {
        let resets = Resets::new();
        let _under_way = resets.begin(b"long");
        let (oldest, mut recent) = (resets.count(), 0);
        for n in 0..5 * MOST as u64 {
            drop(resets.begin(&n.to_le_bytes()));
            if n == 4 * MOST as u64 {
                recent = resets.count();
            }
        }
        let known = resets.known();
        assert!(known.young.len() + known.old.len() <= 2 * MOST + 2);
        drop(known);
        assert!(has_forgotten(&resets, b"never reset", oldest));
        assert!(!has_forgotten(&resets, b"never reset", recent));
        assert!(has_forgotten(&resets, b"long", resets.count()), "it is still under way");
    }
}

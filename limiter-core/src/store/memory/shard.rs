//! One shard: a table of slots that never outgrows its room, and the overflow beside it.

use super::{
    MemoryUsage,
    slot::{Slot, quota_id},
};
use crate::{
    KeyState, Quota, Timestamp,
    store::{Demand, Lookup},
};
use hashbrown::{HashMap, HashTable};
use std::hash::RandomState;

/// Slots looked at for idle ones at each insertion: a full turn of the table in less than one turn of new keys.
const STEPS: usize = 2;

/// Slots looked at when the shard is full.
const STEPS_WHEN_FULL: usize = 64;

/// States that the keys of one limiter which found no room share, in one shard.
const WAYS: u64 = 16;

/// Quotas that are remembered without asking which of them are in use.
const FEW_QUOTAS: usize = 64;

pub(super) struct Shard {
    slots: HashTable<Slot>,
    /// Where the search for idle slots goes on.
    hand: usize,
    room: usize,
    /// The states that keys without a slot share, and the quota each was made under.
    overflow: HashMap<Way, (KeyState, Quota), RandomState>,
    overflow_writes: u64,
    /// Every quota that a slot here was made under.
    quotas: HashMap<u64, Quota, RandomState>,
    /// With this many quotas, those that no slot is under any more are forgotten.
    most_quotas: usize,
    /// The latest time of the store's own clock that anything was decided at here.
    latest: Timestamp,
}

/// What keys without a slot share a state by: their limiter, their quota, and one of a few ways by hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Way {
    scope: u64,
    quota: u64,
    way: u64,
}

impl Way {
    fn of(hash: u64, demand: &Demand<'_>) -> Self {
        Self { scope: demand.scope.hash(), quota: quota_id(demand.quota), way: hash % WAYS }
    }
}

/// The time of a call, and whether later calls may come with an earlier one: an idle state is then worth keeping.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) at: Timestamp,
    pub(super) may_step_back: bool,
}

/// A key's state, on its way through a decision.
pub(super) struct Loaded {
    pub(super) state: KeyState,
    /// The slot it was moved out of.
    found: Option<usize>,
    /// What it was when it was taken over from a shared state.
    shared: Option<KeyState>,
    /// What it was under the quota of this fingerprint, before it was carried over.
    before: Option<(u64, KeyState)>,
}

impl Loaded {
    pub(super) fn was_found(&self) -> bool {
        self.found.is_some()
    }
}

impl Shard {
    pub(super) fn new(room: usize) -> Self {
        Self {
            slots: HashTable::new(),
            hand: 0,
            room,
            overflow: HashMap::default(),
            overflow_writes: 0,
            quotas: HashMap::default(),
            most_quotas: FEW_QUOTAS,
            latest: Timestamp::MIN,
        }
    }

    /// The store's own time `now`, which is not before any that was told here: two threads may read it a little apart.
    #[inline]
    pub(super) fn not_before(&mut self, now: Timestamp) -> Timestamp {
        self.latest = self.latest.max(now);
        self.latest
    }

    /// The bucket of a key that has one under this quota: the commonest case, decided in place.
    #[inline]
    pub(super) fn bucket(&mut self, hash: u64, id: u64) -> Option<&mut u64> {
        self.slots.find_mut(hash, |slot| slot.hash == hash)?.as_bucket_mut(id)
    }

    /// [`bucket`](Self::bucket) of a key that was looked up before.
    #[inline(always)]
    pub(super) fn bucket_at(&mut self, lookup: &Lookup, id: u64) -> Option<&mut u64> {
        let is_there = self.slots.get_bucket(lookup.index()).is_some_and(|slot| slot.hash == lookup.hash());
        if !is_there {
            self.find_again(lookup)?;
        }
        self.slots.get_bucket_mut(lookup.index())?.as_bucket_mut(id)
    }

    #[cold]
    fn find_again(&self, lookup: &Lookup) -> Option<()> {
        let hash = lookup.hash();
        lookup.set_index(self.slots.find_bucket_index(hash, |slot| slot.hash == hash)?);
        Some(())
    }

    /// Any other state of a key that has one under this quota, but for a bucket's that is not in a bucket's place: it may
    /// have to move there.
    #[inline]
    pub(super) fn state(&mut self, hash: u64, id: u64) -> Option<&mut KeyState> {
        self.slots.find_mut(hash, |slot| slot.hash == hash)?.as_state_mut(id)
    }

    /// Where that bucket is, until something else is changed, and its state.
    pub(super) fn find_bucket(&mut self, hash: u64, id: u64) -> Option<(usize, u64)> {
        let index = self.slots.find_bucket_index(hash, |slot| slot.hash == hash)?;
        let empty_at = *self.slots.get_bucket_mut(index)?.as_bucket_mut(id)?;
        Some((index, empty_at))
    }

    /// Writes a bucket that [`find_bucket`](Self::find_bucket) found.
    pub(super) fn put_bucket(&mut self, index: usize, id: u64, empty_at: u64) {
        if let Some(bucket) = self.slots.get_bucket_mut(index).and_then(|slot| slot.as_bucket_mut(id)) {
            *bucket = empty_at;
        }
    }

    /// The state of a key under the demand's quota: its own, or that of the overflow it may have written to, or fresh.
    #[inline]
    pub(super) fn load(&mut self, hash: u64, demand: &Demand<'_>, now: Timestamp) -> Loaded {
        let id = quota_id(demand.quota);
        if let Some(index) = self.slots.find_bucket_index(hash, |slot| slot.hash == hash)
            && let Some(slot) = self.slots.get_bucket_mut(index)
        {
            let (of, state) = (slot.quota(), slot.take());
            if of == id {
                return Loaded { state, found: Some(index), shared: None, before: None };
            }
            let carried = self.changed(of, &state, demand.quota, now);
            return Loaded { state: carried, found: Some(index), shared: None, before: Some((of, state)) };
        }
        let shared = if self.overflow.is_empty() { None } else { self.inherited(hash, demand, now) };
        Loaded { state: shared.clone().unwrap_or_default(), found: None, shared, before: None }
    }

    /// Keeps a state that [`load`](Self::load) gave, and says whether a decision or an adjustment wrote to it. A key that was not there and still has nothing to keep gets no
    /// slot.
    #[inline]
    pub(super) fn store(&mut self, hash: u64, demand: &Demand<'_>, loaded: Loaded, now: Now, is_written: bool) {
        // Who only looked leaves a change of the quota to who writes.
        let (id, state) = match loaded.before {
            Some(before) if !is_written => before,
            _ => (quota_id(demand.quota), loaded.state),
        };
        // A slot found before may have been reclaimed since, while its state was out.
        let slot = loaded.found.and_then(|index| self.slots.get_bucket_mut(index));
        match slot.filter(|slot| slot.hash == hash) {
            Some(slot) => {
                if slot.quota() != id {
                    self.quotas.entry(id).or_insert_with(|| demand.quota.clone());
                }
                slot.put(id, state);
            }
            None if state.is_untouched() || loaded.shared.as_ref() == Some(&state) => {}
            // Its slot was idle, and reclaimed meanwhile: nothing new is to be kept.
            None if loaded.found.is_some() && !is_written => {}
            None => self.insert(hash, demand, state, now),
        }
    }

    pub(super) fn remove(&mut self, hash: u64) {
        if let Ok(slot) = self.slots.find_entry(hash, |slot| slot.hash == hash) {
            slot.remove();
        }
    }

    /// Drops every idle state and gives back memory where most of it is unused; the number of keys dropped.
    pub(super) fn sweep(&mut self, now: Timestamp) -> usize {
        let before = self.slots.len();
        let quotas = &self.quotas;
        self.slots.retain(|slot| quotas.get(&slot.quota()).is_none_or(|quota| !slot.is_idle(quota, now)));
        self.forget_quotas();
        self.overflow.retain(|_, (state, quota)| !state.is_idle(quota, now));
        if self.slots.len() < self.slots.capacity() / 4 {
            self.slots.shrink_to_fit(|slot| slot.hash);
            self.hand = 0;
        }
        before - self.slots.len()
    }

    pub(super) fn add_usage(&self, usage: &mut MemoryUsage) {
        usage.keys += self.slots.len();
        usage.max_keys += self.room;
        usage.overflow_states += self.overflow.len();
        usage.overflow_writes += self.overflow_writes;
    }

    #[cfg(test)]
    pub(super) fn quotas(&self) -> usize {
        self.quotas.len()
    }

    #[cold]
    fn changed(&self, of: u64, state: &KeyState, quota: &Quota, now: Timestamp) -> KeyState {
        match self.quotas.get(&of) {
            Some(old) => state.carried_over(old, quota, now),
            None => KeyState::default(),
        }
    }

    /// What a key without a slot may owe: the strictest of the shared states it may have written to, as seen under its
    /// quota now.
    #[cold]
    fn inherited(&mut self, hash: u64, demand: &Demand<'_>, now: Timestamp) -> Option<KeyState> {
        let own = Way::of(hash, demand);
        self.overflow.retain(|_, (state, quota)| !state.is_idle(quota, now));
        let mine = self.overflow.iter().filter(|(way, _)| way.scope == own.scope && way.way == own.way);
        let seen =
            mine.map(
                |(way, (state, quota))| {
                    if way.quota == own.quota { state.clone() } else { state.carried_over(quota, demand.quota, now) }
                },
            );
        seen.min_by_key(|state| state.remaining(demand.quota, now))
    }

    /// Whether `keys` more keys find a slot each, after the idle ones have made room.
    pub(super) fn has_room(&mut self, keys: usize, now: Now) -> bool {
        if self.slots.len() + keys > self.room {
            self.reclaim(STEPS_WHEN_FULL, now.at);
        }
        self.slots.len() + keys <= self.room
    }

    /// Whether two keys without a slot may write to the same shared state.
    pub(super) fn share_a_way(a: (u64, &Demand<'_>), b: (u64, &Demand<'_>)) -> bool {
        Way::of(a.0, a.1) == Way::of(b.0, b.1)
    }

    fn insert(&mut self, hash: u64, demand: &Demand<'_>, mut state: KeyState, now: Now) {
        if !now.may_step_back {
            self.reclaim(STEPS, now.at);
        }
        // A block is one key's alone: those that are blocked may take as much room again.
        let is_blocked = state.blocked_until > now.at.as_micros();
        let has_room = self.has_room(1, now) || (is_blocked && self.slots.len() < 2 * self.room);
        if !has_room {
            self.overflow_writes += 1;
            let way = Way::of(hash, demand);
            let blocked = self.overflow.get(&way).map_or(0, |(shared, _)| shared.blocked_until);
            state.blocked_until = state.blocked_until.max(blocked);
            self.overflow.insert(way, (state, demand.quota.clone()));
            return;
        }
        if self.quotas.len() >= self.most_quotas {
            self.forget_quotas();
        }
        let id = quota_id(demand.quota);
        self.quotas.entry(id).or_insert_with(|| demand.quota.clone());
        self.slots.insert_unique(hash, Slot::new(hash, id, state), |slot| slot.hash);
    }

    /// Forgets the quotas that no slot is under.
    #[cold]
    fn forget_quotas(&mut self) {
        let used: std::collections::HashSet<u64> = self.slots.iter().map(Slot::quota).collect();
        self.quotas.retain(|id, _| used.contains(id));
        self.most_quotas = FEW_QUOTAS.max(2 * self.quotas.len());
    }

    /// Drops the idle ones among the next `steps` slots.
    fn reclaim(&mut self, steps: usize, now: Timestamp) {
        let buckets = self.slots.num_buckets();
        for _ in 0..steps.min(buckets) {
            self.hand = if self.hand + 1 < buckets { self.hand + 1 } else { 0 };
            if let Ok(entry) = self.slots.get_bucket_entry(self.hand)
                && self.quotas.get(&entry.get().quota()).is_some_and(|quota| entry.get().is_idle(quota, now))
            {
                entry.remove();
            }
        }
    }
}

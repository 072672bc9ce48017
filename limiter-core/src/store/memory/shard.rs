//! One shard: a table of slots that never outgrows its room, and the overflow beside it.

use super::{
    MemoryUsage,
    slot::{Slot, quota_id},
};
use crate::{KeyState, Quota, Timestamp, store::Demand};
use hashbrown::{HashMap, HashTable};

/// Slots looked at for idle ones at each insertion: a full turn of the table in less than one turn of new keys.
const STEPS: usize = 2;

/// Slots looked at when the shard is full.
const STEPS_WHEN_FULL: usize = 64;

/// States that the keys of one limiter which found no room share, in one shard.
const WAYS: u64 = 16;

pub(super) struct Shard {
    slots: HashTable<Slot>,
    /// Where the search for idle slots goes on.
    hand: usize,
    room: usize,
    /// By limiter and way: the states that keys without a slot share, and the quota each was made under.
    overflow: HashMap<(u64, u64), (KeyState, Quota), std::hash::RandomState>,
    overflow_writes: u64,
    /// Every quota that a slot here was made under.
    quotas: HashMap<u32, Quota, std::hash::RandomState>,
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
        }
    }

    /// The bucket of a key that has one under this quota: the commonest case, decided in place.
    #[inline]
    pub(super) fn bucket(&mut self, hash: u64, id: u32) -> Option<&mut u64> {
        self.slots.find_mut(hash, |slot| slot.hash == hash)?.as_bucket_mut(id)
    }

    /// The state of a key under the demand's quota: its own, or that of the overflow it may have written to, or fresh.
    #[inline]
    pub(super) fn load(&mut self, hash: u64, demand: &Demand<'_>, now: Timestamp) -> Loaded {
        let id = quota_id(demand.quota);
        if let Some(index) = self.slots.find_bucket_index(hash, |slot| slot.hash == hash)
            && let Some(slot) = self.slots.get_bucket_mut(index)
        {
            let (of, state) = (slot.quota(), slot.take());
            let state = if of == id { state } else { self.changed(of, &state, demand.quota, now) };
            return Loaded { state, found: Some(index) };
        }
        let state = if self.overflow.is_empty() { KeyState::default() } else { self.inherited(hash, demand, now) };
        Loaded { state, found: None }
    }

    /// Keeps a state that [`load`](Self::load) gave. A key that was not there and still has nothing to keep gets no
    /// slot.
    #[inline]
    pub(super) fn store(&mut self, hash: u64, demand: &Demand<'_>, loaded: Loaded, now: Now) {
        let id = quota_id(demand.quota);
        match loaded.found.and_then(|index| self.slots.get_bucket_mut(index)) {
            Some(slot) => {
                if slot.quota() != id {
                    self.quotas.entry(id).or_insert_with(|| demand.quota.clone());
                }
                slot.put(id, loaded.state);
            }
            None if loaded.state.is_untouched() => {}
            None => self.insert(hash, demand, loaded.state, now),
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
        let (mut used, quotas) = (HashMap::<u32, Quota, _>::default(), &self.quotas);
        self.slots.retain(|slot| {
            let quota = quotas.get(&slot.quota());
            let live = quota.is_none_or(|quota| !slot.is_idle(quota, now));
            if let (true, Some(quota)) = (live, quota) {
                used.entry(slot.quota()).or_insert_with(|| quota.clone());
            }
            live
        });
        self.quotas = used;
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

    #[cold]
    fn changed(&self, of: u32, state: &KeyState, quota: &Quota, now: Timestamp) -> KeyState {
        match self.quotas.get(&of) {
            Some(old) => state.carried_over(old, quota, now),
            None => KeyState::default(),
        }
    }

    #[cold]
    fn inherited(&mut self, hash: u64, demand: &Demand<'_>, now: Timestamp) -> KeyState {
        let way = (demand.scope.hash(), hash % WAYS);
        match self.overflow.get(&way) {
            None => KeyState::default(),
            Some((state, quota)) if state.is_idle(quota, now) => {
                self.overflow.remove(&way);
                KeyState::default()
            }
            Some((state, quota)) if quota == demand.quota => state.clone(),
            Some((state, quota)) => state.carried_over(quota, demand.quota, now),
        }
    }

    fn insert(&mut self, hash: u64, demand: &Demand<'_>, state: KeyState, now: Now) {
        if !now.may_step_back {
            self.reclaim(STEPS, now.at);
        }
        if self.slots.len() >= self.room {
            self.reclaim(STEPS_WHEN_FULL, now.at);
        }
        if self.slots.len() >= self.room {
            self.overflow_writes += 1;
            self.overflow.insert((demand.scope.hash(), hash % WAYS), (state, demand.quota.clone()));
            return;
        }
        let id = quota_id(demand.quota);
        self.quotas.entry(id).or_insert_with(|| demand.quota.clone());
        self.slots.insert_unique(hash, Slot::new(hash, id, state), |slot| slot.hash);
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

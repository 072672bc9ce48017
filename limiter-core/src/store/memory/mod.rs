//! State in this process's memory.

mod hash;
mod shard;
mod slot;

use super::{Adjust, Demand, LocalStore, Lookup, MOST_DEMANDS, Scope};
use crate::{
    Clock, Decision, KeyState, MonotonicClock, Timestamp,
    algorithm::{Gcra, Mode, Single, View, decide, decide_one, decide_singles},
    error::{StoreError, StoreErrorKind},
    quota::Plan,
    sync::{ShortGuard, ShortLock},
};
use hash::Seed;
use shard::{Loaded, Now, Shard};
use slot::quota_id;
use smallvec::SmallVec;
use std::{fmt, sync::Arc};

/// The default store: one process, no server, bounded.
///
/// ```
/// use limiter_core::{Limiter, MemoryStore};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let reads = Limiter::builder("100/s".parse()?).name("reads").store(store.clone()).build();
/// let writes = Limiter::builder("5/s".parse()?).name("writes").store(store).build(); // both in one bounded store
/// # let _ = (reads, writes);
/// # Ok(())
/// # }
/// ```
///
/// * A decision is one short lock of one of 64 shards. It allocates only when a key is new, as a log fills,
///   and for an answer about more than two rates.
/// * Keys are not kept: a key is its 64-bit SipHash under a random seed, so that nobody outside can make two keys
///   meet. Two of a million keys share a quota with probability 5·10⁻⁸ each, which can only deny.
/// * At most [`max_keys`](MemoryStoreBuilder::max_keys) keys have a state of their own. Idle ones are reclaimed as new
///   ones come. A live one is never evicted: what does not fit shares overflow states, which a key inherits once it
///   gets its own. So a flood of new keys makes new keys be denied early, never admits more, and leaves those alone
///   that were there; [`usage`](Self::usage) counts it. A reset gives nothing back to a key that shares: its part
///   cannot be told. Blocked keys may take as much room again, so that a block is never shared.
/// * Time is a [`MonotonicClock`], read under the lock. Under an injected clock, which may step back, idle keys are
///   kept until the room is full, a sweep is asked for, or a limiter without one brings new keys: limiters with a clock of
///   their own want a store of their own.
#[derive(Clone)]
pub struct MemoryStore(Arc<Inner>);

struct Inner {
    shards: Box<[Padded<ShortLock<Shard>>]>,
    seed: Seed,
    clock: MonotonicClock,
}

/// On cache lines of its own, so that neighbours' locks do not slow each other.
#[repr(align(128))]
struct Padded<T>(T);

/// How full a [`MemoryStore`] is; see [`MemoryStore::usage`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct MemoryUsage {
    /// Keys that have a state of their own.
    pub keys: usize,
    /// The most keys that can have one.
    pub max_keys: usize,
    /// States shared by keys that found no room.
    pub overflow_states: usize,
    /// Writes that had to go to a shared state since the store was made.
    pub overflow_writes: u64,
}

/// Settings of a [`MemoryStore`]; see [`MemoryStore::builder`].
#[derive(Clone, Debug)]
pub struct MemoryStoreBuilder {
    max_keys: usize,
}

impl MemoryStore {
    /// A store of up to 2²⁰ keys.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A store with other settings.
    ///
    /// ```
    /// use limiter_core::MemoryStore;
    ///
    /// let store = MemoryStore::builder().max_keys(50_000).build();
    /// assert!(store.usage().max_keys >= 50_000);
    /// ```
    #[must_use]
    pub fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder { max_keys: 1 << 20 }
    }

    /// How full the store is. Takes each shard's lock in turn.
    ///
    /// ```
    /// use limiter_core::Limiter;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("5/s")?;
    /// limiter.check("ada")?;
    /// let usage = limiter.store().usage();
    /// assert_eq!((usage.keys, usage.overflow_states, usage.overflow_writes), (1, 0, 0));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn usage(&self) -> MemoryUsage {
        let mut usage = MemoryUsage::default();
        for shard in &self.0.shards {
            lock(shard).add_usage(&mut usage);
        }
        usage
    }

    /// Decides on one key.
    #[inline(always)]
    fn one(&self, demand: &Demand<'_>, clock: Option<&dyn Clock>, mode: Mode) -> Result<Decision, StoreError> {
        let hash = demand.lookup.map_or_else(|| self.hash(demand.scope, demand.key), Lookup::hash);
        let mut shard = lock(&self.0.shards[self.shard_of(hash)]);
        let now = self.time(clock, &mut shard);
        if let (Plan::Gcra(meters), [rate]) = (demand.quota.plan(), demand.quota.rates())
            && let ([meter], Some(empty_at)) = (&meters[..], shard.bucket(hash, quota_id(demand.quota)))
        {
            return Ok(decide_one(meter, rate, empty_at, now.at, demand.cost, mode));
        }
        if !demand.holds() {
            return Err(outdated());
        }
        Ok(Self::any(&mut shard, hash, demand, now, mode))
    }

    /// [`one`](Self::one) whatever its state is; not inlined, so that a bucket's way stays short.
    #[inline(never)]
    fn any(shard: &mut Shard, hash: u64, demand: &Demand<'_>, now: Now, mode: Mode) -> Decision {
        if let Some(state) = shard.state(hash, quota_id(demand.quota)) {
            return decide(&mut [View { quota: demand.quota, state, cost: demand.cost }], now.at, mode);
        }
        let mut loaded = shard.load(hash, demand, now.at);
        let view = View { quota: demand.quota, state: &mut loaded.state, cost: demand.cost };
        let decision = decide(&mut [view], now.at, mode);
        let is_written = mode == Mode::Take && demand.cost > 0 && decision.could_fit();
        shard.store(hash, demand, loaded, now, is_written);
        decision
    }

    /// Decides on several keys, with every shard they live in locked, in order, so that two calls never wait for each
    /// other in a circle.
    fn several(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>, mode: Mode) -> Result<Decision, StoreError> {
        let hashes: SmallVec<[u64; 8]> = demands.iter().map(|demand| self.hash(demand.scope, demand.key)).collect();
        if demands.len() > MOST_DEMANDS {
            return Err(StoreError::new(StoreErrorKind::TooManyDemands));
        }
        for (i, hash) in hashes.iter().enumerate() {
            if hashes.iter().take(i).any(|earlier| earlier == hash) {
                return Err(StoreError::new(StoreErrorKind::DuplicateKey));
            }
        }
        let mut places: SmallVec<[usize; 8]> = hashes.iter().map(|&hash| self.shard_of(hash)).collect();
        places.sort_unstable();
        places.dedup();
        let mut shards: SmallVec<[ShortGuard<'_, Shard>; 8]> =
            places.iter().map(|&place| lock(&self.0.shards[place])).collect();
        let now = self.time_of_all(clock, &mut shards);
        let shard_of = |hash: u64| places.binary_search(&self.shard_of(hash)).unwrap_or(0);
        if let Some(decision) = Self::buckets(demands, |i| shard_of(hashes[i]), &hashes, &mut shards, now.at, mode) {
            return Ok(decision);
        }
        if !demands.iter().all(Demand::holds) {
            return Err(outdated());
        }
        let mut loaded: SmallVec<[Loaded; 8]> = demands
            .iter()
            .zip(&hashes)
            .map(|(demand, &hash)| shards[shard_of(hash)].load(hash, demand, now.at))
            .collect();
        let new: SmallVec<[usize; 8]> = (0..demands.len()).filter(|&i| !loaded[i].was_found()).collect();
        let shared = new.iter().enumerate().find_map(|(nth, &i)| {
            let here = shard_of(hashes[i]);
            let meets = |&&j: &&usize| {
                shard_of(hashes[j]) == here && Shard::share_a_way((hashes[i], &demands[i]), (hashes[j], &demands[j]))
            };
            let meets_any = new.iter().take(nth).any(|j| meets(&j));
            (meets_any && !shards[here].has_room(new.len(), now)).then_some(i)
        });
        let mut views: SmallVec<[View<'_>; 8]> = demands
            .iter()
            .zip(&mut loaded)
            .map(|(demand, loaded)| View { quota: demand.quota, state: &mut loaded.state, cost: demand.cost })
            .collect();
        let decision = match shared {
            None => decide(&mut views, now.at, mode),
            Some(place) => {
                // Two keys that would share one state: together they could take more than it holds. Denied early.
                let seen = decide(&mut views, now.at, Mode::Peek);
                let wait = seen.reset_after();
                seen.denied_too(place, wait)
            }
        };
        drop(views);
        let takes = mode == Mode::Take && decision.could_fit();
        // What was found goes back before anything new is put in, which may move what is there.
        let (found, new): (SmallVec<[_; 8]>, SmallVec<[_; 8]>) =
            loaded.into_iter().zip(demands.iter().zip(&hashes)).partition(|(loaded, _)| loaded.was_found());
        for (loaded, (demand, &hash)) in found.into_iter().chain(new) {
            let is_written = takes && demand.cost > 0;
            shards[shard_of(hash)].store(hash, demand, loaded, now, is_written);
        }
        Ok(decision)
    }

    /// [`several`](Self::several) where every key has a bucket under the demand's quota: decided in place.
    fn buckets(
        demands: &[Demand<'_>],
        shard_of: impl Fn(usize) -> usize,
        hashes: &[u64],
        shards: &mut [ShortGuard<'_, Shard>],
        now: Timestamp,
        mode: Mode,
    ) -> Option<Decision> {
        let mut places: SmallVec<[(usize, usize); 4]> = SmallVec::new();
        let mut singles: SmallVec<[Single<'_, Gcra>; 4]> = SmallVec::new();
        for (i, demand) in demands.iter().enumerate() {
            let (Plan::Gcra(meters), [rate]) = (demand.quota.plan(), demand.quota.rates()) else { return None };
            let [meter] = &meters[..] else { return None };
            let shard = shard_of(i);
            let (index, state) = shards[shard].find_bucket(hashes[i], quota_id(demand.quota))?;
            places.push((shard, index));
            singles.push(Single { meter, rate, state, cost: demand.cost });
        }
        let decision = decide_singles(&mut singles, now, mode);
        if mode == Mode::Take {
            for ((demand, single), (shard, index)) in demands.iter().zip(&singles).zip(places) {
                shards[shard].put_bucket(index, quota_id(demand.quota), single.state);
            }
        }
        Some(decision)
    }

    /// Runs `change` on the state of the demand's key inside its shard's lock, and keeps what it changed.
    fn with_key<R>(
        &self,
        demand: &Demand<'_>,
        clock: Option<&dyn Clock>,
        is_written: bool,
        change: impl FnOnce(&mut KeyState, Timestamp) -> R,
    ) -> Result<R, StoreError> {
        let hash = self.hash(demand.scope, demand.key);
        let mut shard = lock(&self.0.shards[self.shard_of(hash)]);
        let now = self.time(clock, &mut shard);
        if !demand.holds() {
            return Err(outdated());
        }
        let mut loaded = shard.load(hash, demand, now.at);
        let result = change(&mut loaded.state, now.at);
        shard.store(hash, demand, loaded, now, is_written);
        Ok(result)
    }

    /// The time, read under the lock of the shard.
    #[inline]
    fn time(&self, clock: Option<&dyn Clock>, shard: &mut Shard) -> Now {
        let at = clock.map_or_else(|| shard.not_before(self.0.clock.now()), Clock::now);
        Now { at, may_step_back: clock.is_some() }
    }

    /// The time, read under the locks of several shards.
    fn time_of_all(&self, clock: Option<&dyn Clock>, shards: &mut [ShortGuard<'_, Shard>]) -> Now {
        let mut at = clock.map_or_else(|| self.0.clock.now(), Clock::now);
        if clock.is_none() {
            at = shards.iter_mut().fold(at, |at, shard| shard.not_before(at));
            shards.iter_mut().for_each(|shard| _ = shard.not_before(at));
        }
        Now { at, may_step_back: clock.is_some() }
    }

    #[inline]
    fn hash(&self, scope: &Scope, key: &[u8]) -> u64 {
        self.0.seed.hash(scope.hash(), key)
    }

    /// Which shard a hash belongs to: by bits that the shard's own table uses last.
    #[inline]
    fn shard_of(&self, hash: u64) -> usize {
        let middle = u32::try_from((hash >> 24) & 0xffff_ffff).unwrap_or(0);
        middle as usize & (self.0.shards.len() - 1)
    }
}

impl MemoryStoreBuilder {
    /// How many keys can have a state of their own, at least 1; 2²⁰ by default. A key takes 33 to 75 bytes under one
    /// `gcra` rate, and up to 16 bytes a take more under a `sliding_log`.
    ///
    /// Keys are spread over shards by hash: the last few percent of the room fill unevenly.
    #[must_use]
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys.max(1);
        self
    }

    /// The store.
    #[must_use]
    pub fn build(self) -> MemoryStore {
        // Few keys get few shards, so that each has room for some hundreds or is the only one.
        let shards = (self.max_keys / 256).next_power_of_two().clamp(1, 64);
        let room = self.max_keys.div_ceil(shards);
        MemoryStore(Arc::new(Inner {
            shards: (0..shards).map(|_| Padded(ShortLock::new(Shard::new(room)))).collect(),
            seed: Seed::random(),
            clock: MonotonicClock::new(),
        }))
    }
}

impl LocalStore for MemoryStore {
    #[inline(always)]
    fn take(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        match demands {
            [demand] => self.one(demand, clock, Mode::Take),
            _ => self.several(demands, clock, Mode::Take),
        }
    }

    fn peek(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        match demands {
            [demand] => self.one(demand, clock, Mode::Peek),
            _ => self.several(demands, clock, Mode::Peek),
        }
    }

    fn adjust(&self, demand: Demand<'_>, adjust: Adjust, clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        let Demand { quota, cost, .. } = demand;
        self.with_key(&demand, clock, true, |state, now| state.adjust(quota, now, cost, adjust))
    }

    fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError> {
        let hash = self.hash(scope, key);
        lock(&self.0.shards[self.shard_of(hash)]).remove(hash);
        Ok(())
    }

    fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError> {
        let dropped = self.0.shards.iter().map(|shard| {
            let mut shard = lock(shard);
            let now = self.time(clock, &mut shard);
            shard.sweep(now.at)
        });
        Ok(dropped.sum())
    }

    fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
        Ok(clock.map_or_else(|| self.0.clock.now(), Clock::now))
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn look_up(&self, scope: &Scope, key: &[u8]) -> Option<Lookup> {
        Some(Lookup::new(self.hash(scope, key)))
    }

    #[inline(always)]
    fn grant_now(&self, demand: &Demand<'_>, clock: Option<&dyn Clock>) -> Option<Timestamp> {
        let (Plan::Gcra(meters), Some(lookup)) = (demand.quota.plan(), demand.lookup) else { return None };
        let [meter] = &meters[..] else { return None };
        let mut shard = lock(&self.0.shards[self.shard_of(lookup.hash())]);
        let at = self.time(clock, &mut shard).at;
        let empty_at = shard.bucket_at(lookup, quota_id(demand.quota))?;
        meter.admit(empty_at, at.as_micros(), demand.cost).then_some(at)
    }

    fn snapshot(&self, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
        self.with_key(&demand, clock, false, |state, now| (state.clone(), now)).ok()
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("usage", &self.usage()).finish()
    }
}

/// The answer to a demand that no longer holds: asked under the locks, before anything but a bucket under its own quota.
#[cold]
fn outdated() -> StoreError {
    StoreError::new(StoreErrorKind::Outdated)
}

/// A shard's state is valid at every step a panic could cut short.
#[inline]
fn lock<T>(shard: &Padded<ShortLock<T>>) -> ShortGuard<'_, T> {
    shard.0.lock()
}

#[cfg(test)]
mod tests;

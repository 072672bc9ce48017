//! An open file: its words by what they mean, its clock, its keys' hashes.

use super::{
    clock,
    error::Fault,
    file::{self, Opened},
    head::Head,
    layout::{LATEST_STEP_US, Layout, header},
    owner::Me,
    restore,
};
use crate::{Clock, Quota, Timestamp, store::Scope};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::{
    collections::HashMap,
    fs::File,
    hash::Hasher,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release, SeqCst},
        },
    },
    time::Duration,
};

#[derive(Debug)]
pub(super) struct Core {
    map: super::map::Map,
    pub(super) layout: Layout,
    pub(super) me: Me,
    pub(super) path: PathBuf,
    /// Device and inode.
    pub(super) id: (u64, u64),
    /// How long a call waits for a process that does not go on.
    pub(super) budget: Duration,
    anchor: u64,
    hash_key: [u64; 2],
    /// Quotas that slots were made under, by fingerprint: built once a process.
    quotas: Mutex<HashMap<u64, Quota>>,
    _locked: File,
}

/// A key as the file knows it: a keyed hash, and where its slot can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Name {
    /// What tags show; never 0.
    pub(super) first: u64,
    pub(super) second: u64,
}

/// Quotas a process keeps built.
const MOST_QUOTAS: usize = 1024;

/// States that the keys of one limiter and quota which found no room share.
const WAYS: u64 = 16;

impl Core {
    pub(super) fn open(path: &Path, layout: &Layout, mode: u32, budget: Duration) -> Result<Self, Fault> {
        let me = Me::new()?;
        let owner = me.owner()?;
        let Opened { file, map, layout, id } =
            file::open(path, layout, mode, |map, layout, found| restore::restore(map, layout, owner, found))?;
        let word = |at: usize| map.words()[at].load(SeqCst);
        let (anchor, hash_key) = (word(header::ANCHOR), [word(header::HASH_KEY), word(header::HASH_KEY + 1)]);
        let quotas = Mutex::default();
        Ok(Self { map, layout, me, path: path.to_owned(), id, budget, anchor, hash_key, quotas, _locked: file })
    }

    #[inline]
    pub(super) fn words(&self) -> Words<'_> {
        Words { words: self.map.words(), layout: &self.layout }
    }

    /// The time: the caller's, else the file's own.
    #[inline]
    pub(super) fn time(&self, clock: Option<&dyn Clock>) -> Timestamp {
        clock.map_or_else(|| self.now(), Clock::now)
    }

    #[inline]
    fn now(&self) -> Timestamp {
        let now = clock::now(self.anchor);
        let latest = self.words().at(header::LATEST);
        if now.as_micros() >= latest.load(Relaxed).saturating_add(LATEST_STEP_US) {
            latest.fetch_max(now.as_micros(), SeqCst);
        }
        now
    }

    #[inline]
    pub(super) fn name(&self, scope: &Scope, key: &[u8]) -> Name {
        self.hash(0, scope.hash(), key)
    }

    /// What keys of a limiter share a state by, where they find no room. The second half tells quotas apart.
    pub(super) fn way(&self, scope: &Scope, name: Name, quota: &Quota) -> Name {
        let way = self.hash(1, scope.hash(), &(name.second % WAYS).to_le_bytes());
        Name { first: way.first, second: quota.fingerprint() }
    }

    #[inline]
    fn hash(&self, kind: u64, scope: u64, key: &[u8]) -> Name {
        let mut hasher = SipHasher13::new_with_keys(self.hash_key[0], self.hash_key[1] ^ kind);
        hasher.write_u64(scope);
        hasher.write(key);
        let (first, second) = hasher.finish128().as_u64();
        Name { first: first.max(1), second }
    }

    /// The quota of this fingerprint; `build` reads it from where it is stored.
    pub(super) fn quota(&self, fingerprint: u64, build: impl FnOnce() -> Option<Quota>) -> Option<Quota> {
        let mut quotas = self.quotas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = quotas.get(&fingerprint) {
            return Some(known.clone());
        }
        let built = build()?;
        if quotas.len() >= MOST_QUOTAS {
            quotas.clear();
        }
        quotas.insert(fingerprint, built.clone());
        Some(built)
    }
}

/// The words of a file, by what they mean.
#[derive(Clone, Copy)]
pub(super) struct Words<'a> {
    words: &'a [AtomicU64],
    pub(super) layout: &'a Layout,
}

impl<'a> Words<'a> {
    pub(super) fn new(words: &'a [AtomicU64], layout: &'a Layout) -> Self {
        Self { words, layout }
    }

    #[inline]
    pub(super) fn at(self, at: usize) -> &'a AtomicU64 {
        &self.words[at]
    }

    /// A word of what a head guards. Whoever reads one that a step wrote sees, by this order, that step in the head too.
    #[inline]
    pub(super) fn get(self, at: usize) -> u64 {
        self.words[at].load(Acquire)
    }

    #[inline]
    pub(super) fn set(self, at: usize, value: u64) {
        self.words[at].store(value, Release);
    }

    #[inline]
    pub(super) fn head(self, slot: usize) -> Head {
        Head::from_word(self.words[self.layout.slot(slot)].load(SeqCst))
    }

    pub(super) fn set_head(self, slot: usize, head: Head) {
        self.words[self.layout.slot(slot)].store(head.word(), SeqCst);
    }

    /// Whether the head was `old`, and now is `new`.
    #[inline]
    pub(super) fn swap_head(self, slot: usize, old: Head, new: Head) -> bool {
        self.words[self.layout.slot(slot)].compare_exchange(old.word(), new.word(), SeqCst, SeqCst).is_ok()
    }

    #[inline]
    pub(super) fn tag(self, slot: usize) -> u64 {
        self.words[self.layout.tag(slot)].load(SeqCst)
    }

    pub(super) fn set_tag(self, slot: usize, tag: u64) {
        self.words[self.layout.tag(slot)].store(tag, SeqCst);
    }

    pub(super) fn count(self, counter: usize) {
        self.words[counter].fetch_add(1, Relaxed);
    }

    pub(super) fn overflow_is_used(self) -> bool {
        self.words[header::OVERFLOW_USED].load(SeqCst) != 0
    }

    /// The slots a key can have, in the order they are tried.
    #[inline]
    pub(super) fn places(self, name: Name) -> impl Iterator<Item = usize> + Clone {
        let half = u64::from(u32::MAX);
        let (high, low) = (name.second >> 32, name.second & half);
        let size = self.layout.group_size as u64;
        // Both are less than what they are taken by, which are sizes of this machine's memory.
        let group = usize::try_from(high % self.layout.groups as u64).unwrap_or(0);
        let start = usize::try_from(low % size).unwrap_or(0);
        let slots = self.layout.group(group);
        (slots.start + start..slots.end).chain(slots.start..slots.start + start)
    }
}

//! An open file: its words by what they mean, its clock, its keys' hashes.

use super::{
    clock,
    error::Fault,
    file::{self, Opened},
    layout::{LATEST_STEP_US, Layout, header},
    owner::Me,
    restore,
    words::{Name, Words},
};
use crate::{
    Clock, Quota, Timestamp,
    store::{Scope, boot_clock::Anchor},
};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::{
    collections::HashMap,
    fs::File,
    hash::Hasher,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, atomic::Ordering::SeqCst},
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
    anchor: Anchor,
    hash_key: [u64; 2],
    /// Quotas that slots were made under, by fingerprint: built once a process.
    quotas: Mutex<HashMap<u64, Quota>>,
    _locked: File,
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
        let (anchor, hash_key) =
            (clock::of_file(word(header::ANCHOR)), [word(header::HASH_KEY), word(header::HASH_KEY + 1)]);
        if anchor.now() == Timestamp::MAX {
            return Err(Fault::Garbage { path: path.to_owned() }); // its clock, and with it every limit
        }
        let quotas = Mutex::default();
        Ok(Self { map, layout, me, path: path.to_owned(), id, budget, anchor, hash_key, quotas, _locked: file })
    }

    #[inline]
    pub(super) fn words(&self) -> Words<'_> {
        Words::new(self.map.words(), &self.layout)
    }

    /// The time: the caller's, else the file's own.
    #[inline]
    pub(super) fn time(&self, clock: Option<&dyn Clock>) -> Timestamp {
        clock.map_or_else(|| self.now(), Clock::now)
    }

    #[inline]
    fn now(&self) -> Timestamp {
        let now = self.anchor.now();
        let words = self.words();
        if now.as_micros() >= words.get(header::LATEST).saturating_add(LATEST_STEP_US) {
            words.raise(header::LATEST, now.as_micros());
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

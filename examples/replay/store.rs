//! Where the limiters keep their states: the one place that knows which stores there are.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::Context;
use limiter_core::{DynStore, MemoryStore, PostgresStore, RedisStore};

/// The store that `--store` names, by its address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StoreChoice(String);

/// An open store, and what tells the limiters of this run from those of any other that left states in it.
#[derive(Clone, Debug)]
pub(crate) struct AnyStore {
    pub(crate) store: DynStore,
    run: u64,
}

/// Traces and quotas begun in this run: each begins with fresh keys.
static BEGUN: AtomicU64 = AtomicU64::new(0);

impl StoreChoice {
    /// The store, with room for every key of a log where it is memory.
    pub(crate) fn open(&self) -> anyhow::Result<AnyStore> {
        let address = self.0.as_str();
        let store = match address.split_once(':') {
            _ if address == MEMORY => Ok(DynStore::new(MemoryStore::builder().max_keys(1 << 32).build())),
            Some(("postgres" | "postgresql", _)) => {
                PostgresStore::builder(address).timeout(PATIENCE).build().map(DynStore::new)
            }
            Some((scheme, _)) if scheme.starts_with("redis") => {
                RedisStore::builder(address).timeout(PATIENCE).build().map(DynStore::new)
            }
            _ => DynStore::from_url(address),
        };
        let store = store.with_context(|| format!("the store {address:?}"))?;
        Ok(AnyStore { store, run: RandomState::new().hash_one("run") })
    }
}

impl AnyStore {
    /// Names for limiters that have no key in common with those of any earlier call.
    pub(crate) fn fresh_name(&self) -> impl Fn(&str) -> String + use<> {
        let (run, begun) = (self.run, BEGUN.fetch_add(1, Ordering::Relaxed));
        move |name| format!("replay-{run:016x}-{begun}-{name}")
    }
}

const MEMORY: &str = "memory";

/// How long a server may take for an answer: a replay has time, and one without it is worth nothing.
const PATIENCE: Duration = Duration::from_secs(60);

impl FromStr for StoreChoice {
    type Err = UnknownStore;

    fn from_str(text: &str) -> Result<Self, UnknownStore> {
        let schemes = ["shared:", "sqlite:", "redis:", "redis+sentinel:", "redis+cluster:", "postgres:", "postgresql:"];
        let is_known = text == MEMORY || schemes.iter().any(|scheme| text.starts_with(scheme));
        if is_known { Ok(Self(text.to_owned())) } else { Err(UnknownStore) }
    }
}

/// A `--store` that is none of the allowed ones.
#[derive(Debug)]
pub(crate) struct UnknownStore;

impl fmt::Display for UnknownStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown store; allowed: memory, shared:FILE, sqlite:FILE, redis://HOST, postgres://HOST/DATABASE")
    }
}

impl std::error::Error for UnknownStore {}

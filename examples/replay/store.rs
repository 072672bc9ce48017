//! Where the limiters keep their states: the one place that knows which stores there are.

use std::{fmt, str::FromStr};

use limiter_core::MemoryStore;

/// The store that `--store` names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StoreChoice {
    Memory,
}

/// What any choice opens. With a second store it becomes the erased one.
pub(crate) type AnyStore = MemoryStore;

impl StoreChoice {
    /// The forms of `--store`.
    const ALLOWED: &str = "memory";

    /// A store that holds nothing yet, with room for every key of a log.
    pub(crate) fn open(self) -> anyhow::Result<AnyStore> {
        match self {
            Self::Memory => Ok(MemoryStore::builder().max_keys(1 << 32).build()),
        }
    }
}

impl FromStr for StoreChoice {
    type Err = UnknownStore;

    fn from_str(text: &str) -> Result<Self, UnknownStore> {
        match text {
            "memory" => Ok(Self::Memory),
            _ => Err(UnknownStore),
        }
    }
}

/// A `--store` that is none of the allowed ones.
#[derive(Debug)]
pub(crate) struct UnknownStore;

impl fmt::Display for UnknownStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown store; allowed: {}", StoreChoice::ALLOWED)
    }
}

impl std::error::Error for UnknownStore {}

//! The store under test: how to make one, and what it can do beyond the contract.

use crate::Store;
use std::future::{Future, ready};

/// Makes the stores that cases run on.
///
/// A closure that returns a future of a store is one, for a store without further capabilities. A type of your own
/// says more: how the state is reopened, how another process comes to it, what the store refuses.
///
/// ```
/// use limiter_core::{
///     MemoryStore,
///     conformance::{Harness, Limits},
/// };
/// use std::future::{Future, ready};
///
/// /// The memory store, of which clones are further handles.
/// struct Memory;
///
/// impl Harness for Memory {
///     type Store = MemoryStore;
///
///     fn fresh(&self) -> impl Future<Output = MemoryStore> + Send {
///         ready(MemoryStore::new())
///     }
///
///     fn share(&self, store: &MemoryStore) -> impl Future<Output = Option<MemoryStore>> + Send {
///         ready(Some(store.clone()))
///     }
///
///     fn limits(&self) -> Limits {
///         Limits::default().largest_exact_log(1_000_000)
///     }
/// }
/// # limiter_core::conformance::run(Memory, "handles_together_admit_exactly_the_quota").unwrap();
/// ```
pub trait Harness: Send + Sync + 'static {
    /// The store.
    type Store: Store;

    /// A store with nothing in it, which shares no state with any other this has made.
    ///
    /// What cannot be had, a server that does not answer, is best said by a panic: the case then fails with its message.
    fn fresh(&self) -> impl Future<Output = Self::Store> + Send;

    /// Closes the store and opens what it kept, as the next start of a program does; for cases that need
    /// [`Need::Persists`](super::Need::Persists).
    fn reopen(&self, store: Self::Store) -> impl Future<Output = Option<Self::Store>> + Send {
        drop(store);
        ready(None)
    }

    /// One more handle on the store's state, made as another process makes one; for cases that need
    /// [`Need::Shares`](super::Need::Shares).
    fn share(&self, store: &Self::Store) -> impl Future<Output = Option<Self::Store>> + Send {
        let _ = store;
        ready(None)
    }

    /// What the store is excused from.
    fn limits(&self) -> Limits {
        Limits::default()
    }
}

impl<F, Made> Harness for F
where
    F: Fn() -> Made + Send + Sync + 'static,
    Made: Future<Output: Store> + Send,
{
    type Store = Made::Output;

    fn fresh(&self) -> impl Future<Output = Self::Store> + Send {
        self()
    }
}

/// What a store is excused from; the default is nothing.
///
/// ```
/// use limiter_core::conformance::Limits;
///
/// let limits = Limits::default().largest_exact_log(10_000).sweeps_by_itself();
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    pub(super) largest_exact_log: u64,
    pub(super) counts_swept: bool,
}

impl Limits {
    /// The store refuses a `sliding_log` without a resolution above this many units.
    #[must_use]
    pub fn largest_exact_log(self, units: u64) -> Self {
        Self { largest_exact_log: units, ..self }
    }

    /// Idle keys vanish by themselves only: [`Store::sweep`] need not find any.
    #[must_use]
    pub fn sweeps_by_itself(self) -> Self {
        Self { counts_swept: false, ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { largest_exact_log: u64::MAX, counts_swept: true }
    }
}

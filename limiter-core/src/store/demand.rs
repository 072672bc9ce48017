//! What is asked of a store.

use super::{Basis, Granted, Lookup, Term};
use crate::{Quota, clock::Timestamp, quota::fnv};

/// One part of a decision: so many units of a quota, for a key of a limiter.
///
/// What a [`Limiter`](crate::Limiter) hands to its store:
///
/// ```
/// use limiter_core::{
///     LocalStore, MemoryStore,
///     store::{Demand, Scope},
/// };
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (scope, quota) = (Scope::new("api"), "5/day".parse()?);
/// let demand = Demand::new(&scope, b"ada", &quota, 2);
/// let decision = MemoryStore::new().take(&[demand], None)?;
/// assert_eq!(decision.remaining(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Demand<'a> {
    /// The limiter that asks.
    pub scope: &'a Scope,
    /// The key's bytes.
    pub key: &'a [u8],
    /// The quota the key is under.
    pub quota: &'a Quota,
    /// The units asked for; 0 is a peek.
    pub cost: u64,
    /// Where the store expects the key, where it has been asked.
    pub(crate) lookup: Option<&'a Lookup>,
    /// What it rests on, where a limiter made it; see [`Basis`].
    pub(crate) term: Option<&'a Term>,
    pub(crate) granted: Option<&'a Granted<'a>>,
}

impl<'a> Demand<'a> {
    /// `cost` units of `quota` for `key` of the limiter `scope`.
    #[must_use]
    pub fn new(scope: &'a Scope, key: &'a [u8], quota: &'a Quota, cost: u64) -> Self {
        Self { scope, key, quota, cost, lookup: None, term: None, granted: None }
    }

    /// The same of a key that the store has looked up.
    #[inline]
    pub(crate) fn at(self, lookup: &'a Lookup) -> Self {
        Self { lookup: Some(lookup), ..self }
    }

    /// The same under quotas that are in force for this `term`.
    #[inline]
    pub(crate) fn during(self, term: &'a Term) -> Self {
        Self { term: Some(term), ..self }
    }

    /// The same about units that were granted.
    pub(crate) fn granted(self, granted: &'a Granted<'a>) -> Self {
        Self { granted: Some(granted), ..self }
    }

    /// Whether what the demand rests on still holds; see [`Basis`]. One from [`new`](Self::new) rests on nothing.
    #[inline]
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.term.is_some_and(Term::is_over) && !self.granted.is_some_and(|granted| granted.is_forgotten(self.key))
    }

    /// What the demand rests on, for where it is not at hand itself: on another thread, in a later step.
    #[must_use]
    pub fn basis(&self) -> Basis {
        Basis::of(self)
    }
}

/// A limiter's name: keys of limiters with different names never meet in a store, and the same name is the same
/// limiter in every process.
///
/// ```
/// use limiter_core::store::Scope;
///
/// let scope = Scope::new("api");
/// assert_eq!(scope.name(), "api");
/// assert_eq!(scope.hash(), Scope::new("api").hash()); // also in another process
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Scope {
    name: Box<str>,
    /// How often the limiter was restarted; each start knows nothing of the states before it.
    start: u64,
    hash: u64,
}

impl Scope {
    /// The scope of a limiter's name.
    #[must_use]
    pub fn new(name: impl Into<Box<str>>) -> Self {
        let name = name.into();
        let hash = fnv(name.bytes());
        Self { name, start: 0, hash }
    }

    /// How often the limiter was restarted.
    #[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// The same limiter, started anew.
    pub(crate) fn next(&self) -> Self {
        let start = self.start + 1;
        let hash = fnv(self.name.bytes().chain(start.to_le_bytes()));
        Self { name: self.name.clone(), start, hash }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A number that stands for the name, the same in every process and release. A limiter that was
    /// [restarted](crate::Limiter::restart) has another one under its old name: a store tells scopes apart by both.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// What changes a key without asking.
///
/// ```
/// use limiter_core::{
///     LocalStore, MemoryStore,
///     store::{Adjust, Demand, Scope},
/// };
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let (scope, quota) = (Scope::new("api"), "5/day".parse()?);
/// let demand = Demand::new(&scope, b"ada", &quota, 2);
/// let taken = store.take(&[demand], None)?.at();
/// assert_eq!(store.adjust(demand, Adjust::Charge, None)?.remaining(), 1);
/// assert_eq!(store.adjust(demand, Adjust::Refund { taken }, None)?.remaining(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Adjust {
    /// Takes the demand's cost, into at most one full quota of debt.
    Charge,
    /// Returns what a take of the demand's cost at `taken` still holds; it never mints.
    Refund {
        /// The instant of the take, as its decision tells it.
        taken: Timestamp,
    },
    /// Counts a take of the demand's cost at `taken` from now on instead: a refund, then a charge, in one step.
    Restamp {
        /// The instant of the take, as its decision tells it.
        taken: Timestamp,
    },
    /// Takes the demand's cost as of the earliest instant at which it fits. The answer is that of the take, at that
    /// instant; where it lies further ahead than [`Quota::reach`], it is the denial of a take now, and nothing is taken.
    Reserve,
    /// Denies every take of a cost above 0 until `until`; an instant in the past ends a block.
    Block {
        /// The end of the block.
        until: Timestamp,
    },
    /// The same, but a block that ends later stays.
    BlockAtLeast {
        /// The earliest end of the block.
        until: Timestamp,
    },
}

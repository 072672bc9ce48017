//! The contract of [`Store`](crate::Store) as named cases that any store can run.
//!
//! Each [case](CASES) is a test of its own, with a name that says what it proves. Most compare every answer, field by
//! field, with what [`algorithm::decide`](crate::algorithm::decide) answers on the same state; others count what threads,
//! futures and handles are admitted together. Each is known to fail on a store that is broken in the way it looks for.
//!
//! For whoever writes a store:
//!
//! 1. Ask for this module: `limiter-core = { version = "…", features = ["conformance"] }` under `[dev-dependencies]`.
//! 2. Say how a new, empty store is made. A closure that returns a future is enough; what takes more, a folder or a
//!    schema of its own for each, is a [`Harness`].
//! 3. Have [`tests!`](tests) make a `#[test]` of every case:
//!
//!    ```
//!    # type MyStore = limiter_core::MemoryStore;
//!    mod contract {
//!        # use super::MyStore;
//!        limiter_core::conformance::tests!(|| async { MyStore::new() });
//!    }
//!    # fn main() {}
//!    ```
//! 4. Declare what the store does beyond the contract, and get the cases for it. State that outlives the process:
//!    [`Harness::reopen`], and `Persists` behind the harness. Other handles than clones, as of other processes:
//!    [`Harness::share`], and `Shares`.
//! 5. Declare what it is excused from: [`Harness::limits`].
//!
//! A case runs without a runtime, on a thread that sleeps while the store's future is pending. A store that needs a
//! runtime for its connections brings one, as it must for callers without one. Cases of one store may run at the same
//! time: each makes its own with [`Harness::fresh`].
//!
//! A [`Failure`] names the call, its instant, what was expected and what came, and the calls before it. Random streams
//! are the same at every run:
//!
//! | variable | means | default |
//! | --- | --- | --- |
//! | `LIMITER_STEPS` | calls of each random stream under each seed | 600 |
//! | `LIMITER_SEED` | the one seed to run, as a failure names it; `fresh` for a new one | 1, then 2 |
//!
//! One case alone, of a store whose limits nobody keeps:
//!
//! ```
//! use limiter_core::{
//!     Clock, Decision, LocalStore, MemoryStore, StoreError, Timestamp, conformance,
//!     store::{Adjust, Demand, Scope},
//! };
//! # use limiter_core::KeyState;
//!
//! /// Forgets what is taken: every take is a peek.
//! #[derive(Clone)]
//! struct Generous(MemoryStore);
//!
//! impl LocalStore for Generous {
//!     fn take(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
//!         LocalStore::peek(&self.0, demands, clock)
//!     }
//!     // The rest is handed on.
//! #   fn peek(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
//! #       LocalStore::peek(&self.0, demands, clock)
//! #   }
//! #   fn adjust(&self, demand: Demand<'_>, adjust: Adjust, clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
//! #       LocalStore::adjust(&self.0, demand, adjust, clock)
//! #   }
//! #   fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError> {
//! #       LocalStore::reset(&self.0, scope, key)
//! #   }
//! #   fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError> {
//! #       LocalStore::sweep(&self.0, clock)
//! #   }
//! #   fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
//! #       LocalStore::now(&self.0, clock)
//! #   }
//! #   fn is_same(&self, other: &Self) -> bool {
//! #       LocalStore::is_same(&self.0, &other.0)
//! #   }
//! #   fn snapshot(&self, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
//! #       LocalStore::snapshot(&self.0, demand, clock)
//! #   }
//! }
//!
//! let new = || async { Generous(MemoryStore::new()) };
//! let failure = conformance::run(new, "threads_admit_exactly_the_quota").unwrap_err();
//! assert_eq!(failure.to_string(), "1/day burst 100: of 160 takes of 1: expected 100 admitted, got 160");
//! ```

mod beside;
mod case;
mod cases;
mod concurrent;
mod failure;
mod harness;
mod random;
mod reference;
mod stream;
mod table;

#[doc(inline)]
pub use crate::__conformance_tests as tests;
use crate::{__conformance_cases, wait::block_on};
pub use case::{CASES, Case, Need, run};
pub use failure::Failure;
pub use harness::{Harness, Limits};

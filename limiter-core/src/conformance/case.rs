//! The table of the cases, and how one is run.

use super::{Failure, Harness, cases, concurrent::panicked, random};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

/// One case of the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Case {
    /// Its name, that of its test.
    pub name: &'static str,
    /// What it proves, in one line.
    pub meaning: &'static str,
    /// What a store must be able to do for the case to make sense.
    pub need: Need,
}

/// What a case needs beyond the contract; a store declares what it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Need {
    /// Nothing: every store passes it.
    Nothing,
    /// The state outlives its handles: [`Harness::reopen`].
    Persists,
    /// Other handles than clones come to the same state: [`Harness::share`].
    Shares,
}

/// How long a case may take at the least before it counts as stuck.
const LIMIT: Duration = Duration::from_secs(120);

/// And so much longer for each random step asked for.
const LIMIT_A_STEP: Duration = Duration::from_millis(100);

/// Runs the case called `name` on a thread of its own, without a runtime.
///
/// A panic of the store, and a call that never ends, are failures too.
///
/// ```
/// use limiter_core::{MemoryStore, conformance};
///
/// conformance::run(|| async { MemoryStore::new() }, "a_reset_forgets_units_and_block").unwrap();
/// ```
///
/// # Errors
/// Where the store breaks the contract, or no case has that name.
pub fn run<H: Harness>(harness: H, name: &str) -> Result<(), Failure> {
    let Some(case) = CASES.iter().find(|case| case.name == name) else {
        return Err(Failure::new(format!("there is no case {name:?}")));
    };
    let steps = u32::try_from(random::steps()?).unwrap_or(u32::MAX);
    let limit = LIMIT.saturating_add(LIMIT_A_STEP.saturating_mul(steps));
    let (done, is_done) = channel();
    thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| super::block_on(case.run(&harness))));
        drop(harness);
        let _ = done.send(result.unwrap_or_else(|panic| Err(panicked(&*panic))));
    });
    match is_done.recv_timeout(limit) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(Failure::new(format!("expected an end, got none within {limit:?}"))),
        Err(RecvTimeoutError::Disconnected) => Err(Failure::new("the case's thread ended without a result")),
    }
}

macro_rules! table {
    ($([$need:ident] $file:ident::$name:ident $meaning:literal;)*) => {
        /// Every case.
        pub const CASES: &[Case] = &[$(Case { name: stringify!($name), meaning: $meaning, need: Need::$need }),*];

        impl Case {
            /// Runs the case on stores that `harness` makes.
            ///
            /// # Errors
            /// Where the store breaks the contract.
            pub async fn run<H: Harness>(&self, harness: &H) -> Result<(), Failure> {
                match self.name {
                    $(stringify!($name) => Box::pin(cases::$file::$name(harness)).await,)*
                    name => Err(Failure::new(format!("there is no case {name:?}"))),
                }
            }
        }
    };
}

super::__conformance_cases!([table]);

//! The contract of stores as named cases that any store can run.

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

pub use crate::__conformance_tests as tests;
use crate::{__conformance_cases, wait::block_on};
pub use case::{CASES, Case, Need, run};
pub use failure::Failure;
pub use harness::{Harness, Limits};

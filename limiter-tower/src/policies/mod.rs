//! A policy: whose requests it counts, at which cost, and what clients are told of it.

mod announced;
mod error;
mod policy;

#[cfg(feature = "rules")]
pub(crate) use announced::same_name;
pub(crate) use announced::{Announced, AnnouncedByQuota};
pub use error::PolicyError;
pub use policy::Policy;
pub(crate) use policy::When;

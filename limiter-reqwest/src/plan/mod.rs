//! Which limiter and which key a request has.

mod authority;
mod error;
mod key;
mod path;
mod policy;
#[cfg(feature = "psl")]
mod registered;
mod request;
mod rules;

pub use error::PlanError;
pub use key::host_key;
pub use request::{Cost, MaxWait};

pub(crate) use key::{RequestKey, authority};
pub(crate) use policy::Policy;
pub(crate) use rules::Plan;

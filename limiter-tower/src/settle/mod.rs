//! What is put right once the response is known: refunds, charges by outcome, true costs.

mod held;
mod rest;
mod settling;
mod true_cost;

pub(crate) use held::{Granted, Held, Permits};
#[cfg(feature = "body")]
pub(crate) use rest::OfBody;
pub(crate) use rest::Rest;
pub(crate) use settling::{Settling, head_of_an_error};
pub(crate) use true_cost::Rules;
pub use true_cost::TrueCost;

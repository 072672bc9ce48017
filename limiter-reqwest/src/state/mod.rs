//! What is known of the hosts that requests went to, in this process.

mod host;
mod hosts;
mod status;

pub use status::Status;

pub(crate) use host::{Host, InFlight};
pub(crate) use hosts::Hosts;

#![doc = include_str!("../README.md")]

mod engine;
mod error;
mod event;
pub mod learn;
mod limits;
mod middleware;
mod obey;
mod plan;
mod state;
#[cfg(feature = "tracing")]
mod trace;

pub use error::RateLimitError;
pub use event::Event;
pub use limits::Limits;
pub use middleware::RateLimitMiddleware;
pub use obey::PauseReason;
pub use plan::{Cost, MaxWait, PlanError, host_key};
pub use state::Status;

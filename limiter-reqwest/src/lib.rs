#![doc = include_str!("../README.md")]

#[cfg(feature = "blocking")]
pub mod blocking;
mod client;
mod engine;
mod error;
mod event;
pub mod learn;
mod limits;
#[cfg(feature = "metrics")]
mod measure;
mod middleware;
mod obey;
mod plan;
mod state;
#[cfg(feature = "tower")]
mod tower;
#[cfg(feature = "tracing")]
mod trace;

pub use client::{Client, Error, RequestBuilder};
pub use error::RateLimitError;
pub use event::Event;
pub use limits::Limits;
pub use middleware::RateLimitMiddleware;
pub use obey::PauseReason;
pub use plan::{Cost, MaxWait, PlanError, host_key};
pub use state::Status;
#[cfg(feature = "tower")]
pub use tower::{Limited, LimitedError};

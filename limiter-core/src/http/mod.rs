//! The HTTP side of rate limiting, as pure text: header fields of every generation, written and read,
//! `Retry-After`, and problem bodies. No I/O, no clock, no HTTP library.
//!
//! | generation | standard | fields |
//! | --- | --- | --- |
//! | [`Legacy`](Generation::Legacy) | none | `X-RateLimit-Limit`, `-Remaining`, `-Reset` |
//! | [`DraftA`](Generation::DraftA) | ratelimit-headers drafts 00 to 06 | `RateLimit-Limit`, `-Remaining`, `-Reset`; `RateLimit-Policy: 100;w=60` |
//! | [`DraftB`](Generation::DraftB) | draft 07 | `RateLimit: limit=100, remaining=50, reset=5` |
//! | [`Structured`](Generation::Structured) | drafts 08 to 11, over RFC 9651 | `RateLimit: "default";r=50;t=30`; `RateLimit-Policy: "default";q=100;w=60` |
//!
//! A server names its policies ([`PolicyName`]), chooses what to send ([`FieldSet`]), and on a denial adds
//! [`retry_after_seconds`] and a [problem body](quota_exceeded). A client reads all of it with [`read_advice`] and
//! [`parse_retry_after`]. Nothing here panics, whatever the peer sends.
//!
//! ```
//! use limiter_core::http::{FieldSet, PolicyName, PolicyState, read_advice};
//! use std::time::{Duration, SystemTime};
//!
//! let name = PolicyName::new("default")?;
//! let state = PolicyState {
//!     name: &name,
//!     limit: 100,
//!     remaining: 0,
//!     reset_after: Duration::from_millis(29_500),
//!     retry_after: None,
//! };
//! let mut sent = Vec::new();
//! FieldSet::default().state_fields([state], |name, value| sent.push((name, value)));
//! assert_eq!(sent, [("ratelimit", r#""default";r=0;t=30"#.to_owned())]);
//!
//! let advice = read_advice(SystemTime::now(), |name| {
//!     sent.iter().filter(move |(sent, _)| *sent == name).map(|(_, value)| value.as_bytes())
//! });
//! assert_eq!(advice[0].pause(), Some(Duration::from_secs(30)));
//! # Ok::<(), limiter_core::http::PolicyNameError>(())
//! ```

mod fields;
mod generation;
mod policy;
mod problem;
mod read;
mod retry_after;
mod structured;
mod timestamp;

pub use fields::{Policy, PolicyState};
pub use generation::{FieldSet, Generation};
pub use policy::{PolicyName, PolicyNameError};
pub use problem::{CONTENT_TYPE, cost_too_large, quota_exceeded, temporary_reduced_capacity};
pub use read::{Advice, Unit, read_advice};
pub use retry_after::{DEFAULT_CAP, parse_retry_after, retry_after_seconds};

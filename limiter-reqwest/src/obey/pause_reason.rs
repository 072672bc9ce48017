//! Why a host has a pause.

use limiter_core::http::Generation;
use std::fmt;

/// What made a host's requests pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PauseReason {
    /// `Retry-After`, on 429, 503 or 413.
    RetryAfter,
    /// `RateLimit` fields of this generation with nothing left.
    RateLimit(Generation),
    /// A refusal that did not say how long: a 429 without a field that does, or `Retry-After` of zero.
    Unsaid,
}

impl fmt::Display for PauseReason {
    /// The field's name: `Retry-After`, `RateLimit`, `RateLimit-Remaining`, `X-RateLimit-Remaining`; or `a refusal`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RetryAfter => "Retry-After",
            Self::RateLimit(Generation::Legacy) => "X-RateLimit-Remaining",
            Self::RateLimit(Generation::DraftA) => "RateLimit-Remaining",
            Self::RateLimit(_) => "RateLimit",
            Self::Unsaid => "a refusal",
        })
    }
}

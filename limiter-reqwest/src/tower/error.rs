//! Why a limited service has no answer.

use crate::{PlanError, RateLimitError, engine::NotSent};
use std::{error::Error, fmt};

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// Why a [`Limited`](crate::Limited) service has no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum LimitedError {
    /// The request was not sent because of a limit.
    Limited(RateLimitError),
    /// No request can be sent: one of the limits' rules is none.
    Misconfigured(PlanError),
    /// The request was not sent, as neither its URI nor a `Host` field names its host.
    NoHost,
    /// The inner service's own.
    Inner(BoxError),
}

impl From<NotSent> for LimitedError {
    fn from(not_sent: NotSent) -> Self {
        match not_sent {
            NotSent::Limited(error) => Self::Limited(error),
            NotSent::Misconfigured(error) => Self::Misconfigured(error),
        }
    }
}

impl fmt::Display for LimitedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited(error) => error.fmt(f),
            Self::Misconfigured(error) => error.fmt(f),
            Self::NoHost => f.write_str("not sent: neither the URI nor a Host field names the host"),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl Error for LimitedError {
    /// What the error within comes from: itself it is in the message already.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Limited(error) => error.source(),
            Self::Misconfigured(error) => error.source(),
            Self::NoHost => None,
            Self::Inner(error) => error.source(),
        }
    }
}

//! What a client does for the sake of limits, as it happens.

use crate::PauseReason;
use limiter_core::Error;
use reqwest::StatusCode;
use std::{fmt, sync::Arc, time::Duration};

/// Something that a client did, or met, for the sake of a limit; given to [`Limits::on_event`](crate::Limits::on_event).
///
/// `host` is the host that the request was for, with its port if the URL named one.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request waited for its turn, and is sent now.
    Waited {
        /// The request's host.
        host: &'a str,
        /// How long it waited, by the store's time.
        wait: Duration,
    },
    /// An answer refused its request: a 429, or a 503 or 413 with `Retry-After`.
    Refused {
        /// The request's host.
        host: &'a str,
        /// The answer's status.
        status: StatusCode,
    },
    /// An answer asked for a pause; everybody who shares the quota keeps it.
    Paused {
        /// The request's host.
        host: &'a str,
        /// How long from now, after caps and after what was added for refusals that came again.
        pause: Duration,
        /// What asked for it.
        reason: PauseReason,
    },
    /// A refused request waited until it could be sent again, and is.
    Resent {
        /// The request's host.
        host: &'a str,
        /// How often it has been sent again, 1 at first.
        time: u32,
    },
    /// A request is not sent, or not again, as it would have to wait too long, or cannot be let through.
    GaveUp {
        /// The request's host.
        host: &'a str,
        /// Why.
        error: &'a Error,
    },
}

impl Event<'_> {
    /// The host that the request was for.
    #[must_use]
    pub fn host(&self) -> &str {
        match self {
            Self::Waited { host, .. }
            | Self::Refused { host, .. }
            | Self::Paused { host, .. }
            | Self::Resent { host, .. }
            | Self::GaveUp { host, .. } => host,
        }
    }
}

impl fmt::Display for Event<'_> {
    /// One line for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waited { host, wait } => write!(f, "{host}: waited {wait:?}"),
            Self::Refused { host, status } => write!(f, "{host}: refused with {}", status.as_u16()),
            Self::Paused { host, pause, reason } => write!(f, "{host}: paused for {pause:?}, as told by {reason}"),
            Self::Resent { host, time } => write!(f, "{host}: sent again, time {time}"),
            Self::GaveUp { host, error } => write!(f, "{host}: gave up: {error}"),
        }
    }
}

/// Whom events are told to.
#[derive(Clone, Default)]
pub(crate) struct Hook(Option<Arc<HookFn>>);

type HookFn = dyn Fn(&Event<'_>) + Send + Sync;

impl Hook {
    pub(crate) fn new(hook: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        #[cfg(feature = "tracing")]
        crate::trace::event(event);
        #[cfg(feature = "metrics")]
        crate::measure::event(event);
        if let Some(hook) = &self.0 {
            hook(event);
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Hook(..)" } else { "None" })
    }
}

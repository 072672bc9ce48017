//! Events, for `tracing`.

use crate::Event;
use tracing::{debug, info, warn};

/// Waits and what is sent again are of interest to those who look closely; refusals and pauses to all.
pub(crate) fn event(event: &Event<'_>) {
    match event {
        Event::Waited { host, wait } => debug!(host, ?wait, "waited for its turn"),
        Event::Refused { host, status } => info!(host, status = status.as_u16(), "refused"),
        Event::Paused { host, pause, reason } => warn!(host, ?pause, %reason, "asked for a pause"),
        Event::Resent { host, time } => debug!(host, time, "sent again"),
        Event::GaveUp { host, error } => warn!(host, %error, "not sent"),
    }
}

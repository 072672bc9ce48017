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

#[cfg(test)]
#[path = "../../limiter-tower/tests/support/trace.rs"]
mod lines;

#[cfg(test)]
mod tests {
    use super::{lines::Lines, *};
    use crate::PauseReason;
    use limiter_core::Error;
    use reqwest::StatusCode;
    use std::time::Duration;
    use tracing::Level;

    #[test]
    fn every_event_is_traced_with_what_it_tells() {
        let (lines, host, second) = (Lines::default(), "a.example", Duration::from_secs(1));
        let error = Error::WaitTooLong { needed: 2 * second, allowed: second };
        tracing::subscriber::with_default(lines.clone(), || {
            event(&Event::Waited { host, wait: second });
            event(&Event::Refused { host, status: StatusCode::TOO_MANY_REQUESTS });
            event(&Event::Paused { host, pause: second, reason: PauseReason::RetryAfter });
            event(&Event::Resent { host, time: 1 });
            event(&Event::GaveUp { host, error: &error });
        });
        assert_eq!(
            lines.take(),
            [
                format!("{} message=waited for its turn host=\"a.example\" wait=1s", Level::DEBUG),
                format!("{} message=refused host=\"a.example\" status=429", Level::INFO),
                format!("{} message=asked for a pause host=\"a.example\" pause=1s reason=Retry-After", Level::WARN),
                format!("{} message=sent again host=\"a.example\" time=1", Level::DEBUG),
                format!("{} message=not sent host=\"a.example\" error={error}", Level::WARN),
            ]
        );
    }
}

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
mod tests {
    use super::*;
    use crate::PauseReason;
    use limiter_core::Error;
    use reqwest::StatusCode;
    use std::{
        fmt,
        sync::{Arc, Mutex},
        time::Duration,
    };
    use tracing::{Level, Metadata, Subscriber, field, span};

    /// A line for each event: its level and its fields.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    struct Line(String);

    impl field::Visit for Line {
        fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
            self.0 += &format!(" {}={value:?}", field.name());
        }
    }

    impl Subscriber for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            let mut line = Line(event.metadata().level().to_string());
            event.record(&mut line);
            self.0.lock().unwrap().push(line.0);
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

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
            *lines.0.lock().unwrap(),
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

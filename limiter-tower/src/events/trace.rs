//! Events, for `tracing`.

use crate::{Event, Outcome};
use limiter_core::Error;
use tracing::{debug, info, warn};

pub(crate) const IS_ON: bool = true;

/// What is refused, or would be, is of interest to all; a store that fails is a warning; admissions are for those who look
/// closely.
pub(crate) fn event(event: &Event<'_>) {
    match event.outcome() {
        _ if event.error().is_some_and(is_failure) => warn!(%event, "the store failed"),
        Outcome::Admitted | Outcome::WouldAdmit => debug!(%event, "request decided"),
        _ => info!(%event, "request refused, or it would have been"),
    }
}

/// Whether it is the store's, and not what a request asks for.
fn is_failure(error: &Error) -> bool {
    !matches!(error, Error::NeverFits { .. } | Error::TooManyAtOnce { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use limiter_core::{StoreError, StoreErrorKind};
    use std::{
        fmt,
        sync::{Arc, Mutex},
    };
    use tracing::{Metadata, Subscriber, field, span};

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
    fn refusals_are_traced_and_failures_are_warnings() {
        let lines = Lines::default();
        let failed = Error::from(StoreError::new(StoreErrorKind::Unavailable));
        tracing::subscriber::with_default(lines.clone(), || {
            event(&Event::plain(Outcome::Forbidden));
            event(&Event::undecided(Outcome::StoreFailed, &failed, &[]));
        });
        assert_eq!(
            *lines.0.lock().unwrap(),
            [
                "INFO message=request refused, or it would have been event=forbidden",
                "WARN message=the store failed event=store failed: the limiter's store failed",
            ]
        );
    }
}

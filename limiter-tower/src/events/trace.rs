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

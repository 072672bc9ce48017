//! What a layer tells its hook: every decision, and no key.

use crate::{PolicyName, Verdict, policies::Announced};
use limiter_core::Error;
use std::{fmt, sync::Arc, time::Duration};

/// A decision as told to [`RateLimitLayer::on_decision`](crate::RateLimitLayer::on_decision): what became of a request,
/// by which policies. It holds no key.
///
/// `Display` writes one line for logs.
pub struct Event<'a> {
    outcome: Outcome,
    verdict: Option<&'a Verdict>,
    error: Option<&'a Error>,
    parts: &'a [Arc<Announced>],
    waited: Duration,
}

/// What became of a request; see [`Event`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// All policies that took part let it in.
    Admitted,
    /// It was refused: a policy denied it, or as many requests of its key were at work as may be at once.
    Denied,
    /// It was refused: its cost can never fit.
    NeverFits,
    /// It was let in by a layer in [shadow mode](crate::RateLimitLayer::shadow), or past a
    /// [shadow policy](crate::Policy::shadow), which would have let it in too.
    WouldAdmit,
    /// It was let in by a layer in shadow mode, or past a shadow policy, which would have refused it.
    WouldDeny,
    /// It was refused by the layer's [`block`](crate::RateLimitLayer::block).
    Forbidden,
    /// It was refused, or passed a [shadow policy](crate::Policy::shadow): its key cannot be had.
    NoKey,
    /// It was refused, or passed a layer or policy in shadow mode: the store failed.
    StoreFailed,
    /// It was let in undecided: the store failed, and the layer [allows](crate::StoreFailure::Allow) that.
    LetThrough,
}

impl Outcome {
    /// Its name in lower case, for metrics' labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Denied => "denied",
            Self::NeverFits => "never fits",
            Self::WouldAdmit => "would admit",
            Self::WouldDeny => "would deny",
            Self::Forbidden => "forbidden",
            Self::NoKey => "no key",
            Self::StoreFailed => "store failed",
            Self::LetThrough => "let through",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl<'a> Event<'a> {
    /// A decision that was made.
    pub(crate) fn decided(outcome: Outcome, verdict: &'a Verdict) -> Self {
        Self { outcome, verdict: Some(verdict), error: None, parts: verdict.parts(), waited: Duration::ZERO }
    }

    /// One that could not be made.
    pub(crate) fn undecided(outcome: Outcome, error: &'a Error, parts: &'a [Arc<Announced>]) -> Self {
        Self { outcome, verdict: None, error: Some(error), parts, waited: Duration::ZERO }
    }

    /// One that no policy was asked about.
    pub(crate) fn plain(outcome: Outcome) -> Self {
        Self { outcome, verdict: None, error: None, parts: &[], waited: Duration::ZERO }
    }

    /// A decision that was made elsewhere, as the store failed.
    pub(crate) fn because(self, error: &'a Error) -> Self {
        Self { error: Some(error), ..self }
    }

    pub(crate) fn waited(self, waited: Duration) -> Self {
        Self { waited, ..self }
    }

    /// What became of the request.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The policies that took part.
    pub fn policies(&self) -> impl Iterator<Item = &'a PolicyName> {
        self.parts.iter().map(|part| &part.name)
    }

    /// The decision over them; `None` where there is none: the request was forbidden or has no key, its cost can
    /// never fit, too many are at work at once, or the store failed.
    #[must_use]
    pub fn verdict(&self) -> Option<&'a Verdict> {
        self.verdict
    }

    /// Why nothing could be decided, where that is so; beside a verdict, why the store did not decide: this process's
    /// memory did.
    #[must_use]
    pub fn error(&self) -> Option<&'a Error> {
        self.error
    }

    /// How long the request waited for its turn; see [`wait_up_to`](crate::RateLimitLayer::wait_up_to).
    #[must_use]
    pub fn waited_for(&self) -> Duration {
        self.waited
    }
}

impl fmt::Display for Event<'_> {
    /// `would deny: planned denied by 50/s: 0 of 50 left, retry after 20ms, reset after 1s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.outcome.fmt(f)?;
        if let Some(verdict) = self.verdict {
            write!(f, ": {verdict}")?;
        }
        if let Some(error) = self.error {
            write!(f, ": {error}")?;
        }
        if !self.waited.is_zero() {
            write!(f, ", after a wait of {:?}", self.waited)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("outcome", &self.outcome)
            .field("verdict", &self.verdict)
            .field("error", &self.error)
            .field("waited", &self.waited)
            .finish()
    }
}

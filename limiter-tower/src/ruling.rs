//! What becomes of a request: from the decision, by the layer's settings.

use crate::{
    KeyError,
    announced::Announced,
    event::{Event, Outcome},
    layer::Settings,
    outcome::Held,
    question::{Group, Question},
    verdict::Verdict,
};
use limiter_core::{Decision, Error, Store};
use smallvec::SmallVec;
use std::sync::Arc;

/// What becomes of a request.
pub(crate) enum Ruling {
    Pass(Pass),
    Refuse(Refused),
}

/// Why a request does not reach the inner service.
#[allow(clippy::large_enum_variant)] // moved but a few times, where a box would cost every denial an allocation
pub(crate) enum Refused {
    Denied(Verdict),
    /// Nothing could be decided about a request that `parts` took part in.
    Undecided {
        error: Error,
        parts: SmallVec<[Arc<Announced>; 1]>,
    },
    NoKey(KeyError),
    /// By the layer's block list.
    Forbidden,
}

/// How a request passes on to the inner service.
#[derive(Default)]
pub(crate) struct Pass {
    /// The decision, for the request's extensions.
    pub(crate) verdict: Option<Verdict>,
    /// Whether the client is told of it.
    pub(crate) is_told: bool,
    pub(crate) held: Option<Box<dyn Held>>,
}

impl<S: Store> Settings<S> {
    /// The ruling where the store is in this process.
    pub(crate) fn rule_now(&self, question: &Question<S>) -> Ruling {
        let ruling = match &question.group {
            None => Ruling::Pass(Pass::default()),
            Some(group) => self.conclude(group, group.decide_now(self)),
        };
        if let Ruling::Pass(_) = ruling {
            for shadow in &question.shadows {
                self.tell_shadow(shadow, shadow.decide_now(self));
            }
        }
        ruling
    }

    /// The ruling on any store.
    pub(crate) async fn rule(&self, question: Question<S>) -> Ruling {
        let ruling = match &question.group {
            None => Ruling::Pass(Pass::default()),
            Some(group) => self.conclude(group, group.decide(self).await),
        };
        if let Ruling::Pass(_) = ruling {
            for shadow in &question.shadows {
                self.tell_shadow(shadow, shadow.decide(self).await);
            }
        }
        ruling
    }

    /// What follows from a decision, or from there being none.
    fn conclude(&self, group: &Group<S>, decided: Result<Decision, Error>) -> Ruling {
        let parts = group.announced();
        if self.is_shadow {
            let verdict = self.tell_shadow(group, decided);
            let held = verdict.as_ref().and_then(|verdict| group.held(self, verdict.decision()));
            return Ruling::Pass(Pass { verdict, is_told: false, held });
        }
        match decided {
            Ok(decision) if decision.allowed() => {
                let held = group.held(self, &decision);
                let verdict = Verdict::new(decision, parts);
                self.tell(|| Event::decided(Outcome::Admitted, &verdict));
                Ruling::Pass(Pass { verdict: Some(verdict), is_told: true, held })
            }
            Ok(denial) => {
                let verdict = Verdict::new(denial, parts);
                self.tell(|| Event::decided(Outcome::Denied, &verdict));
                Ruling::Refuse(Refused::Denied(verdict))
            }
            Err(error) => {
                let outcome = undecided(&error);
                self.tell(|| Event::undecided(outcome, &error, &parts));
                Ruling::Refuse(Refused::Undecided { error, parts })
            }
        }
    }

    /// Tells the hook what would have become of the request.
    fn tell_shadow(&self, group: &Group<S>, decided: Result<Decision, Error>) -> Option<Verdict> {
        let parts = group.announced();
        match decided {
            Ok(decision) => {
                let outcome = if decision.allowed() { Outcome::WouldAdmit } else { Outcome::WouldDeny };
                let verdict = Verdict::new(decision, parts);
                self.tell(|| Event::decided(outcome, &verdict));
                Some(verdict)
            }
            Err(error) => {
                let outcome = match undecided(&error) {
                    Outcome::NeverFits => Outcome::WouldDeny,
                    failed => failed,
                };
                self.tell(|| Event::undecided(outcome, &error, &parts));
                None
            }
        }
    }

    pub(crate) fn tell<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        if let Some(hook) = &self.hook {
            hook(&event());
        }
    }
}

fn undecided(error: &Error) -> Outcome {
    match error {
        Error::NeverFits { .. } => Outcome::NeverFits,
        _ => Outcome::StoreFailed,
    }
}

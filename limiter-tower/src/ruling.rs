//! What becomes of a request: from the decision, by the layer's settings.

use crate::{
    KeyError, StoreFailure,
    announced::Announced,
    event::{Event, Outcome},
    layer::Settings,
    outcome::Granted,
    question::{Group, Question},
    trace,
    verdict::Verdict,
};
use limiter_core::{Decision, Error, Place, Store};
use smallvec::SmallVec;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

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
    pub(crate) held: Granted,
}

/// What was decided on a group, with its places among those that may be at work at once.
struct Decided {
    answer: Result<Decision, Error>,
    places: Vec<Place>,
}

impl From<Error> for Decided {
    fn from(error: Error) -> Self {
        Self { answer: Err(error), places: Vec::new() }
    }
}

impl<S: Store> Settings<S> {
    /// The ruling where the store is in this process; `None` where the request is to [wait](Self::rule_waiting).
    pub(crate) fn rule_now(&self, question: &Question<S>) -> Option<Ruling> {
        let mut ruling = match &question.group {
            None => Ruling::Pass(Pass::default()),
            Some(group) => {
                let decided = self.decide_now(group);
                if self.may_wait(&decided) {
                    return None;
                }
                self.conclude(group, decided)
            }
        };
        if let Ruling::Pass(pass) = &mut ruling {
            for shadow in &question.shadows {
                self.pass_shadow(pass, shadow, self.decide_now(shadow));
            }
        }
        Some(ruling)
    }

    /// The ruling on any store.
    pub(crate) async fn rule(&self, question: Question<S>) -> Ruling {
        let ruling = match &question.group {
            None => Ruling::Pass(Pass::default()),
            Some(group) => self.conclude(group, self.ask(group).await),
        };
        self.pass_shadows(ruling, &question).await
    }

    /// The ruling once the request's turn has come, or where that would take too long.
    pub(crate) async fn rule_waiting(&self, question: Question<S>) -> Ruling {
        let Some(group) = &question.group else {
            return self.pass_shadows(Ruling::Pass(Pass::default()), &question).await;
        };
        if !self.is_local() {
            // What waits for the store alone is not a wait for a turn, and has but the store's time.
            let decided = self.ask(group).await;
            if !self.may_wait(&decided) {
                return self.pass_shadows(self.conclude(group, decided), &question).await;
            }
        }
        let since = Instant::now();
        let limit = self.wait.unwrap_or_default();
        let waited = match self.is_local() {
            true => group.wait(self, limit).await,
            false => self.failing.ask(limit, group.wait(self, limit)).await,
        };
        let ruling = match waited {
            Ok((decision, held)) => self.admit(group, decision, Granted::new(Some(held)), since.elapsed()),
            // The store says what is so now, and how long it will be.
            Err(Error::WaitTooLong { .. } | Error::TimedOut { .. } | Error::QueueFull { .. }) => {
                self.conclude(group, self.ask(group).await)
            }
            Err(error) => self.conclude(group, error.into()),
        };
        self.pass_shadows(ruling, &question).await
    }

    async fn pass_shadows(&self, mut ruling: Ruling, question: &Question<S>) -> Ruling {
        if let Ruling::Pass(pass) = &mut ruling {
            for shadow in &question.shadows {
                self.pass_shadow(pass, shadow, self.ask(shadow).await);
            }
        }
        ruling
    }

    /// Tells what a shadow would have made of a request, and keeps what it took of one that it would have admitted: its
    /// rules for outcomes count as in earnest.
    fn pass_shadow(&self, pass: &mut Pass, shadow: &Group<S>, decided: Decided) {
        let Decided { answer, places } = decided;
        let verdict = self.tell_shadow(shadow, answer);
        pass.held.beside(self.held_in_shadow(shadow, verdict.as_ref(), places));
    }

    /// What a shadow took of a request that it would have admitted.
    fn held_in_shadow(&self, group: &Group<S>, verdict: Option<&Verdict>, places: Vec<Place>) -> Granted {
        match verdict.filter(|verdict| verdict.allowed()) {
            Some(verdict) => Granted::new(group.held(self, verdict.decision())).keep(places),
            None => Granted::default(),
        }
    }

    /// The decision of a store in this process.
    fn decide_now(&self, group: &Group<S>) -> Decided {
        match group.places(self) {
            Ok(places) => Decided { answer: group.decide_now(self), places },
            Err(error) => error.into(),
        }
    }

    /// The decision of a store, unless it fails.
    async fn ask(&self, group: &Group<S>) -> Decided {
        let places = match group.places(self) {
            Ok(places) => places,
            Err(error) => return error.into(),
        };
        let answer = match self.is_local() {
            true => group.decide(self).await,
            false => self.failing.ask(Duration::ZERO, group.decide(self)).await,
        };
        Decided { answer, places }
    }

    /// Whether requests wait instead of being refused.
    pub(crate) fn waits(&self) -> bool {
        self.wait.is_some() && !self.is_shadow
    }

    fn may_wait(&self, decided: &Decided) -> bool {
        let most = self.wait.filter(|_| self.waits());
        match &decided.answer {
            Ok(decision) if decision.allowed() => false,
            Ok(denial) => denial.retry_after().is_some_and(|wait| most.is_some_and(|most| wait <= most)),
            Err(error) => most.is_some() && matches!(error, Error::TooManyAtOnce { .. }),
        }
    }

    /// What follows from a decision, or from there being none.
    fn conclude(&self, group: &Group<S>, decided: Decided) -> Ruling {
        let Decided { answer, places } = decided;
        if self.is_shadow {
            let verdict = self.tell_shadow(group, answer);
            let held = self.held_in_shadow(group, verdict.as_ref(), places);
            return Ruling::Pass(Pass { verdict, is_told: false, held });
        }
        match answer {
            Ok(decision) if decision.allowed() => {
                let held = Granted::new(group.held(self, &decision)).keep(places);
                self.admit(group, decision, held, Duration::ZERO)
            }
            Ok(denial) => {
                let verdict = Verdict::new(denial, group.announced(self));
                self.tell(|| Event::decided(Outcome::Denied, &verdict));
                Ruling::Refuse(Refused::Denied(verdict))
            }
            Err(error @ Error::Store(_)) if self.failing.then == StoreFailure::Allow => {
                let parts = group.announced(self);
                self.tell(|| Event::undecided(Outcome::LetThrough, &error, &parts));
                Ruling::Pass(Pass { held: Granted::default().keep(places), ..Pass::default() })
            }
            Err(error @ Error::Store(_)) if self.failing.then == StoreFailure::DecideLocally => {
                self.decide_locally(group, &error, places)
            }
            Err(error) => {
                let parts = group.announced(self);
                self.tell(|| Event::undecided(undecided(&error), &error, &parts));
                Ruling::Refuse(Refused::Undecided { error, parts })
            }
        }
    }

    /// What this process's memory decides in the place of the store.
    fn decide_locally(&self, group: &Group<S>, failed: &Error, places: Vec<Place>) -> Ruling {
        match group.decide_locally(self) {
            Ok((verdict, held)) if verdict.allowed() => {
                self.tell(|| Event::decided(Outcome::Admitted, &verdict).because(failed));
                Ruling::Pass(Pass { verdict: Some(verdict), is_told: true, held: Granted::new(held).keep(places) })
            }
            Ok((verdict, _)) => {
                self.tell(|| Event::decided(Outcome::Denied, &verdict).because(failed));
                Ruling::Refuse(Refused::Denied(verdict))
            }
            Err(error) => {
                let parts = group.announced(self);
                self.tell(|| Event::undecided(undecided(&error), &error, &parts));
                Ruling::Refuse(Refused::Undecided { error, parts })
            }
        }
    }

    fn admit(&self, group: &Group<S>, decision: Decision, held: Granted, waited: Duration) -> Ruling {
        let verdict = Verdict::new(decision, group.announced(self));
        self.tell(|| Event::decided(Outcome::Admitted, &verdict).waited(waited));
        Ruling::Pass(Pass { verdict: Some(verdict), is_told: true, held })
    }

    /// Tells the hook what would have become of the request.
    fn tell_shadow(&self, group: &Group<S>, decided: Result<Decision, Error>) -> Option<Verdict> {
        let parts = group.announced(self);
        match decided {
            Ok(decision) => {
                let outcome = if decision.allowed() { Outcome::WouldAdmit } else { Outcome::WouldDeny };
                let verdict = Verdict::new(decision, parts);
                self.tell(|| Event::decided(outcome, &verdict));
                Some(verdict)
            }
            Err(error) => {
                let outcome = match undecided(&error) {
                    Outcome::NeverFits | Outcome::Denied => Outcome::WouldDeny,
                    failed => failed,
                };
                self.tell(|| Event::undecided(outcome, &error, &parts));
                None
            }
        }
    }

    pub(crate) fn tell<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        if trace::IS_ON || self.hook.is_some() {
            let event = event();
            trace::event(&event);
            self.hook.iter().for_each(|hook| hook(&event));
        }
    }
}

fn undecided(error: &Error) -> Outcome {
    match error {
        Error::NeverFits { .. } => Outcome::NeverFits,
        Error::TooManyAtOnce { .. } => Outcome::Denied,
        _ => Outcome::StoreFailed,
    }
}

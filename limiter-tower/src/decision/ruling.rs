//! What becomes of a request: from the decision, by the layer's settings.

use super::{
    Settings, Verdict,
    question::{Group, Question},
};
use crate::{
    KeyError, StoreFailure,
    events::{Event, Outcome, trace},
    policies::Announced,
    settle::Granted,
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

impl<S: Store> Settings<S> {
    /// The ruling where the store is in this process; `None` where the request is to [wait](Self::rule_waiting).
    pub(crate) fn rule_now(&self, question: &Question<S>) -> Option<Ruling> {
        let mut ruling = match &question.group {
            None => Ruling::Pass(Pass::default()),
            Some(group) => {
                let mut places = Vec::new();
                let decided = self.decide_now(group, &mut places);
                if self.may_wait(&decided) {
                    return None;
                }
                self.conclude(group, decided, places)
            }
        };
        if let Ruling::Pass(pass) = &mut ruling {
            for shadow in &question.shadows {
                let mut places = Vec::new();
                let decided = self.decide_now(shadow, &mut places);
                self.pass_shadow(pass, shadow, decided, places);
            }
        }
        Some(ruling)
    }

    /// The ruling on any store.
    pub(crate) async fn rule(&self, question: Question<S>) -> Ruling {
        let ruling = match &question.group {
            None => Ruling::Pass(Pass::default()),
            Some(group) => self.rule_group(group).await,
        };
        self.pass_shadows(ruling, &question).await
    }

    async fn rule_group(&self, group: &Group<S>) -> Ruling {
        let mut places = Vec::new();
        let decided = self.ask(group, &mut places).await;
        self.conclude(group, decided, places)
    }

    /// The ruling once the request's turn has come, or where that would take too long.
    pub(crate) async fn rule_waiting(&self, question: Question<S>) -> Ruling {
        let Some(group) = &question.group else {
            return self.pass_shadows(Ruling::Pass(Pass::default()), &question).await;
        };
        if !self.is_local() {
            // What waits for the store alone is not a wait for a turn, and has but the store's time.
            let mut places = Vec::new();
            let decided = self.ask(group, &mut places).await;
            if !self.may_wait(&decided) {
                return self.pass_shadows(self.conclude(group, decided, places), &question).await;
            }
        }
        let since = Instant::now();
        let limit = self.wait.unwrap_or_default();
        let waited = match self.is_local() {
            true => group.wait(self, limit).await,
            false => self.failing.ask(limit, group.wait(self, limit)).await,
        };
        let ruling = match waited {
            Ok((decision, held, places)) => {
                self.admit(group, decision, Granted::new(Some(held)).keep(places), since.elapsed())
            }
            // The store says what is so now, and how long it will be.
            Err(Error::WaitTooLong { .. } | Error::TimedOut { .. } | Error::QueueFull { .. }) => {
                self.rule_group(group).await
            }
            Err(error) => self.conclude(group, Err(error), Vec::new()),
        };
        self.pass_shadows(ruling, &question).await
    }

    async fn pass_shadows(&self, mut ruling: Ruling, question: &Question<S>) -> Ruling {
        if let Ruling::Pass(pass) = &mut ruling {
            for shadow in &question.shadows {
                let mut places = Vec::new();
                let decided = self.ask(shadow, &mut places).await;
                self.pass_shadow(pass, shadow, decided, places);
            }
        }
        ruling
    }

    /// Tells what a shadow would have made of a request, and keeps what it took of one that it would have admitted: its
    /// rules for outcomes count as in earnest.
    fn pass_shadow(&self, pass: &mut Pass, shadow: &Group<S>, decided: Result<Decision, Error>, places: Vec<Place>) {
        let verdict = self.tell_shadow(shadow, decided);
        pass.held.beside(self.held_in_shadow(shadow, verdict.as_ref(), places));
    }

    /// What a shadow took of a request that it would have admitted.
    fn held_in_shadow(&self, group: &Group<S>, verdict: Option<&Verdict>, places: Vec<Place>) -> Granted {
        match verdict.filter(|verdict| verdict.allowed()) {
            Some(verdict) => Granted::new(group.held(self, verdict.decision())).keep(places),
            None => Granted::default(),
        }
    }

    /// The decision of a store in this process; `places` are those taken for it, whatever it is.
    fn decide_now(&self, group: &Group<S>, places: &mut Vec<Place>) -> Result<Decision, Error> {
        group.enter(self, places)?;
        group.decide_now(self)
    }

    /// The decision of a store, unless it fails; `places` are those taken for it, whatever it is.
    async fn ask(&self, group: &Group<S>, places: &mut Vec<Place>) -> Result<Decision, Error> {
        group.enter(self, places)?;
        match self.is_local() {
            true => group.decide(self).await,
            false => self.failing.ask(Duration::ZERO, group.decide(self)).await,
        }
    }

    /// Whether requests wait instead of being refused.
    pub(crate) fn waits(&self) -> bool {
        self.wait.is_some() && !self.is_shadow
    }

    fn may_wait(&self, decided: &Result<Decision, Error>) -> bool {
        let most = self.wait.filter(|_| self.waits());
        match decided {
            Ok(decision) if decision.allowed() => false,
            Ok(denial) => denial.retry_after().is_some_and(|wait| most.is_some_and(|most| wait <= most)),
            Err(error) => most.is_some() && matches!(error, Error::TooManyAtOnce { .. }),
        }
    }

    /// What follows from a decision, or from there being none.
    fn conclude(&self, group: &Group<S>, decided: Result<Decision, Error>, places: Vec<Place>) -> Ruling {
        if self.is_shadow {
            let verdict = self.tell_shadow(group, decided);
            let held = self.held_in_shadow(group, verdict.as_ref(), places);
            return Ruling::Pass(Pass { verdict, is_told: false, held });
        }
        match decided {
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

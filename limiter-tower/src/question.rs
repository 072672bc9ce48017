//! Which policies a request is put to, and the decision over them.

use crate::{KeyError, announced::Announced, layer::Settings, verdict::Verdict};
use http::request::Parts;
use limiter_core::{All, Ask, Decision, Error, KeyBuf, Limiter, Store};
use smallvec::SmallVec;
use std::sync::Arc;

/// The policies that take part in a request, each with key and cost.
pub(crate) struct Question<S: Store> {
    asked: Asked<S>,
    parts: SmallVec<[Arc<Announced>; 1]>,
}

enum Asked<S: Store> {
    /// One alone needs no decision over several keys.
    One(Part),
    Several(Box<All<S>>),
}

/// The policy at `place` among the layer's.
struct Part {
    place: usize,
    key: KeyBuf,
    cost: u64,
}

/// Why there is no decision over these policies.
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) parts: SmallVec<[Arc<Announced>; 1]>,
}

impl<S: Store> Question<S> {
    /// `None` where no policy takes part.
    pub(crate) fn new(settings: &Settings<S>, head: &Parts) -> Result<Option<Self>, KeyError> {
        let mut taking_part: SmallVec<[Part; 1]> = SmallVec::new();
        for (place, listed) in settings.policies.iter().enumerate() {
            let policy = &listed.policy;
            if policy.when.as_ref().is_some_and(|is_for| !is_for(head)) {
                continue;
            }
            let Some(key) = policy.key.key(head)? else { continue };
            let cost = policy.cost.as_ref().map_or(1, |cost| cost(head));
            taking_part.push(Part { place, key, cost });
        }
        let announced = |part: &Part| {
            let listed = &settings.policies[part.place];
            listed.policy.limiter.with_quota_of(&part.key, |quota| listed.announced.of(quota))
        };
        let parts = taking_part.iter().map(announced).collect();
        if taking_part.len() > 1 {
            let asks = taking_part.iter().map(|part| part.ask(settings));
            return Ok(Some(Self { asked: Asked::Several(Box::new(Limiter::all(asks))), parts }));
        }
        Ok(taking_part.pop().map(|part| Self { asked: Asked::One(part), parts }))
    }

    /// The decision of a store in this process.
    pub(crate) fn decide_now(self, settings: &Settings<S>) -> Result<Verdict, Failure> {
        // Neither call ever blocks there.
        let decision = match &self.asked {
            Asked::One(part) => settings.limiter(part).blocking().check_n(&part.key, part.cost),
            Asked::Several(all) => all.blocking().check(),
        };
        self.verdict(decision)
    }

    /// The decision of any store.
    pub(crate) async fn decide(self, settings: &Settings<S>) -> Result<Verdict, Failure> {
        let decision = match &self.asked {
            Asked::One(part) => settings.limiter(part).check_n_async(&part.key, part.cost).await,
            Asked::Several(all) => all.check_async().await,
        };
        self.verdict(decision)
    }

    fn verdict(self, decision: Result<Decision, Error>) -> Result<Verdict, Failure> {
        match decision {
            Ok(decision) => Ok(Verdict::new(decision, self.parts)),
            Err(error) => Err(Failure { error, parts: self.parts }),
        }
    }
}

impl Part {
    fn ask<S: Store>(&self, settings: &Settings<S>) -> Ask<S> {
        settings.limiter(self).on(&self.key).cost(self.cost)
    }
}

impl<S: Store> Settings<S> {
    fn limiter(&self, part: &Part) -> &Limiter<S> {
        &self.policies[part.place].policy.limiter
    }
}

//! Which policies a request is put to, and the decision over them.

use super::{Settings, Verdict};
use crate::{
    KeyError,
    events::{Event, Outcome},
    policies::Announced,
    settle::{Held, Permits, Rules},
};
use http::request::Parts;
use limiter_core::{All, Decision, Error, KeyBuf, Limiter, Permit, Place, Store};
use smallvec::SmallVec;
use std::{sync::Arc, time::Duration};

/// The policies that take part in a request.
pub(crate) struct Question<S: Store> {
    /// Those that can refuse it; `None` where there is none.
    pub(crate) group: Option<Group<S>>,
    /// Those that only look on, each by itself.
    pub(crate) shadows: Vec<Group<S>>,
}

/// Policies that are decided together, each with key and cost.
pub(crate) struct Group<S: Store> {
    parts: SmallVec<[Part; 1]>,
    /// The decision over all of them; a single one needs it only where its units may be given back.
    all: Option<Box<All<S>>>,
}

/// The policy at `place` among the layer's.
struct Part {
    place: usize,
    key: KeyBuf,
    cost: u64,
}

impl<S: Store> Question<S> {
    pub(crate) fn new(settings: &Settings<S>, head: &Parts) -> Result<Self, KeyError> {
        let mut together: SmallVec<[Part; 1]> = SmallVec::new();
        let mut shadows = Vec::new();
        for (place, listed) in settings.policies.iter().enumerate() {
            let policy = &listed.policy;
            if policy.when.as_ref().is_some_and(|is_for| !is_for(head)) {
                continue;
            }
            let key = match policy.key.key(head) {
                Ok(Some(key)) => key,
                Ok(None) => continue,
                Err(_) if policy.is_shadow || settings.is_shadow => {
                    settings.tell(|| Event::plain(Outcome::NoKey));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let cost = policy.cost.as_ref().map_or(1, |cost| cost(head));
            let part = Part { place, key, cost };
            if policy.is_shadow {
                shadows.extend(Group::new(settings, SmallVec::from_buf([part])));
            } else {
                together.push(part);
            }
        }
        Ok(Self { group: Group::new(settings, together), shadows })
    }
}

impl<S: Store> Group<S> {
    fn new(settings: &Settings<S>, parts: SmallVec<[Part; 1]>) -> Option<Self> {
        if parts.is_empty() {
            return None;
        }
        let has_rules = |part: &Part| !settings.rules(part).is_empty();
        let all = (parts.len() > 1 || settings.waits() || parts.iter().any(has_rules)).then(|| {
            let ask = |part: &Part| settings.limiter(part).on(&part.key).cost(part.cost);
            Box::new(Limiter::all(parts.iter().map(ask)))
        });
        Some(Self { parts, all })
    }

    /// What clients are told of its policies: asked for once it is decided, as a quota can be changed while one waits.
    pub(crate) fn announced(&self, settings: &Settings<S>) -> SmallVec<[Arc<Announced>; 1]> {
        let announced = |part: &Part| {
            let listed = &settings.policies[part.place];
            listed.policy.limiter.with_quota_of(&part.key, |quota| listed.announced.of(quota))
        };
        match &*self.parts {
            [part] => SmallVec::from_buf([announced(part)]), // by far the most, and quicker so
            parts => parts.iter().map(announced).collect(),
        }
    }

    /// Takes a place of each policy's key, where its limiter bounds how many are at work at once.
    pub(crate) fn enter(&self, settings: &Settings<S>, places: &mut Vec<Place>) -> Result<(), Error> {
        for (at, part) in self.parts.iter().enumerate() {
            let limiter = settings.limiter(part);
            if part.cost > 0 && limiter.at_once().is_some() {
                let place = limiter.place(&part.key).map_err(|error| match error {
                    Error::TooManyAtOnce { most, .. } => Error::TooManyAtOnce { most, part: Some(at) },
                    other => other,
                });
                places.push(place?);
            }
        }
        Ok(())
    }

    /// The decision of a store in this process, where neither call ever blocks.
    pub(crate) fn decide_now(&self, settings: &Settings<S>) -> Result<Decision, Error> {
        match (&self.all, &*self.parts) {
            (None, [part]) => settings.limiter(part).blocking().check_n(&part.key, part.cost),
            (None, _) => Err(Error::NothingAsked),
            (Some(all), _) => all.blocking().check(),
        }
    }

    /// The decision of any store.
    pub(crate) async fn decide(&self, settings: &Settings<S>) -> Result<Decision, Error> {
        match (&self.all, &*self.parts) {
            (None, [part]) => settings.limiter(part).check_n_async(&part.key, part.cost).await,
            (None, _) => Err(Error::NothingAsked),
            (Some(all), _) => all.check_async().await,
        }
    }

    /// Waits for its turn, up to `limit`; the decision that let it in, what it took, and its places.
    pub(crate) async fn wait(
        &self,
        settings: &Settings<S>,
        limit: Duration,
    ) -> Result<(Decision, Box<dyn Held>, Vec<Place>), Error> {
        let mut permits = match (&self.all, &*self.parts) {
            // Only where nobody waits for several keys at once, whom it would overtake.
            (_, [part]) if settings.policies.len() == 1 => {
                vec![settings.limiter(part).acquire(&part.key).cost(part.cost).timeout(limit).await?]
            }
            (Some(all), _) => all.acquire().timeout(limit).await?,
            (None, _) => return Err(Error::NothingAsked),
        };
        let decision = permits.first().ok_or(Error::NothingAsked)?.decision().clone();
        let is_bounded = |part: &Part| settings.limiter(part).at_once().is_some();
        let bounded = permits.iter_mut().zip(&self.parts).filter(|(_, part)| is_bounded(part));
        let places = bounded.map(|(permit, _)| permit.take_place()).collect();
        Ok((decision, self.hold(settings, permits.into_iter().map(Some)), places))
    }

    /// The decision of this process's memory, in the place of a store that fails.
    pub(crate) fn decide_locally(&self, settings: &Settings<S>) -> Result<(Verdict, Option<Box<dyn Held>>), Error> {
        let local = |part: &Part| &settings.policies[part.place].local;
        let all = Limiter::all(self.parts.iter().map(|part| local(part).on(&part.key).cost(part.cost)));
        let decision = all.check()?;
        let announced = |part: &Part| {
            let by_quota = &settings.policies[part.place].announced;
            local(part).with_quota_of(&part.key, |quota| by_quota.of(quota))
        };
        let verdict = Verdict::new(decision, self.parts.iter().map(announced).collect());
        let has_rules = self.parts.iter().any(|part| !settings.rules(part).is_empty());
        let permits = || all.asks().iter().map(|ask| ask.permit(verdict.decision()));
        let held = (verdict.allowed() && has_rules).then(|| self.hold(settings, permits()));
        Ok((verdict, held))
    }

    /// What is to be put right once the response is there, or given back should the request never be passed on.
    pub(crate) fn held(&self, settings: &Settings<S>, decision: &Decision) -> Option<Box<dyn Held>> {
        let all = self.all.as_ref()?;
        let is_needed = settings.waits() || self.parts.iter().any(|part| !settings.rules(part).is_empty());
        is_needed.then(|| self.hold(settings, all.asks().iter().map(|ask| ask.permit(decision))))
    }

    fn hold<T: Store>(
        &self,
        settings: &Settings<S>,
        permits: impl Iterator<Item = Option<Permit<T>>>,
    ) -> Box<dyn Held> {
        let permits = self.parts.iter().zip(permits).enumerate();
        let permits =
            permits.filter_map(|(place, (part, permit))| Some((place, permit?, settings.rules(part).clone())));
        Box::new(Permits { permits: permits.collect(), budget: settings.failing.budget })
    }
}

impl<S: Store> Settings<S> {
    fn limiter(&self, part: &Part) -> &Limiter<S> {
        &self.policies[part.place].policy.limiter
    }

    fn rules(&self, part: &Part) -> &Rules {
        &self.policies[part.place].policy.rules
    }
}

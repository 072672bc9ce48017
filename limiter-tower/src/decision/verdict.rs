//! What was decided on a request, policy by policy.

use crate::{FieldSet, PolicyName, policies::Announced};
use http::Extensions;
use limiter_core::{Decision, http::PolicyState};
use smallvec::SmallVec;
use std::{fmt, ops::Deref, sync::Arc};

/// The decision on a request and the policies it was made on; in the extensions of each admitted request.
///
/// Where a layer let a request pass without a decision (it [skips](crate::RateLimitLayer::skip) it, no policy takes part
/// in it, or the store failed and that [is allowed](crate::StoreFailure::Allow)), it is
/// [unlimited](limiter_core::Decision::unlimited) and of no policy. Where several layers decided, it is the innermost one's.
///
/// It stands for its [`Decision`], which is over all policies that took part: what is left is the least over them.
/// [`policies`](Self::policies) has each policy's own. `Display` writes one line for logs.
///
/// ```
/// use http::{Request, Response};
/// use limiter_core::{Limiter, MemoryStore};
/// use limiter_tower::{Policy, PolicyName, RateLimitLayer, Verdict};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let second = Limiter::builder("5/s".parse()?).store(store.clone()).build();
/// let day = Limiter::builder("100/day".parse()?).store(store).build();
/// let layer = RateLimitLayer::new(Policy::new(PolicyName::new("pace")?, second))
///     .policy(Policy::new(PolicyName::new("daily")?, day))?;
///
/// let service = layer.layer(service_fn(|request: Request<()>| async move {
///     let verdict = request.extensions().get::<Verdict>().expect("a layer that limits");
///     assert_eq!(verdict.remaining(), 4); // over all
///     assert_eq!(verdict.policy("daily").expect("it took part").remaining(), 99);
///     Ok::<_, std::io::Error>(Response::new(verdict.to_string()))
/// }));
/// let line = service.oneshot(Request::new(())).await?.into_body();
/// assert!(line.starts_with("pace allowed: 4 of 5 left, reset after "), "{line}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Verdict {
    decision: Decision,
    /// The policies that took part, in the order of the decision's demands.
    parts: SmallVec<[Arc<Announced>; 1]>,
    /// What was left of some policies once the response was known, by place.
    settled: Vec<(usize, Decision)>,
}

impl Verdict {
    pub(crate) fn new(decision: Decision, parts: SmallVec<[Arc<Announced>; 1]>) -> Self {
        Self { decision, parts, settled: Vec::new() }
    }

    /// Leaves word that the request was let pass without a decision, unless a layer further out has decided on it.
    pub(crate) fn leave_unlimited(extensions: &mut Extensions) {
        extensions.get_or_insert_with(|| Self::new(Decision::unlimited(), SmallVec::new()));
    }

    /// The decision over all policies that took part.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The policies that took part, each with what was decided on it, as [`Decision::part`] tells it.
    pub fn policies(&self) -> impl Iterator<Item = (&PolicyName, Decision)> {
        self.parts.iter().enumerate().map(|(place, part)| (&part.name, self.decision.part(place)))
    }

    /// What was decided on the policy of that name; `None` where it took no part.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<Decision> {
        let place = self.parts.iter().position(|part| part.name.as_str() == name)?;
        Some(self.decision.part(place))
    }

    /// The names of the policies that denied; none where the request was admitted.
    pub fn violated(&self) -> impl Iterator<Item = &PolicyName> {
        self.decision.denied().filter_map(|place| self.parts.get(place)).map(|part| &part.name)
    }

    /// Whether responses have header fields of it.
    pub(crate) fn has_fields(&self) -> bool {
        self.parts.first().is_some_and(|part| part.fields != FieldSet::NONE)
    }

    pub(crate) fn parts(&self) -> &[Arc<Announced>] {
        &self.parts
    }

    /// Notes what is left of policies, by place, once the response was known.
    pub(crate) fn settled(&mut self, settled: Vec<(usize, Decision)>) {
        self.settled = settled;
    }

    /// The state of each rate of each policy that took part.
    pub(crate) fn states(&self) -> impl Iterator<Item = PolicyState<'_>> + Clone {
        self.parts.iter().enumerate().flat_map(|(place, part)| {
            let settled = self.settled.iter().find(|(settled, _)| *settled == place);
            let (decision, demand) = settled.map_or((&self.decision, place), |(_, decision)| (decision, 0));
            let rates = decision.rates().iter().filter(move |rate| rate.demand() == demand);
            let by_rates = rates.clone().any(|rate| !rate.retry_after().is_zero());
            let is_denied = !decision.allowed() && decision.denied().any(|denied| denied == demand);
            part.states(rates, if is_denied && !by_rates { decision.retry_after() } else { None })
        })
    }
}

impl Deref for Verdict {
    type Target = Decision;

    fn deref(&self) -> &Decision {
        &self.decision
    }
}

impl fmt::Display for Verdict {
    /// Of a denial the policies that denied; of an admission the one with the fewest units left.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_limited() {
            return self.decision.fmt(f);
        }
        let mut shown: SmallVec<[usize; 4]> =
            self.decision.denied().filter(|place| *place < self.parts.len()).collect();
        if shown.is_empty() {
            shown.extend(self.decision.tightest().map(limiter_core::RateState::demand));
        }
        for (nth, place) in shown.into_iter().enumerate() {
            let Some(part) = self.parts.get(place) else { continue };
            let separator = if nth > 0 { "; " } else { "" };
            write!(f, "{separator}{} {}", part.name, self.decision.part(place))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.parts.iter().map(|part| part.name.as_str());
        let names: SmallVec<[&str; 4]> = names.collect();
        f.debug_struct("Verdict").field("policies", &names).field("decision", &self.decision).finish()
    }
}

//! Before a request is sent.

use super::Ticket;
use crate::{
    Cost, Limits, MaxWait, PlanError, RateLimitError,
    engine::turn::Turn,
    plan::{Policy, authority},
    state::Host,
};
use http::Extensions;
use limiter_core::{Algorithm, KeyBuf, Quota, Store};
use reqwest::Request;
use std::sync::Arc;

/// Why a request is not sent.
#[derive(Debug)]
pub(crate) enum NotSent {
    Limited(RateLimitError),
    Misconfigured(PlanError),
}

impl<S: Store> Limits<S> {
    /// Waits until `request` may be sent; `None` where it is not limited. `extensions` may hold a [`MaxWait`] and a
    /// [`Cost`] for it.
    pub(crate) async fn ask(
        &self,
        request: &Request,
        extensions: &Extensions,
    ) -> Result<Option<Ticket<'_, S>>, NotSent> {
        if let Some(flaw) = self.plan().flaw() {
            return Err(NotSent::Misconfigured(flaw.clone()));
        }
        let Some(spot) = self.spot(request) else { return Ok(None) };
        let cost = extensions.get().map_or_else(|| self.cost_of(request), |Cost(cost)| *cost);
        let max_wait = extensions.get().map_or(self.longest_wait(), |MaxWait(limit)| *limit);
        let is_log = |quota: &Quota| quota.algorithm() == Algorithm::SlidingLog;
        let restamp = self.restamps().unwrap_or_else(|| spot.policy.limiter.with_quota_of(&spot.key, is_log));
        let line = self.learning_of(spot.policy).filter(|_| cost > 0).map(|learning| spot.host.line(learning));
        let turn = Turn { limits: self, spot, line, url: request.url().clone(), cost, max_wait, restamp };
        Ticket::first(turn).await.map(Some).map_err(NotSent::Limited)
    }
}

/// What a request is counted by, and what is known of that.
pub(super) struct Spot<'a, S: Store> {
    pub(super) policy: &'a Policy<S>,
    pub(super) key: KeyBuf,
    pub(super) host: Arc<Host>,
    /// The request's own host: others may be counted together with it.
    pub(super) name: String,
}

impl<S: Store> Limits<S> {
    /// Where `request` is counted, if it is limited.
    pub(super) fn spot(&self, request: &Request) -> Option<Spot<'_, S>> {
        let (policy, key) = self.plan().of(request);
        let (key, name) = (key?, authority(request.url()));
        let host = self.hosts().get(policy.id, &key, || Host::new(name.as_str()));
        Some(Spot { policy, key, host, name })
    }
}

//! Before a request is sent.

use super::Ticket;
use crate::{Cost, Limits, MaxWait, PlanError, RateLimitError, engine::turn::Turn, plan::authority, state::Host};
use http::Extensions;
use limiter_core::{Algorithm, Store};
use reqwest::Request;
use std::fmt;

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
        let (policy, Some(key)) = self.plan().of(request) else { return Ok(None) };
        let cost = extensions.get().map_or_else(|| self.cost_of(request), |Cost(cost)| *cost);
        let max_wait = extensions.get().map_or(self.longest_wait(), |MaxWait(limit)| *limit);
        let host = self.hosts().get(policy.id, &key, || Host::new(authority(request.url())));
        let is_log = || policy.limiter.with_quota_of(&key, |quota| quota.algorithm() == Algorithm::SlidingLog);
        let restamp = self.restamps().unwrap_or_else(is_log);
        // The host of this very request: others may be counted together with it.
        let name = authority(request.url());
        let line = self.learning_of(policy).filter(|_| cost > 0).map(|learning| host.line(learning));
        let turn = Turn { limits: self, policy, key, host, line, name, cost, max_wait, restamp };
        match Ticket::first(turn).await {
            Ok(ticket) => Ok(Some(ticket)),
            Err((name, reason)) => Err(NotSent::Limited(RateLimitError::new(name, reason))),
        }
    }
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited(error) => error.fmt(f),
            Self::Misconfigured(error) => error.fmt(f),
        }
    }
}

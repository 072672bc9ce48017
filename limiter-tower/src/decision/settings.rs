//! What decides on the requests of a layer: its policies, and what is set for all of them.

use super::Failing;
use crate::{
    Event, FieldSet, Policy,
    answer::Answers,
    policies::{AnnouncedByQuota, When},
};
use http::request::Parts;
use limiter_core::{Limiter, MemoryStore, Store};
use std::{fmt, sync::Arc, time::Duration};

/// What a layer and its services share.
#[derive(Clone)]
pub(crate) struct Settings<S: Store> {
    /// At least one.
    pub(crate) policies: Vec<Listed<S>>,
    pub(crate) fields: FieldSet,
    pub(crate) answers: Arc<Answers>,
    pub(crate) block: Vec<Arc<When>>,
    pub(crate) skip: Vec<Arc<When>>,
    pub(crate) is_shadow: bool,
    pub(crate) wait: Option<Duration>,
    pub(crate) hook: Option<Arc<Hook>>,
    pub(crate) failing: Arc<Failing>,
    /// Where policies are counted while the store fails.
    pub(crate) local: MemoryStore,
}

pub(crate) type Hook = dyn Fn(&Event<'_>) + Send + Sync;

/// A policy of the layer, and what clients are told of it.
pub(crate) struct Listed<S: Store> {
    pub(crate) policy: Policy<S>,
    pub(crate) announced: Arc<AnnouncedByQuota>,
    /// Its limiter while the store fails.
    pub(crate) local: Limiter,
}

impl<S: Store> Listed<S> {
    pub(crate) fn new(policy: Policy<S>, fields: FieldSet, local: &MemoryStore) -> Self {
        let (announced, local) = (policy.announced(fields), policy.local(local));
        Self { policy, announced, local }
    }
}

impl<S: Store> Settings<S> {
    /// Whether decisions are plain calls. All policies share one store.
    pub(crate) fn is_local(&self) -> bool {
        self.policies.first().is_some_and(|listed| listed.policy.limiter.store().is_local())
    }

    pub(crate) fn is_blocked(&self, request: &Parts) -> bool {
        self.block.iter().any(|is_refused| is_refused(request))
    }

    pub(crate) fn is_skipped(&self, request: &Parts) -> bool {
        self.skip.iter().any(|is_free| is_free(request))
    }
}

impl<S: Store> Clone for Listed<S> {
    fn clone(&self) -> Self {
        Self { policy: self.policy.clone(), announced: Arc::clone(&self.announced), local: self.local.clone() }
    }
}

impl<S: Store> fmt::Debug for Settings<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policies: Vec<&Policy<S>> = self.policies.iter().map(|listed| &listed.policy).collect();
        f.debug_struct("Settings")
            .field("policies", &policies)
            .field("fields", &self.fields)
            .field("answers", &self.answers)
            .field("is_shadow", &self.is_shadow)
            .finish_non_exhaustive()
    }
}

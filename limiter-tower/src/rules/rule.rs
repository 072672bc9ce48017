//! What rules say, once they are understood.

use super::{named::Named, request::RequestRule, status::StatusRule};
use crate::{
    Breaker, ClientAddr, CookieKey, FieldSet, Format, Global, HeaderKey, KeyError, KeyExtractor, MethodKey, Policy,
    PolicyName, QueryKey, RateLimitLayer, StoreFailure, TrustedProxies, policies::same_name,
};
use http::{HeaderName, request::Parts, response};
use limiter_core::{KeyBuf, Limiter, MemoryStore, Quota, Store};
use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

/// Rules that were read and found right; made by a [`RulesReader`](crate::RulesReader), put in force by a
/// [`RulesLayer`](crate::RulesLayer).
///
/// Printed, they are the policies as they were understood. Equal rules say the same, whatever the format.
///
/// ```
/// use limiter_tower::{RulesFormat, RulesReader};
///
/// # fn main() -> Result<(), limiter_tower::RulesError> {
/// let text = r#"policy = [{ name = "api", quota = "100 per minute", key = "header:x-api-key" }]"#;
/// let rules = RulesReader::new().parse(text, RulesFormat::Toml)?;
/// assert_eq!(rules.to_string(), "policy api: 100/min by header:x-api-key (requests without it share one)\n");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Rules {
    pub(super) said: Said,
    pub(super) named: Arc<Named>,
    /// Where they came from, and the text.
    pub(super) source: Option<(PathBuf, Arc<str>)>,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Said {
    pub(super) layer: LayerRule,
    pub(super) policies: Vec<PolicyRule>,
}

/// What is said of all policies.
#[derive(Clone, Default, PartialEq, Debug)]
pub(super) struct LayerRule {
    pub(super) fields: Option<FieldSet>,
    pub(super) on_denials_only: bool,
    pub(super) answer: Option<Format>,
    pub(super) retry_jitter: Option<Duration>,
    pub(super) is_shadow: bool,
    pub(super) wait_up_to: Option<Duration>,
    pub(super) on_store_failure: Option<StoreFailure>,
    pub(super) time_budget: Option<Duration>,
    pub(super) breaker: Option<Breaker>,
    pub(super) skip: Vec<RequestRule>,
    pub(super) block: Vec<RequestRule>,
    pub(super) proxies: Option<TrustedProxies>,
    pub(super) ipv6_prefix_bits: Option<u8>,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct PolicyRule {
    pub(super) name: PolicyName,
    pub(super) quota: Quota,
    /// Quotas of single keys, or of all keys whose first member it is.
    pub(super) plans: BTreeMap<String, Quota>,
    pub(super) key: Vec<KeyPart>,
    pub(super) missing: Missing,
    pub(super) cost: u64,
    pub(super) when: Option<RequestRule>,
    pub(super) refund_on: Vec<StatusRule>,
    pub(super) charge_only_on: Vec<StatusRule>,
    pub(super) local_quota: Option<Quota>,
    pub(super) is_shadow: bool,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum KeyPart {
    Global,
    Method,
    Header(HeaderName),
    Cookie(String),
    Query(String),
    Peer,
    Client,
    Named(String),
}

/// What becomes of requests without the value that a key is made of.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) enum Missing {
    #[default]
    Shared,
    Optional,
    Required,
}

impl Rules {
    /// The names of the policies, in their order.
    pub fn policy_names(&self) -> impl Iterator<Item = &PolicyName> {
        self.said.policies.iter().map(|policy| &policy.name)
    }

    /// The layer that they describe, over limiters of the policies' quotas.
    pub(super) fn layer<S: Store>(
        &self,
        mut limiter: impl FnMut(&PolicyRule) -> Limiter<S>,
        local: MemoryStore,
    ) -> RateLimitLayer<S> {
        let policies = self.said.policies.iter().map(|rule| self.policy(rule, limiter(rule)));
        self.said.layer.set(RateLimitLayer::of(policies, local))
    }

    fn policy<S: Store>(&self, rule: &PolicyRule, limiter: Limiter<S>) -> Policy<S> {
        let mut policy = Policy::new(rule.name.clone(), limiter);
        policy.key = self.key(rule);
        if rule.cost != 1 {
            let cost = rule.cost;
            policy = policy.cost(move |_| cost);
        }
        if let Some(when) = rule.when.clone() {
            policy = policy.when(move |request| when.matches(request));
        }
        let of_status = |rules: &Vec<StatusRule>| {
            let rules = rules.clone();
            move |response: &response::Parts| rules.iter().any(|rule| rule.matches(response.status))
        };
        if !rule.refund_on.is_empty() {
            policy = policy.refund_if(of_status(&rule.refund_on));
        }
        if !rule.charge_only_on.is_empty() {
            policy = policy.charge_only_if(of_status(&rule.charge_only_on));
        }
        if let Some(quota) = rule.local_quota.clone() {
            policy = policy.local_quota(quota);
        }
        if rule.is_shadow { policy.shadow() } else { policy }
    }

    fn key(&self, rule: &PolicyRule) -> Arc<dyn KeyExtractor> {
        let mut parts: Vec<_> = rule.key.iter().map(|part| self.key_part(part, rule.missing)).collect();
        match parts.len() {
            0 => Arc::new(Global),
            1 => parts.remove(0),
            _ => Arc::new(Joined(parts)),
        }
    }

    fn key_part(&self, part: &KeyPart, missing: Missing) -> Arc<dyn KeyExtractor> {
        macro_rules! or_missing {
            ($key:expr) => {
                match missing {
                    Missing::Shared => Arc::new($key),
                    Missing::Optional => Arc::new($key.optional()),
                    Missing::Required => Arc::new($key.required()),
                }
            };
        }
        match part {
            KeyPart::Global => Arc::new(Global),
            KeyPart::Method => Arc::new(MethodKey),
            KeyPart::Header(name) => or_missing!(HeaderKey::new(name.clone())),
            KeyPart::Cookie(name) => or_missing!(CookieKey::new(name.clone())),
            KeyPart::Query(name) => or_missing!(QueryKey::new(name.clone())),
            KeyPart::Peer => self.address(None),
            KeyPart::Client => self.address(self.said.layer.proxies.clone()),
            // A name that is not known is a mistake of the rules, and never comes here.
            KeyPart::Named(name) => self.named.keys.get(name).map_or_else(|| unknown(name), Arc::clone),
        }
    }

    fn address(&self, proxies: Option<TrustedProxies>) -> Arc<dyn KeyExtractor> {
        let Some(address) = self.named.peer.clone() else { return unknown("peer") };
        let grouped = match self.said.layer.ipv6_prefix_bits {
            Some(bits) => address.ipv6_prefix(bits),
            None => address,
        };
        Arc::new(proxies.into_iter().fold(grouped, ClientAddr::behind))
    }
}

impl PolicyRule {
    /// Whether keys are several values, each behind its length.
    pub(super) fn has_members(&self) -> bool {
        self.key.len() > 1
    }

    /// A name that clients would be told both this one and `other` by, if there is one.
    pub(super) fn same_name(&self, other: &Self) -> Option<PolicyName> {
        let is_told = !self.is_shadow && !other.is_shadow;
        same_name((&self.name, &self.quotas()), (&other.name, &other.quotas())).filter(|_| is_told)
    }

    fn quotas(&self) -> Vec<&Quota> {
        std::iter::once(&self.quota).chain(self.plans.values()).chain(&self.local_quota).collect()
    }
}

impl LayerRule {
    fn set<S: Store>(&self, mut layer: RateLimitLayer<S>) -> RateLimitLayer<S> {
        if let Some(fields) = self.fields {
            layer = layer.fields(fields);
        }
        if self.on_denials_only {
            layer = layer.fields_on_denials_only();
        }
        if let Some(format) = self.answer {
            layer = layer.answer(format);
        }
        if let Some(most) = self.retry_jitter {
            layer = layer.retry_jitter(most);
        }
        if self.is_shadow {
            layer = layer.shadow();
        }
        if let Some(limit) = self.wait_up_to {
            layer = layer.wait_up_to(limit);
        }
        if let Some(then) = self.on_store_failure {
            layer = layer.on_store_failure(then);
        }
        if let Some(most) = self.time_budget {
            layer = layer.time_budget(most);
        }
        if let Some(breaker) = self.breaker {
            layer = layer.breaker(breaker);
        }
        let any = |rules: &Vec<RequestRule>| {
            let rules = rules.clone();
            move |request: &Parts| rules.iter().any(|rule| rule.matches(request))
        };
        if !self.skip.is_empty() {
            layer = layer.skip(any(&self.skip));
        }
        if !self.block.is_empty() {
            layer = layer.block(any(&self.block));
        }
        layer
    }
}

impl fmt::Debug for Rules {
    /// The names of the policies only: plans can go by credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.policy_names().map(PolicyName::as_str).collect();
        f.debug_struct("Rules").field("policies", &names).finish_non_exhaustive()
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.said == other.said
    }
}

/// Keys one behind the other, as in a tuple.
struct Joined(Vec<Arc<dyn KeyExtractor>>);

impl KeyExtractor for Joined {
    fn key(&self, request: &Parts) -> Result<Option<KeyBuf>, KeyError> {
        let mut joined = KeyBuf::new();
        for part in &self.0 {
            match part.key(request)? {
                Some(key) => joined.push_part(&key),
                None => return Ok(None),
            }
        }
        Ok(Some(joined))
    }
}

/// Refuses with 500, so that nothing is ever unlimited for a key that is not there.
fn unknown(name: &str) -> Arc<dyn KeyExtractor> {
    let error = KeyError::new(format!("the key {name:?} of the rules is not known here"));
    Arc::new(move |_: &Parts| Err::<&str, _>(error.clone()))
}

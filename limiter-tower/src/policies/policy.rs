//! A policy of a layer: a quota with a name, a key, a cost, and the requests it is for.

use super::announced::{AnnouncedByQuota, same_name};
use crate::{
    FieldSet, PolicyName,
    key::{Global, KeyExtractor},
    settle::Rules,
};
use http::{request::Parts, response};
use limiter_core::{Limiter, MemoryStore, Quota, Store};
use std::{fmt, sync::Arc};

/// A limiter with a name, a key, a cost and the requests it is for: one of the policies of a
/// [`RateLimitLayer`](crate::RateLimitLayer).
///
/// A layer's policies are decided together, all or nothing: what one of them denies takes nothing from the others.
///
/// ```
/// use http::request::Parts;
/// use limiter_core::{Limiter, MemoryStore};
/// use limiter_tower::{ExtensionKey, Policy, PolicyName, RateLimitLayer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let limiter = |name: &str, quota: &str| -> Result<Limiter, limiter_core::QuotaError> {
///     Ok(Limiter::builder(quota.parse()?).name(name).store(store.clone()).build())
/// };
/// let by_user = Policy::new(PolicyName::new("user")?, limiter("user", "10/s, 1000/h")?)
///     .key(ExtensionKey::<u64>::new()); // whom a layer further out has signed in
/// let exports = Policy::new(PolicyName::new("exports")?, limiter("exports", "2/min")?)
///     .when(|request| request.uri.path().starts_with("/export"));
/// let layer = RateLimitLayer::new(by_user).policy(exports)?;
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[must_use = "a policy limits nothing until a layer has it"]
pub struct Policy<S: Store = MemoryStore> {
    pub(crate) name: PolicyName,
    pub(crate) limiter: Limiter<S>,
    pub(crate) key: Arc<dyn KeyExtractor>,
    pub(crate) cost: Option<Arc<Cost>>,
    pub(crate) when: Option<Arc<When>>,
    pub(crate) rules: Rules,
    pub(crate) is_shadow: bool,
    local_quota: Option<Quota>,
}

pub(crate) type Cost = dyn Fn(&Parts) -> u64 + Send + Sync;
pub(crate) type When = dyn Fn(&Parts) -> bool + Send + Sync;

impl<S: Store> Policy<S> {
    /// All requests together under the limiter's quota, each of them one unit, until the other settings say otherwise.
    ///
    /// The name is what clients are told; the limiter's own name is that of its states in the store. Where it bounds how
    /// many are at work [at once](limiter_core::LimiterBuilder::at_once), a request of a key is from its admission until its
    /// response's head is there, or its body has ended with `whole_responses` (feature `body`), or it is dropped. One more
    /// waits, with [`wait_up_to`](crate::RateLimitLayer::wait_up_to), or is refused with 429. In a shadow policy that counts
    /// as a denial.
    pub fn new(name: PolicyName, limiter: Limiter<S>) -> Self {
        Self {
            name,
            limiter,
            key: Arc::new(Global),
            cost: None,
            when: None,
            rules: Rules::default(),
            is_shadow: false,
            local_quota: None,
        }
    }

    /// Limits each key on its own: a closure over the request's head, or a ready-made extractor. In a request without
    /// a key the policy takes no part.
    ///
    /// With [`Limiter::by_key`] and [`Limiter::by_table`] the key decides on the quota too, by plan or by route:
    ///
    /// ```
    /// use http::request::Parts;
    /// use limiter_core::Limiter;
    /// use limiter_tower::{Policy, PolicyName};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// /// Put into the extensions by the layer that checks credentials.
    /// #[derive(Clone)]
    /// struct Tenant(String);
    ///
    /// let quotas = [("acme", "1000/min".parse()?), ("globex", "5000/min".parse()?)];
    /// let plans = Limiter::by_table("10/min".parse()?, quotas).build();
    /// let policy = Policy::new(PolicyName::new("plan")?, plans)
    ///     .key(|request: &Parts| request.extensions.get::<Tenant>().map(|tenant| tenant.0.clone()));
    /// # let _ = policy;
    /// # Ok(())
    /// # }
    /// ```
    pub fn key(self, key: impl KeyExtractor) -> Self {
        Self { key: Arc::new(key), ..self }
    }

    /// What a request takes, in the quota's units; 1 by default. 0 looks only: it is admitted, and told what is left.
    ///
    /// A cost above the quota's capacity is answered with 413.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::{Policy, PolicyName};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let policy = Policy::new(PolicyName::new("writes")?, Limiter::parse("100/min")?)
    ///     .cost(|request| if request.method == http::Method::POST { 10 } else { 1 });
    /// # let _ = policy;
    /// # Ok(())
    /// # }
    /// ```
    pub fn cost(self, cost: impl Fn(&Parts) -> u64 + Send + Sync + 'static) -> Self {
        Self { cost: Some(Arc::new(cost)), ..self }
    }

    /// The requests that the policy is for; all of them by default. In others it takes no part, and its key is not
    /// asked for.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::{Policy, PolicyName};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let policy = Policy::new(PolicyName::new("search")?, Limiter::parse("5/s")?)
    ///     .when(|request| request.uri.path() == "/search");
    /// # let _ = policy;
    /// # Ok(())
    /// # }
    /// ```
    pub fn when(self, is_for: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self { when: Some(Arc::new(is_for)), ..self }
    }

    /// Corrects what a request took to what it really cost, as its response tells: a number of units, or `None` where
    /// the response does not say. [`TrueCost::of`](crate::TrueCost::of) reads what a handler noted.
    ///
    /// [`cost`](Self::cost) is then an estimate, which the request must have at hand to be let in; 0 lets everybody in.
    /// What is more is charged without asking, into at most one quota of debt; what is less comes back, as far as the
    /// take still holds it. The store has done so before the response is handed on: a client that goes on at once finds
    /// it done, and the response's fields say what is left then. An error of the inner service counts as a response of
    /// status 500. A request whose response nobody awaits any more stays charged as it was taken, and so does one whose
    /// store fails then. For what only the body's bytes tell, there is `RateLimitLayer::whole_responses` (feature `body`).
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::{Policy, PolicyName, TrueCost};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tokens = Policy::new(PolicyName::new("tokens")?, Limiter::parse("100000/min")?)
    ///     .cost(|_| 1000) // what an answer takes about
    ///     .true_cost(TrueCost::of);
    /// let bytes = Policy::new(PolicyName::new("bytes")?, Limiter::parse("1000000/min")?)
    ///     .true_cost(|response| response.headers.get("content-length")?.to_str().ok()?.parse().ok());
    /// # let _ = (tokens, bytes);
    /// # Ok(())
    /// # }
    /// ```
    pub fn true_cost(mut self, cost: impl Fn(&response::Parts) -> Option<u64> + Send + Sync + 'static) -> Self {
        self.rules.true_cost = Some(Arc::new(cost));
        self
    }

    /// Gives back what a request took where its response is of this kind; see [`true_cost`](Self::true_cost) for when
    /// and how. Where several such rules are set, each of them gives back.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::{Policy, PolicyName};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // What the cache answers costs nothing.
    /// let policy = Policy::new(PolicyName::new("misses")?, Limiter::parse("100/min")?)
    ///     .refund_if(|response| response.headers.contains_key("age"));
    /// # let _ = policy;
    /// # Ok(())
    /// # }
    /// ```
    pub fn refund_if(mut self, is_free: impl Fn(&response::Parts) -> bool + Send + Sync + 'static) -> Self {
        self.rules.refund_if(is_free);
        self
    }

    /// Gives back what a request took where its answer is a server's error (5xx) or the inner service fails: clients do
    /// not pay for the server's faults. See [`refund_if`](Self::refund_if).
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::{Policy, PolicyName};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let policy = Policy::new(PolicyName::new("api")?, Limiter::parse("100/min")?).refund_server_errors();
    /// # let _ = policy;
    /// # Ok(())
    /// # }
    /// ```
    pub fn refund_server_errors(self) -> Self {
        self.refund_if(|response| response.status.is_server_error())
    }

    /// Charges a request only where its response is of this kind: log-in protection counts failures only.
    ///
    /// Units are taken before the request passes and given back after, so that as many attempts at once as the quota has
    /// units are let through, whatever their number; see [`true_cost`](Self::true_cost) for when and how.
    ///
    /// ```
    /// use http::StatusCode;
    /// use limiter_core::Limiter;
    /// use limiter_tower::{Policy, PolicyName};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let failures = Policy::new(PolicyName::new("log-in")?, Limiter::parse("5/15min")?)
    ///     .charge_only_if(|response| response.status == StatusCode::UNAUTHORIZED);
    /// # let _ = failures;
    /// # Ok(())
    /// # }
    /// ```
    pub fn charge_only_if(self, is_charged: impl Fn(&response::Parts) -> bool + Send + Sync + 'static) -> Self {
        self.refund_if(move |response| !is_charged(response))
    }

    /// Decides, counts and tells the layer's hook, but never refuses, and is not told to clients: to try a limit out.
    ///
    /// It is asked by itself, in a step of its own, once all other policies have let the request in, and settles by its
    /// rules for outcomes as it would in earnest. A key that cannot be had refuses nobody either. See also
    /// [`RateLimitLayer::shadow`](crate::RateLimitLayer::shadow).
    ///
    /// ```
    /// use limiter_core::{Limiter, MemoryStore};
    /// use limiter_tower::{Outcome, Policy, PolicyName, RateLimitLayer};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let now = Limiter::builder("100/s".parse()?).store(store.clone()).build();
    /// let planned = Limiter::builder("50/s".parse()?).store(store).build();
    /// let layer = RateLimitLayer::new(now)
    ///     .policy(Policy::new(PolicyName::new("planned")?, planned).shadow())?
    ///     .on_decision(|event| {
    ///         if event.outcome() == Outcome::WouldDeny {
    ///             eprintln!("{event}");
    ///         }
    ///     });
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn shadow(self) -> Self {
        Self { is_shadow: true, ..self }
    }

    /// The policy's name, as clients are told it.
    #[must_use]
    pub fn name(&self) -> &PolicyName {
        &self.name
    }

    /// The limiter.
    #[must_use]
    pub fn limiter(&self) -> &Limiter<S> {
        &self.limiter
    }

    /// The quota of each key in this process while the store fails, for
    /// [`StoreFailure::DecideLocally`](crate::StoreFailure::DecideLocally): the limiter's own by default. Of n processes
    /// each lets that in; an n-th of the quota each keeps all of them within it.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use limiter_tower::{Policy, PolicyName};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let policy = Policy::new(PolicyName::new("api")?, Limiter::parse("100/s")?).local_quota("25/s".parse()?);
    /// # let _ = policy;
    /// # Ok(())
    /// # }
    /// ```
    pub fn local_quota(self, quota: Quota) -> Self {
        Self { local_quota: Some(quota), ..self }
    }

    /// Its limiter while the store fails.
    pub(crate) fn local(&self, store: &MemoryStore) -> Limiter {
        let builder = match &self.local_quota {
            Some(quota) => Limiter::builder(quota.clone()),
            None => {
                let limiter = self.limiter.clone(); // whose quota may change
                Limiter::by_key(move |key| limiter.quota_of(key))
            }
        };
        builder.name(self.limiter.name()).store(store.clone()).build()
    }

    /// A name that clients would be told both this one and `other` by, under the quotas that are known.
    pub(super) fn same_name(&self, other: &Self) -> Option<PolicyName> {
        let quotas = |policy: &Self| [policy.limiter.quota(), policy.local_quota.clone()];
        let (own, others) = (quotas(self), quotas(other));
        let [own, others] = [&own, &others].map(|quotas| quotas.iter().flatten().collect::<Vec<_>>());
        let is_told = !self.is_shadow && !other.is_shadow;
        same_name((&self.name, &own), (&other.name, &others)).filter(|_| is_told)
    }

    /// Whether clients can tell it from all of `those`.
    pub(crate) fn is_told_from<'a>(&self, mut those: impl Iterator<Item = &'a Self>) -> bool {
        those.all(|other| other.name != self.name && other.same_name(self).is_none())
    }

    pub(crate) fn named(self, name: PolicyName) -> Self {
        Self { name, ..self }
    }

    pub(crate) fn announced(&self, fields: FieldSet) -> Arc<AnnouncedByQuota> {
        Arc::new(AnnouncedByQuota::new(self.name.clone(), fields, self.limiter.quota().as_ref()))
    }
}

impl<S: Store> From<Limiter<S>> for Policy<S> {
    /// A policy of the name `default`.
    fn from(limiter: Limiter<S>) -> Self {
        Self::new(PolicyName::default(), limiter)
    }
}

impl<S: Store> Clone for Policy<S> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            limiter: self.limiter.clone(),
            key: Arc::clone(&self.key),
            cost: self.cost.clone(),
            when: self.when.clone(),
            rules: self.rules.clone(),
            is_shadow: self.is_shadow,
            local_quota: self.local_quota.clone(),
        }
    }
}

impl<S: Store> fmt::Debug for Policy<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("name", &self.name).field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

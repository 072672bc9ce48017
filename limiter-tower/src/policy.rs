//! A policy of a layer: a quota with a name, a key, a cost, and the requests it is for.

use crate::{
    FieldSet, PolicyName,
    announced::AnnouncedByQuota,
    key::{Global, KeyExtractor},
};
use http::request::Parts;
use limiter_core::{Limiter, MemoryStore, Store};
use std::{error::Error, fmt, sync::Arc};

/// A limiter with a name, a key, a cost and the requests it is for: one of the policies of a
/// [`RateLimitLayer`](crate::RateLimitLayer).
///
/// A layer's policies are decided together, all or nothing: what one of them denies takes nothing from the others.
///
/// ```
/// use http::request::Parts;
/// use limiter_core::{Limiter, MemoryStore};
/// use limiter_tower::{HeaderKey, Policy, PolicyName, RateLimitLayer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let limiter = |name: &str, quota: &str| -> Result<Limiter, limiter_core::QuotaError> {
///     Ok(Limiter::builder(quota.parse()?).name(name).store(store.clone()).build())
/// };
/// let by_user = Policy::new(PolicyName::new("user")?, limiter("user", "10/s, 1000/h")?)
///     .key(HeaderKey::new(http::header::AUTHORIZATION));
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
}

pub(crate) type Cost = dyn Fn(&Parts) -> u64 + Send + Sync;
pub(crate) type When = dyn Fn(&Parts) -> bool + Send + Sync;

impl<S: Store> Policy<S> {
    /// All requests together under the limiter's quota, each of them one unit, until the other settings say otherwise.
    ///
    /// The name is what clients are told; the limiter's own name is that of its states in the store.
    pub fn new(name: PolicyName, limiter: Limiter<S>) -> Self {
        Self { name, limiter, key: Arc::new(Global), cost: None, when: None }
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
    /// let quotas = [("free", "10/min".parse()?), ("pro", "1000/min".parse()?)];
    /// let plans = Limiter::by_table("1/min".parse()?, quotas).build();
    /// let policy = Policy::new(PolicyName::new("plan")?, plans)
    ///     .key(|request: &Parts| request.headers.get("x-plan").cloned());
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
        }
    }
}

impl<S: Store> fmt::Debug for Policy<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("name", &self.name).field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

/// Why a policy cannot be one of a layer's.
///
/// ```
/// use limiter_core::Limiter;
/// use limiter_tower::{Policy, PolicyName, RateLimitLayer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (second, day) = (Limiter::parse("5/s")?, Limiter::parse("100/day")?);
/// let layer = RateLimitLayer::new(Policy::new(PolicyName::new("pace")?, second));
/// let refused = layer.policy(Policy::new(PolicyName::new("daily")?, day)).unwrap_err();
/// assert_eq!(
///     refused.to_string(),
///     "policies \"pace\" and \"daily\" have different stores and cannot be decided in one step: build their limiters \
///      over clones of one store",
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PolicyError {
    /// The limiters of the two policies keep their states in different stores, which cannot decide in one step.
    SeveralStores {
        /// The one that the layer had.
        first: PolicyName,
        /// The one that is refused.
        second: PolicyName,
    },
    /// The layer has a policy of that name.
    SameName {
        /// The name.
        name: PolicyName,
    },
    /// The limiters of the two policies have one name, under which both would count in the same states.
    SameLimiterName {
        /// The policy that the layer had.
        first: PolicyName,
        /// The one that is refused.
        second: PolicyName,
        /// The limiters' name.
        limiter: String,
    },
    /// The layer has as many policies as can be decided together.
    TooMany {
        /// The most that a layer can have.
        most: usize,
    },
}

impl PolicyError {
    /// As many demands as a store decides in one step.
    pub(crate) const MOST_POLICIES: usize = 64;

    /// Whether `added` can be decided together with `those`.
    pub(crate) fn check<'a, S: Store>(
        those: impl Iterator<Item = &'a Policy<S>>,
        added: &Policy<S>,
    ) -> Result<(), Self> {
        let mut count = 0;
        for policy in those {
            let (first, second) = (policy.name.clone(), added.name.clone());
            if first == second {
                return Err(Self::SameName { name: first });
            }
            if !policy.limiter.store().is_same(added.limiter.store()) {
                return Err(Self::SeveralStores { first, second });
            }
            if policy.limiter.name() == added.limiter.name() {
                return Err(Self::SameLimiterName { first, second, limiter: added.limiter.name().to_owned() });
            }
            count += 1;
        }
        if count < Self::MOST_POLICIES { Ok(()) } else { Err(Self::TooMany { most: Self::MOST_POLICIES }) }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SeveralStores { first, second } => write!(
                f,
                "policies \"{first}\" and \"{second}\" have different stores and cannot be decided in one step: build \
                 their limiters over clones of one store"
            ),
            Self::SameName { name } => {
                write!(f, "two policies of a layer have the name \"{name}\": clients tell them apart by it, change one")
            }
            Self::SameLimiterName { first, second, limiter } => write!(
                f,
                "the limiters of policies \"{first}\" and \"{second}\" have one name, {limiter:?}, and would count each \
                 other's units: give each its own with LimiterBuilder::name"
            ),
            Self::TooMany { most } => write!(f, "a layer decides over at most {most} policies"),
        }
    }
}

impl Error for PolicyError {}

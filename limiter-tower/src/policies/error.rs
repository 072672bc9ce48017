//! Why policies cannot be decided together.

use super::Policy;
use crate::PolicyName;
use limiter_core::Store;
use std::{error::Error, fmt};

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
    /// Clients would be told a rate of the one policy and a rate of the other by the same name: a quota of several rates
    /// is announced by its policy's name and each period, as `api-1s` and `api-1h`.
    SameAnnouncedName {
        /// The policy that the layer had.
        first: PolicyName,
        /// The one that is refused.
        second: PolicyName,
        /// The name of both rates.
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
            if let Some(name) = policy.same_name(added) {
                return Err(Self::SameAnnouncedName { first, second, name });
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
            Self::SameAnnouncedName { first, second, name } => write!(
                f,
                "policies \"{first}\" and \"{second}\" would both be announced as \"{name}\": each of several rates is \
                 by its policy's name and its period; change one of the names"
            ),
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

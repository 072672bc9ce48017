//! What becomes of requests without the value that a key is made of.

use super::KeyError;
use http::StatusCode;
use limiter_core::KeyBuf;
use std::fmt;

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) enum Missing {
    /// They share one key.
    #[default]
    Shared,
    /// They are not limited.
    Unlimited,
    /// They are answered with 400.
    Refused,
}

impl Missing {
    /// The key of `value`, of which an empty one is none; `what` names it to clients.
    pub(super) fn key(self, value: Option<&[u8]>, what: impl fmt::Display) -> Result<Option<KeyBuf>, KeyError> {
        match (value.filter(|value| !value.is_empty()), self) {
            (Some(value), _) => Ok(Some(KeyBuf::of(value))),
            (None, Self::Shared) => Ok(Some(KeyBuf::new())),
            (None, Self::Unlimited) => Ok(None),
            (None, Self::Refused) => {
                Err(KeyError::new(format!("{what} is missing")).with_status(StatusCode::BAD_REQUEST))
            }
        }
    }
}

/// The methods that choose the policy of an extractor with a field `missing`.
macro_rules! missing_policy {
    ($extractor:ident, $what:literal, $example:literal) => {
        impl $extractor {
            #[doc = concat!(
                "Does not limit requests without the ", $what, ": for a limit that another one stands behind, or ",
                "before [`or`](crate::KeyExtractor::or)."
            )]
            ///
            /// ```
            /// use limiter_core::Limiter;
            #[doc = concat!("use limiter_tower::{", stringify!($extractor), ", RateLimitLayer};")]
            ///
            /// # fn main() -> Result<(), limiter_core::QuotaError> {
            #[doc = concat!("let tenant = ", $example, ".optional();")]
            /// let layer = RateLimitLayer::new(Limiter::parse("100/s")?).key(tenant);
            /// # let _ = layer;
            /// # Ok(())
            /// # }
            /// ```
            #[must_use]
            pub fn optional(self) -> Self {
                Self { missing: $crate::key::missing::Missing::Unlimited, ..self }
            }

            #[doc = concat!("Answers requests without the ", $what, " with 400 (Bad Request).")]
            ///
            /// ```
            /// use limiter_core::Limiter;
            #[doc = concat!("use limiter_tower::{", stringify!($extractor), ", RateLimitLayer};")]
            ///
            /// # fn main() -> Result<(), limiter_core::QuotaError> {
            #[doc = concat!("let tenant = ", $example, ".required();")]
            /// let layer = RateLimitLayer::new(Limiter::parse("100/s")?).key(tenant);
            /// # let _ = layer;
            /// # Ok(())
            /// # }
            /// ```
            #[must_use]
            pub fn required(self) -> Self {
                Self { missing: $crate::key::missing::Missing::Refused, ..self }
            }
        }
    };
}

pub(super) use missing_policy;

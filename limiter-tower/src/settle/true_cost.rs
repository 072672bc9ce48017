//! What a request cost in the end, by its response.

use super::rest::OfBody;
use http::response::Parts;
use smallvec::SmallVec;
use std::sync::Arc;

/// What a request really cost: a response extension, for policies with
/// [`true_cost`](crate::Policy::true_cost)`(`[`TrueCost::of`]`)`.
///
/// Several policies of different units each want a closure over an extension of their own.
///
/// ```
/// use http::Response;
/// use limiter_tower::TrueCost;
///
/// fn handler() -> Response<String> {
///     let mut response = Response::new("a long answer".to_owned());
///     response.extensions_mut().insert(TrueCost(320));
///     response
/// }
/// assert_eq!(TrueCost::of(&handler().into_parts().0), Some(320));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrueCost(pub u64);

impl TrueCost {
    /// The cost noted in the response's extensions.
    #[must_use]
    pub fn of(response: &Parts) -> Option<u64> {
        response.extensions.get::<Self>().map(|cost| cost.0)
    }
}

/// A policy's rules for what its requests cost in the end.
#[derive(Clone, Default)]
pub(crate) struct Rules {
    refunds: SmallVec<[Arc<IsFree>; 1]>,
    pub(crate) true_cost: Option<Arc<Cost>>,
    pub(crate) of_body: Option<OfBody>,
}

type IsFree = dyn Fn(&Parts) -> bool + Send + Sync;
type Cost = dyn Fn(&Parts) -> Option<u64> + Send + Sync;

impl Rules {
    pub(crate) fn is_empty(&self) -> bool {
        self.refunds.is_empty() && self.true_cost.is_none() && self.of_body.is_none()
    }

    pub(crate) fn refund_if(&mut self, is_free: impl Fn(&Parts) -> bool + Send + Sync + 'static) {
        self.refunds.push(Arc::new(is_free));
    }

    /// What a request cost in the end, where the head of its response says so.
    pub(super) fn true_cost(&self, response: &Parts) -> Option<u64> {
        if self.refunds.iter().any(|is_free| is_free(response)) {
            return Some(0);
        }
        self.true_cost.as_ref()?(response)
    }
}

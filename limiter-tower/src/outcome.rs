//! What is put right once the response is known: refunds, charges by outcome, true costs.

use crate::{failure::within, verdict::Verdict};
use http::{Response, StatusCode, response::Parts};
use limiter_core::{Decision, Error, Permit, Place, Store};
use smallvec::SmallVec;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

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
}

type IsFree = dyn Fn(&Parts) -> bool + Send + Sync;
type Cost = dyn Fn(&Parts) -> Option<u64> + Send + Sync;

impl Rules {
    pub(crate) fn is_empty(&self) -> bool {
        self.refunds.is_empty() && self.true_cost.is_none()
    }

    pub(crate) fn refund_if(&mut self, is_free: impl Fn(&Parts) -> bool + Send + Sync + 'static) {
        self.refunds.push(Arc::new(is_free));
    }

    /// What a request that took `cost` cost in the end.
    fn true_cost(&self, cost: u64, response: &Parts) -> u64 {
        if self.refunds.iter().any(|is_free| is_free(response)) {
            return 0;
        }
        self.true_cost.as_ref().and_then(|true_cost| true_cost(response)).unwrap_or(cost)
    }
}

/// What is held until the response is there, whatever the store.
pub(crate) trait Held: Send {
    /// Begins to put right what the response tells.
    fn settle(self: Box<Self>, response: &Parts) -> Settling;

    /// Gives everything back: the request was never passed on.
    fn give_back(self: Box<Self>);
}

/// The permits of a request, each with its place among the policies that took part.
pub(crate) struct Permits<S: Store> {
    pub(crate) permits: SmallVec<[(usize, Permit<S>, Rules); 1]>,
    /// How long the store may take for each.
    pub(crate) budget: Option<Duration>,
}

impl<S: Store> Held for Permits<S> {
    fn settle(self: Box<Self>, response: &Parts) -> Settling {
        let mut calls: Vec<Call> = Vec::new();
        for (place, permit, rules) in self.permits {
            let true_cost = rules.true_cost(permit.cost(), response);
            if true_cost != permit.cost() {
                calls.push((Some(place), Box::pin(within(self.budget, permit.settle(true_cost)))));
            }
        }
        Settling { calls, ..Settling::default() }
    }

    fn give_back(self: Box<Self>) {
        self.permits.into_iter().for_each(|(_, permit, _)| permit.refund_detached());
    }
}

/// What is held of the policies that clients are told of, and of a shadow policy beside them.
struct WithShadow {
    told: Option<Box<dyn Held>>,
    shadow: Box<dyn Held>,
}

impl Held for WithShadow {
    fn settle(self: Box<Self>, response: &Parts) -> Settling {
        let mut settling = self.told.map_or_else(Settling::default, |told| told.settle(response));
        let shadow = self.shadow.settle(response);
        settling.calls.extend(shadow.calls.into_iter().map(|(_, call)| (None, call)));
        settling.places.extend(shadow.places);
        settling
    }

    fn give_back(self: Box<Self>) {
        self.told.into_iter().for_each(Held::give_back);
        self.shadow.give_back();
    }
}

/// What is held of policies, and the places among those that may be at work at once.
struct AtWork {
    held: Option<Box<dyn Held>>,
    places: Vec<Place>,
}

impl Held for AtWork {
    fn settle(self: Box<Self>, response: &Parts) -> Settling {
        let mut settling = self.held.map_or_else(Settling::default, |held| held.settle(response));
        settling.places = self.places;
        settling
    }

    fn give_back(self: Box<Self>) {
        self.held.into_iter().for_each(Held::give_back);
    }
}

/// What was granted to a request that is still to be passed on: given back should that never happen.
#[derive(Default)]
pub(crate) struct Granted(Option<Box<dyn Held>>);

impl Granted {
    pub(crate) fn new(held: Option<Box<dyn Held>>) -> Self {
        Self(held)
    }

    /// With what a shadow policy took.
    pub(crate) fn beside(&mut self, shadow: Self) {
        if let Some(shadow) = shadow.used() {
            self.0 = Some(Box::new(WithShadow { told: self.0.take(), shadow }));
        }
    }

    /// With places that are held until the response is there.
    pub(crate) fn keep(mut self, places: Vec<Place>) -> Self {
        if !places.is_empty() {
            self.0 = Some(Box::new(AtWork { held: self.0.take(), places }));
        }
        self
    }

    /// It is passed on now.
    pub(crate) fn used(mut self) -> Option<Box<dyn Held>> {
        self.0.take()
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            held.give_back();
        }
    }
}

/// The calls to the store that put things right, all under way at once; none where there is nothing to change.
#[derive(Default)]
pub(crate) struct Settling {
    calls: Vec<Call>,
    settled: Vec<(usize, Decision)>,
    /// Held until all is put right.
    places: Vec<Place>,
}

/// A policy's place, where clients are told of it, and what is left of it then.
type Call = (Option<usize>, Pin<Box<dyn Future<Output = Result<Decision, Error>> + Send>>);

impl Settling {
    /// Ready once the store has answered all of it; `verdict` then tells what is left now.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, verdict: Option<&mut Verdict>) -> Poll<()> {
        let settled = &mut self.settled;
        self.calls.retain_mut(|(place, call)| match call.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(answer) => {
                settled.extend(place.zip(answer.ok()));
                false
            }
        });
        if !self.calls.is_empty() {
            return Poll::Pending;
        }
        self.places.clear();
        if let Some(verdict) = verdict {
            verdict.settled(std::mem::take(&mut self.settled));
        }
        Poll::Ready(())
    }
}

/// The head that stands for an error of the inner service.
pub(crate) fn head_of_an_error() -> Parts {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.into_parts().0
}

//! What is held from a request's admission until its response is there.

use super::{Rules, Settling, rest::Rest, settling::Call};
use crate::decision::within;
use http::response::Parts;
use limiter_core::{Permit, Place, Store};
use smallvec::SmallVec;
use std::time::Duration;

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
        let (mut calls, mut rest) = (Vec::new(), Rest::default());
        for (place, permit, rules) in self.permits {
            match rules.true_cost(response) {
                Some(cost) if cost != permit.cost() => {
                    let call: Call = (Some(place), Box::pin(within(self.budget, permit.settle(cost))));
                    calls.push(call);
                }
                None => rest.counted.extend(rules.of_body.map(|of_body| of_body.of(permit))),
                Some(_) => {}
            }
        }
        Settling::by(calls, rest)
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
        settling.rest.extend(shadow.rest);
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
        settling.rest.places.extend(self.places);
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

    /// With places that are held until the response is there, or its body has ended.
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

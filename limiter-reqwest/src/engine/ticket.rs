//! A request that may be sent, until its answer is there.

use super::{
    answer::{Asked, obey},
    turn::{Taken, Turn},
};
use crate::{Event, RateLimitError, learn::Going, state::InFlight};
use limiter_core::{Error, Permit, Store, Timestamp};
use reqwest::{Method, Request, StatusCode, Url, header::HeaderMap};

/// Leave to send a request once. Its units stay counted whatever becomes of it; dropped without a word, they count from then
/// on, where units are restamped.
pub(crate) struct Ticket<'a, S: Store> {
    turn: Option<Turn<'a, S>>,
    permit: Option<Permit<S>>,
    /// Dropped untold, a learned pace learns nothing of it.
    going: Option<Going>,
    granted: Timestamp,
    restamp: bool,
    /// How often the request was sent before.
    sent: u32,
    _in_flight: InFlight,
}

impl<'a, S: Store> Ticket<'a, S> {
    pub(super) async fn first(turn: Turn<'a, S>) -> Result<Self, RateLimitError> {
        match Self::next(&turn).await {
            Ok((taken, in_flight)) => Ok(Self::new(turn, taken, in_flight, 0)),
            Err(error) => {
                let in_flight = turn.spot.host.counted().in_flight;
                Err(RateLimitError::new(turn.spot.name, error, in_flight))
            }
        }
    }

    async fn next(turn: &Turn<'a, S>) -> Result<(Taken<S>, InFlight), Error> {
        let hook = turn.limits.hook();
        match turn.take().await {
            Ok(taken) => {
                if !taken.waited.is_zero() {
                    hook.tell(&Event::Waited { host: &turn.spot.name, wait: taken.waited });
                }
                Ok((taken, turn.spot.host.enter_flight()))
            }
            Err(error) => {
                hook.tell(&Event::GaveUp { host: &turn.spot.name, error: &error });
                Err(error)
            }
        }
    }

    fn new(turn: Turn<'a, S>, taken: Taken<S>, in_flight: InFlight, sent: u32) -> Self {
        let (granted, restamp, Taken { permit, going, .. }) = (taken.permit.decision().at(), turn.restamp, taken);
        Self { turn: Some(turn), permit: Some(permit), going, granted, restamp, sent, _in_flight: in_flight }
    }

    /// Whether the request may have to be sent again.
    pub(crate) fn may_resend(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| self.sent < turn.limits.resends())
    }

    /// The head of the answer is there, which came from `url`: keeps to what it asks for. With a ticket in return, the
    /// request is to be sent again, which `has_spare` says it can; without, the answer is to be passed on.
    pub(crate) async fn answered(
        mut self,
        url: &Url,
        status: StatusCode,
        headers: &HeaderMap,
        has_spare: bool,
    ) -> Option<Self> {
        let may_resend = self.may_resend() && has_spare;
        let sent = self.sent + 1;
        let turn = self.turn.take()?;
        if was_sent_on(&turn.url, url)
            && let Some(spot) = turn.limits.spot(&Request::new(Method::GET, url.clone()))
        {
            // Given up meanwhile, the pause is kept.
            let at_least = Asked::of(&spot, (status, headers), false).owed(turn.limits, &spot, 0);
            // Who answered counted a request too, be it the same host once more.
            let charged = spot.policy.limiter.charge_async(&spot.key, turn.cost).await;
            at_least.replaced();
            if (spot.policy.id, &spot.key) != (turn.spot.policy.id, &turn.spot.key) {
                if let Some(going) = self.going.take() {
                    going.admitted();
                }
                let granted = charged.map_or(self.granted, |decision| decision.at());
                obey(turn.limits, &spot, granted, None, (status, headers)).await;
                self.end().await;
                return None;
            }
        }
        let (is_refusal, is_paused) =
            obey(turn.limits, &turn.spot, self.granted, self.going.take(), (status, headers)).await;
        self.end().await;
        if !(may_resend && is_refusal && is_paused) {
            return None;
        }
        // Where that fails, the answer that there is says more.
        let (taken, in_flight) = Self::next(&turn).await.ok()?;
        turn.limits.hook().tell(&Event::Resent { host: &turn.spot.name, time: sent });
        Some(Self::new(turn, taken, in_flight, sent))
    }

    /// There will be no answer. The server may have counted the request, also where no connection came about: that can have
    /// been one to a host that this one sent it on to.
    pub(crate) async fn failed(self) {
        self.end().await;
    }

    /// The server has counted the request before now, if at all. Where the store fails, it stays counted from the grant.
    async fn end(mut self) {
        if let Some(permit) = self.permit.take().filter(|_| self.restamp) {
            let _ = permit.restamp().await;
        }
    }
}

impl<S: Store> Drop for Ticket<'_, S> {
    /// Nobody waits for the answer any more, yet the server may have counted it until now.
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take().filter(|_| self.restamp) {
            permit.restamp_detached();
        }
    }
}

/// Whether the answer to a request for `asked` came from another place. Another query is none: middleware further in adds to
/// it.
fn was_sent_on(asked: &Url, answered: &Url) -> bool {
    asked.path() != answered.path() || asked.origin() != answered.origin()
}

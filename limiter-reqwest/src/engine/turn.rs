//! Waiting for a request's turn.

use super::ask::Spot;
use crate::{
    Limits,
    learn::{Going, Line},
    obey::look,
};
use limiter_core::{Error, Permit, Store, Timestamp};
use reqwest::Url;
use std::time::{Duration, Instant};

/// A request as limits see it.
pub(super) struct Turn<'a, S: Store> {
    pub(super) limits: &'a Limits<S>,
    pub(super) spot: Spot<'a, S>,
    pub(super) url: Url,
    /// Where the host's pace is learned.
    pub(super) line: Option<Line>,
    pub(super) cost: u64,
    pub(super) max_wait: Duration,
    pub(super) restamp: bool,
}

/// What a request needs to be sent.
pub(super) struct Taken<S: Store> {
    pub(super) permit: Permit<S>,
    /// To be told what a learned pace leads to.
    pub(super) going: Option<Going>,
    pub(super) waited: Duration,
}

/// Units that go back unless they are read: for the time between two waits.
struct Held<S: Store>(Option<Permit<S>>);

impl<S: Store> Turn<'_, S> {
    /// Waits for the units, and for the pace where that is learned; beside them, how long that took.
    ///
    /// Whoever waits for units has its turn at the pace already, and keeps the others from it: what goes at last goes as
    /// the pace says.
    pub(super) async fn take(&self) -> Result<Taken<S>, Error> {
        let _in_line = self.spot.host.enter_line();
        let Some(line) = &self.line else {
            let (permit, waited) = self.units(Duration::ZERO).await?;
            return Ok(Taken { permit, going: None, waited });
        };
        let begun = Instant::now();
        let turn = line.turn(self.max_wait).await?;
        let (permit, waited) = self.units(begun.elapsed()).await?;
        Ok(Taken { permit, going: Some(turn.go()), waited })
    }

    /// Waits for the units, when `waited` has passed; beside them, how long it was in all.
    ///
    /// After a pause requests come back one after the other: whoever is known to be in that time waits for its place at
    /// the pace first, keeps it until it has its units too, and only from then on counts the time to the next. Whoever
    /// finds out when it has its units gives them back and does the same.
    async fn units(&self, mut waited: Duration) -> Result<(Permit<S>, Duration), Error> {
        let mut is_paced = self.cost > 0 && self.spot.host.seems_paced() && self.fits();
        loop {
            let _at_pace = is_paced.then(|| self.spot.host.enter_pace());
            let mut place = None;
            if is_paced {
                let granted = self.spot.policy.pace.acquire(&self.spot.key).timeout(self.left(waited)).await;
                let granted = granted.map_err(|error| self.after(waited, error))?;
                waited += granted.waited();
                let _ = self.spot.host.is_paced(granted.decision().at()); // for those to come
                place = Some(granted);
            }
            let granted =
                self.spot.policy.limiter.acquire(&self.spot.key).cost(self.cost).timeout(self.left(waited)).await;
            let permit = match granted {
                Ok(permit) => permit,
                Err(error) => {
                    if let Some(place) = place {
                        let _ = place.refund().await;
                    }
                    return Err(self.after(waited, error));
                }
            };
            let (at, stood) = (permit.decision().at(), permit.waited());
            waited += stood;
            let mut held = Held(Some(permit));
            if let Some(place) = place
                && !stood.is_zero()
            {
                let _ = place.restamp().await;
            }
            if (is_paced || self.cost == 0 || !self.is_paced(at).await)
                && let Some(permit) = held.0.take()
            {
                return Ok((permit, waited));
            }
            is_paced = true;
            held.give_back().await;
        }
    }

    /// Whether requests come back one after the other at `granted`. A store that fails here lets them go.
    async fn is_paced(&self, granted: Timestamp) -> bool {
        if let Some(is_paced) = self.spot.host.is_paced(granted) {
            return is_paced;
        }
        let Ok((at, paced_until)) = look(self.spot.policy, &self.spot.key).await else { return false };
        self.spot.host.looked(at, paced_until);
        self.spot.host.is_paced(granted) == Some(true)
    }

    /// Whether the cost is one that can be granted at all.
    fn fits(&self) -> bool {
        self.spot.policy.limiter.with_quota_of(&self.spot.key, |quota| self.cost <= quota.capacity())
    }

    fn left(&self, waited: Duration) -> Duration {
        self.max_wait.saturating_sub(waited)
    }

    /// `error` of a wait that began when `waited` had passed, for the whole of it.
    fn after(&self, waited: Duration, error: Error) -> Error {
        match error {
            Error::WaitTooLong { needed, .. } => {
                Error::WaitTooLong { needed: needed.saturating_add(waited), allowed: self.max_wait }
            }
            Error::TimedOut { .. } => Error::TimedOut { waited: self.max_wait },
            other => other,
        }
    }
}

impl<S: Store> Held<S> {
    async fn give_back(&mut self) {
        if let Some(permit) = self.0.take() {
            let _ = permit.refund().await;
        }
    }
}

impl<S: Store> Drop for Held<S> {
    fn drop(&mut self) {
        if let Some(permit) = self.0.take() {
            permit.refund_detached();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Extensions;
    use limiter_core::Limiter;
    use reqwest::{Method, Request};

    #[tokio::test]
    async fn without_a_pause_nobody_takes_the_pace() {
        let limits = Limits::new(Limiter::parse("sliding_log 10/min").unwrap());
        let request = Request::new(Method::GET, "http://a.example".parse().unwrap());
        for _ in 0..10 {
            drop(limits.ask(&request, &Extensions::new()).await.unwrap());
        }
        let (policy, key) = limits.plan().of(&request);
        assert_eq!(policy.pace.peek(key.unwrap()).unwrap().remaining(), 1);
    }
}

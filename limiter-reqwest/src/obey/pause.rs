//! Pauses in the store.

use crate::{plan::Policy, state::Host};
use limiter_core::{Error, KeyBuf, Store, Timestamp, detach};
use std::{sync::Arc, time::Duration};

/// A key's pause and the time after it, by the store's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) at: Timestamp,
    /// When it ends.
    pub(crate) until: Timestamp,
    /// Until when requests come back at the quota's pace.
    pub(crate) paced_until: Timestamp,
}

/// Blocks `key` for `pause`, for everybody who uses the limiter's store, and lets nobody burst for `paced` after it. A
/// longer pause that stands already is kept.
///
/// The mark goes first: who looked for one before there was any is held by the pause itself.
pub(crate) async fn pause<S: Store>(
    policy: &Policy<S>,
    key: &KeyBuf,
    pause: Duration,
    paced: Duration,
) -> Result<Pause, Error> {
    let mark = policy.marks.block_at_least_async(key, pause.saturating_add(paced)).await?;
    policy.pace.block_at_least_async(key, pause).await?;
    let blocked = policy.limiter.block_at_least_async(key, pause).await?;
    let until = blocked.at().saturating_add(blocked.blocked_for());
    Ok(Pause { at: blocked.at(), until, paced_until: mark.at().saturating_add(mark.blocked_for()).max(until) })
}

/// A pause that an answer has asked for. Dropped before it is made, it is made all the same: who gave up the request has
/// been refused nonetheless, and others would go on.
pub(crate) struct Owed<'a, S: Store> {
    policy: &'a Policy<S>,
    key: &'a KeyBuf,
    host: &'a Arc<Host>,
    length: Duration,
    paced: Duration,
    /// The server has said so, and is to be left alone for longer where that was not enough.
    is_told: bool,
    is_made: bool,
}

impl<'a, S: Store> Owed<'a, S> {
    /// To be `length`, and followed by `paced`, as [`pause`] has it.
    pub(crate) fn new(
        policy: &'a Policy<S>,
        key: &'a KeyBuf,
        host: &'a Arc<Host>,
        length: Duration,
        paced: Duration,
    ) -> Self {
        Self { policy, key, host, length, paced, is_told: true, is_made: length.is_zero() }
    }

    /// It is our own idea.
    pub(crate) fn untold(mut self) -> Self {
        self.is_told = false;
        self
    }

    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// Makes it, once. A store that fails has been asked.
    pub(crate) async fn make(mut self) -> Result<(), Error> {
        let made = pause(self.policy, self.key, self.length, self.paced).await;
        self.is_made = true;
        self.host.paused(&made?, self.is_told);
        Ok(())
    }

    /// Another takes its place.
    pub(crate) fn replaced(mut self) {
        self.is_made = true;
    }
}

impl<S: Store> Drop for Owed<'_, S> {
    /// From the beginning: a pause that stands already is as good.
    fn drop(&mut self) {
        if self.is_made {
            return;
        }
        let (policy, key, host) = (self.policy.clone(), self.key.clone(), Arc::clone(self.host));
        let (length, paced, is_told) = (self.length, self.paced, self.is_told);
        detach(async move {
            if let Ok(made) = pause(&policy, &key, length, paced).await {
                host.paused(&made, is_told);
            }
        });
    }
}

/// What the store's time is, and until when `key` comes back at its pace: somebody else may have been told to pause.
pub(crate) async fn look<S: Store>(policy: &Policy<S>, key: &KeyBuf) -> Result<(Timestamp, Timestamp), Error> {
    let mark = policy.marks.peek_async(key).await?;
    Ok((mark.at(), mark.at().saturating_add(mark.blocked_for())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use limiter_core::{Clock, Limiter, ManualClock};
    use reqwest::{Method, Request};

    #[tokio::test]
    async fn a_shorter_pause_does_not_end_a_longer_one() {
        let clock = ManualClock::new(Timestamp::from_micros(1_000_000_000));
        let limiter = Limiter::builder("sliding_log 10/s".parse().unwrap()).clock(clock.clone()).build();
        let limits = Limits::new(limiter.clone());
        let request = Request::new(Method::GET, "http://a.example".parse().unwrap());
        let (policy, key) = limits.plan().of(&request);
        let (key, seconds) = (key.unwrap(), Duration::from_secs);
        for (asked, blocked) in [(30, 30), (5, 30), (40, 40)] {
            let started = clock.now();
            let pause = pause(policy, &key, seconds(asked), seconds(1)).await.unwrap();
            assert_eq!(limiter.peek(&key).unwrap().blocked_for(), seconds(blocked));
            assert_eq!(pause.until, started.saturating_add(seconds(blocked)));
            assert_eq!(look(policy, &key).await.unwrap(), (started, started.saturating_add(seconds(blocked + 1))));
        }
        clock.advance(seconds(39));
        pause(policy, &key, seconds(5), seconds(1)).await.unwrap();
        assert_eq!(limiter.peek(&key).unwrap().blocked_for(), seconds(5));
    }
}

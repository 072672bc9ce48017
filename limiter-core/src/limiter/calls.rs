//! The calls that every store answers, to await. Those of in-process stores, which need no await, are in `local`.

use super::{Limiter, core::Planned, fits};
use crate::{
    Decision, Error, Key, Timestamp,
    key::KeyBuf,
    store::{Adjust, Store},
};
use std::time::Duration;

/// How often `take_up_to` asks before it leaves the units to those who are faster.
const TURNS: usize = 64;

/// Every store; none of these calls waits for units.
impl<S: Store> Limiter<S> {
    /// Takes one unit if it is there.
    ///
    /// Does not overtake who waits for the key: it is then denied, with the wait to expect
    /// ([`Decision::behind_waiters`]).
    ///
    /// ```
    /// use limiter_core::Limiter;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("5/s")?;
    /// let decision = limiter.check_async("ada").await?;
    /// assert_eq!((decision.allowed(), decision.remaining()), (true, 4));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`]. A denial is no error.
    pub async fn check_async(&self, key: impl Key + Send) -> Result<Decision, Error> {
        self.check_n_async(key, 1).await
    }

    /// Takes `cost` units if all of them are there. A cost of 0 looks only.
    ///
    /// # Errors
    /// [`Error::NeverFits`] for a cost above the quota's capacity; [`Error::Store`].
    pub async fn check_n_async(&self, key: impl Key + Send, cost: u64) -> Result<Decision, Error> {
        let key = KeyBuf::of(&key);
        self.check_bytes(key.as_slice(), cost).await
    }

    pub(super) async fn check_bytes(&self, key: &[u8], cost: u64) -> Result<Decision, Error> {
        if let Some(answer) = self.0.check_now(key, cost) {
            return answer;
        }
        loop {
            let answer = match self.first_in_line(key, cost)? {
                Ok(planned) => self.0.take_as(&planned, key, cost).await,
                Err(planned) => self.0.behind_waiters(planned, key, cost).await,
            };
            if let Some(answer) = answer {
                return Ok(answer?);
            }
        }
    }

    /// What a check of one unit would answer; takes nothing.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn peek_async(&self, key: impl Key + Send) -> Result<Decision, Error> {
        self.peek_n_async(key, 1).await
    }

    /// What a check of `cost` units would answer; takes nothing.
    ///
    /// # Errors
    /// As [`check_n_async`](Self::check_n_async).
    pub async fn peek_n_async(&self, key: impl Key + Send, cost: u64) -> Result<Decision, Error> {
        let key = KeyBuf::of(&key);
        self.peek_bytes(key.as_slice(), cost).await
    }

    pub(super) async fn peek_bytes(&self, key: &[u8], cost: u64) -> Result<Decision, Error> {
        loop {
            let answer = match self.first_in_line(key, cost)? {
                Ok(planned) => self.0.peek_as(&planned, key, cost).await,
                Err(planned) => self.0.behind_waiters(planned, key, cost).await,
            };
            if let Some(answer) = answer {
                return Ok(answer?);
            }
        }
    }

    /// The key's quota, where the cost fits it: `Err` of it where others wait already.
    fn first_in_line(&self, key: &[u8], cost: u64) -> Result<Result<Planned<'_>, Planned<'_>>, Error> {
        let planned = self.0.planned(key);
        fits(&planned.quota, cost)?;
        Ok(if cost > 0 && self.0.queues.has_refused(key) { Err(planned) } else { Ok(planned) })
    }

    /// Takes as many units as are there, up to `most`; how many, with the decision that took them. None is no error.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn take_up_to_async(&self, key: impl Key + Send, most: u64) -> Result<(u64, Decision), Error> {
        let key = KeyBuf::of(&key);
        self.take_up_to_bytes(key.as_slice(), most).await
    }

    pub(super) async fn take_up_to_bytes(&self, key: &[u8], most: u64) -> Result<(u64, Decision), Error> {
        let mut wanted = most.min(self.0.quota(key).capacity());
        for _ in 0..TURNS {
            let decision = match self.check_bytes(key, wanted).await {
                Ok(decision) => decision,
                Err(Error::NeverFits { capacity, .. }) => {
                    wanted = capacity; // the quota has shrunk since it was looked at
                    continue;
                }
                Err(error) => return Err(error),
            };
            if decision.allowed() || decision.behind_waiters() || decision.remaining() == 0 {
                return Ok((if decision.allowed() { wanted } else { 0 }, decision));
            }
            // Others may take some meanwhile; each turn asks for fewer, or finds none.
            wanted = decision.remaining().min(wanted.saturating_sub(1));
        }
        Ok((0, self.peek_bytes(key, 1).await?)) // others were faster every time
    }

    /// Takes `cost` units without asking, into at most one full quota of debt: a penalty, or a cost known too late.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn charge_async(&self, key: impl Key + Send, cost: u64) -> Result<Decision, Error> {
        self.0.adjust(KeyBuf::of(&key).as_slice(), cost, Adjust::Charge).await
    }

    /// Returns what a take of `cost` units at the instant `taken` ([`Decision::at`]) still holds; it never mints. A take
    /// must be refunded once.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn refund_async(&self, key: impl Key + Send, cost: u64, taken: Timestamp) -> Result<Decision, Error> {
        self.0.adjust(KeyBuf::of(&key).as_slice(), cost, Adjust::Refund { taken }).await
    }

    /// Forgets a key: all its units are back, and its block is gone.
    ///
    /// Nothing comes back of this limiter's permits from before it, or from while it was under way. What is
    /// [refunded](Self::refund_async) by its instant, or by another process or limiter that shares the key, is to be from after
    /// it: nobody else knows what was forgotten, and units that were taken since would be given back.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn reset_async(&self, key: impl Key + Send) -> Result<(), Error> {
        self.0.reset(KeyBuf::of(&key).as_slice()).await
    }

    /// Denies every take for `key` during `duration` from now, whatever its quota says; zero ends a block.
    ///
    /// A block stands beside the units in use and leaves them alone. Who waits goes on waiting until it ends.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn block_async(&self, key: impl Key + Send, duration: Duration) -> Result<Decision, Error> {
        let key = KeyBuf::of(&key);
        let until = self.0.now().await?.saturating_add(duration);
        self.0.adjust(key.as_slice(), 0, Adjust::Block { until }).await
    }

    /// Denies every take for `key` during at least `duration` from now: a block that ends later stays.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn block_at_least_async(&self, key: impl Key + Send, duration: Duration) -> Result<Decision, Error> {
        let key = KeyBuf::of(&key);
        let until = self.0.now().await?.saturating_add(duration);
        self.0.adjust(key.as_slice(), 0, Adjust::BlockAtLeast { until }).await
    }

    /// Denies every take for `key` until the instant `until`; one in the past ends a block.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn block_until_async(&self, key: impl Key + Send, until: Timestamp) -> Result<Decision, Error> {
        self.0.adjust(KeyBuf::of(&key).as_slice(), 0, Adjust::Block { until }).await
    }

    /// Drops the states of idle keys, of every limiter in the store, and says how many. Nobody must call it: stores
    /// reclaim by themselves.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn sweep_async(&self) -> Result<usize, Error> {
        Ok(Store::sweep(&self.0.store, self.0.clock()).await?)
    }
}

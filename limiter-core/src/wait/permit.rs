//! What an acquisition leaves in hand.

use super::{
    Place, Slot,
    task::{Task, block_on},
};
use crate::{
    Decision, Error, KeyBuf, Timestamp,
    limiter::Core,
    store::{Adjust, Store},
};
use std::{fmt, sync::Arc, time::Duration};

/// Units that were granted. Dropping it keeps them taken: that is the normal end. With a bound on how many are at work
/// at once ([`LimiterBuilder::at_once`](crate::LimiterBuilder::at_once)), dropping it lets the next one in.
///
/// They can be [refunded](Self::refund) where nothing was done with them, [settled](Self::settle) at their true cost,
/// or [counted again](Self::restamp) from the instant the work was answered.
#[must_use = "a permit says that the work may be done; drop it when that is all"]
pub struct Permit<S: Store> {
    core: Arc<Core<S>>,
    key: KeyBuf,
    cost: u64,
    decision: Decision,
    waited: Duration,
    /// The place held among those at once; freed with the permit.
    slot: Option<Slot>,
    /// The limiter's count of resets before the units were asked for.
    since: u64,
}

/// Units as they were taken, to be adjusted.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    pub(super) cost: u64,
    pub(super) at: Timestamp,
    /// The limiter's count of resets before they were asked for.
    pub(super) since: u64,
}

impl Taken {
    pub(super) async fn refund<S: Store>(self, core: &Core<S>, key: &[u8]) -> Result<Decision, Error> {
        core.adjust_granted(self.since, key, self.cost, Adjust::Refund { taken: self.at }).await
    }

    pub(super) async fn settle<S: Store>(self, core: &Core<S>, key: &[u8], true_cost: u64) -> Result<Decision, Error> {
        match true_cost.checked_sub(self.cost) {
            Some(more @ 1..) => core.adjust(key, more, Adjust::Charge).await,
            _ => {
                let adjust = Adjust::Refund { taken: self.at };
                core.adjust_granted(self.since, key, self.cost - true_cost, adjust).await
            }
        }
    }

    pub(super) async fn restamp<S: Store>(self, core: &Core<S>, key: &[u8]) -> Result<Decision, Error> {
        core.adjust_granted(self.since, key, self.cost, Adjust::Restamp { taken: self.at }).await
    }
}

impl<S: Store> Permit<S> {
    #[inline(always)]
    pub(crate) fn new(
        core: Arc<Core<S>>,
        key: KeyBuf,
        cost: u64,
        decision: Decision,
        slot: Option<Slot>,
        since: u64,
    ) -> Self {
        Self { core, key, cost, decision, waited: Duration::ZERO, slot, since }
    }

    pub(crate) fn after(self, waited: Duration) -> Self {
        Self { waited, ..self }
    }

    pub(super) fn taken(&self) -> Taken {
        Taken { cost: self.cost, at: self.decision.at(), since: self.since }
    }

    pub(super) fn into_slot(self) -> Option<Slot> {
        self.slot
    }

    /// The decision that granted the units.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The units granted.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// How long the caller stood in line, by the store's time; zero where the units were there.
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("sliding_log 1/20ms")?;
    /// assert_eq!(limiter.acquire("ada").await?.waited(), Duration::ZERO);
    /// assert!(limiter.acquire("ada").await?.waited() > Duration::from_millis(10));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Returns the units: what they were meant for was not done.
    ///
    /// Only what the take still holds comes back: a bucket has drained part of it since, a window may have passed, and of
    /// what a [reset](crate::Limiter::reset) of the key or a restart of the limiter has forgotten nothing is held.
    ///
    /// ```
    /// use limiter_core::Limiter;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("10/day")?;
    /// let permit = limiter.acquire("ada").cost(4).await?;
    /// let decision = permit.refund().await?; // nothing was done with it
    /// assert_eq!(decision.remaining(), 10);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The store's; the units then stay taken.
    pub async fn refund(self) -> Result<Decision, Error> {
        self.taken().refund(&self.core, self.key.as_slice()).await
    }

    /// [`refund`](Self::refund) from code without a runtime.
    ///
    /// # Errors
    /// As [`refund`](Self::refund).
    pub fn refund_blocking(self) -> Result<Decision, Error> {
        block_on(self.refund())
    }

    /// [`refund`](Self::refund) for where nothing can be awaited, a `drop` above all. Should the store fail, the units
    /// stay taken.
    pub fn refund_detached(self) {
        Task::start(async move {
            let _ = self.refund().await;
        });
    }

    /// Corrects the cost to what the work really took: the difference is [returned](Self::refund), or charged without
    /// asking, into at most one full quota of debt.
    ///
    /// ```
    /// use limiter_core::Limiter;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tokens = Limiter::parse("1000/day")?;
    /// let permit = tokens.acquire("ada").cost(500).await?; // an estimate
    /// let decision = permit.settle(120).await?; // the answer says what it took
    /// assert_eq!(decision.remaining(), 880);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The store's; the units then stay as they were taken.
    pub async fn settle(self, true_cost: u64) -> Result<Decision, Error> {
        self.taken().settle(&self.core, self.key.as_slice(), true_cost).await
    }

    /// [`settle`](Self::settle) from code without a runtime.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub fn settle_blocking(self, true_cost: u64) -> Result<Decision, Error> {
        block_on(self.settle(true_cost))
    }

    /// [`settle`](Self::settle) for where nothing can be awaited, a `drop` above all. Should the store fail, the units
    /// stay as they were taken.
    pub fn settle_detached(self, true_cost: u64) {
        Task::start(async move {
            let _ = self.settle(true_cost).await;
        });
    }

    /// Takes the permit's place among those [at once](crate::LimiterBuilder::at_once), to hold it for longer than the
    /// permit.
    ///
    /// ```
    /// use limiter_core::Limiter;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::builder("100/s".parse()?).at_once(1).build();
    /// let mut permit = limiter.acquire("ada").await?;
    /// let place = permit.take_place();
    /// permit.refund().await?;
    /// assert!(limiter.place("ada").is_err());
    /// drop(place);
    /// assert!(limiter.place("ada").is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn take_place(&mut self) -> Place {
        Place::new(self.slot.take())
    }

    /// Counts the units from this instant instead of that of the grant.
    ///
    /// For somebody else's limit: their server counts a request when it arrives, later than it was granted here and
    /// before its answer. Restamped when the answer is there, no unit is counted earlier here than there, so a
    /// `sliding_log` of their limit is never above theirs, whatever the network's delays (up to a period).
    ///
    /// ```
    /// use limiter_core::Limiter;
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::parse("sliding_log 10/min")?;
    /// let permit = limiter.acquire("api.example.com").await?;
    /// let granted = permit.decision().at();
    /// # let fetch = tokio::time::sleep(Duration::from_millis(1));
    /// fetch.await; // the request, until its answer is there
    /// let decision = permit.restamp().await?;
    /// assert_eq!(decision.remaining(), 9); // counted once, and later
    /// assert!(decision.at() > granted && decision.reset_after() > Duration::from_secs(60));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The store's; the units then count from the grant.
    pub async fn restamp(self) -> Result<Decision, Error> {
        self.taken().restamp(&self.core, self.key.as_slice()).await
    }

    /// [`restamp`](Self::restamp) for where nothing can be awaited, a `drop` above all. Should the store fail, the
    /// units count from the grant.
    pub fn restamp_detached(self) {
        Task::start(async move {
            let _ = self.restamp().await;
        });
    }
}

impl<S: Store> fmt::Debug for Permit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("cost", &self.cost)
            .field("decision", &self.decision)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

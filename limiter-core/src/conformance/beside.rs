//! A store beside the reference: every answer is compared.

use super::{
    Failure,
    failure::ensure,
    reference::{Reference, difference},
};
use crate::{
    Clock, Decision, Store, StoreError, Timestamp,
    algorithm::Mode,
    store::{Adjust, Demand, Scope},
};
use std::{collections::VecDeque, fmt};

/// How many of the last calls a failure tells of.
const TOLD: usize = 16;

pub(super) struct Beside<S> {
    pub(super) store: S,
    pub(super) reference: Reference,
    step: u64,
    calls: VecDeque<String>,
}

impl<S: Store> Beside<S> {
    pub(super) fn new(store: S) -> Self {
        Self { store, reference: Reference::default(), step: 0, calls: VecDeque::new() }
    }

    pub(super) async fn take(&mut self, demands: &[Demand<'_>], now: Timestamp) -> Result<Decision, Failure> {
        let want = self.reference.decide(demands, now, Mode::Take);
        let call = self.called(format_args!("take {}", Demands(demands)), now);
        let got = self.store.take(demands, Some(&now)).await;
        self.compare(&call, &want, got)
    }

    /// The take of a plain call, where the store has one.
    pub(super) async fn take_now(&mut self, demands: &[Demand<'_>], now: Timestamp) -> Result<Decision, Failure> {
        match self.store.take_now(demands, Some(&now)) {
            None => self.take(demands, now).await,
            Some(got) => {
                let want = self.reference.decide(demands, now, Mode::Take);
                let call = self.called(format_args!("take_now {}", Demands(demands)), now);
                self.compare(&call, &want, got)
            }
        }
    }

    pub(super) async fn peek(&mut self, demands: &[Demand<'_>], now: Timestamp) -> Result<Decision, Failure> {
        let want = self.reference.decide(demands, now, Mode::Peek);
        let call = self.called(format_args!("peek {}", Demands(demands)), now);
        let got = self.store.peek(demands, Some(&now)).await;
        self.compare(&call, &want, got)
    }

    pub(super) async fn adjust(
        &mut self,
        demand: Demand<'_>,
        adjust: Adjust,
        now: Timestamp,
    ) -> Result<Decision, Failure> {
        let want = self.reference.adjust(demand, adjust, now);
        let call = self.called(format_args!("adjust {} {adjust:?}", Demands(&[demand])), now);
        let got = self.store.adjust(demand, adjust, Some(&now)).await;
        self.compare(&call, &want, got)
    }

    pub(super) async fn reset(&mut self, scope: &Scope, key: &[u8]) -> Result<(), Failure> {
        self.reference.reset(scope, key);
        let call = self.called(format_args!("reset {:?} {}", scope.name(), Key(key)), "any time");
        self.store.reset(scope, key).await.map_err(|error| self.told(&call, &error.into()))
    }

    /// Sweeps, and leaves it to the caller to judge the count.
    pub(super) async fn sweep(&mut self, now: Timestamp) -> Result<usize, Failure> {
        self.reference.sweep(now);
        let call = self.called("sweep", now);
        self.store.sweep(Some(&now)).await.map_err(|error| self.told(&call, &error.into()))
    }

    pub(super) async fn snapshot(&mut self, demand: Demand<'_>, now: Timestamp) -> Result<(), Failure> {
        let call = self.called(format_args!("snapshot {}", Demands(&[demand])), now);
        let Some((state, at)) = self.store.snapshot(demand, Some(&now)).await else { return Ok(()) };
        ensure!(at == now, "{call}: expected the time {now:?}, got {at:?}");
        let (want, _) = self.reference.state(&demand, now);
        match difference(demand.quota, now, &want, &state) {
            None => Ok(()),
            Some(difference) => Err(self.told(&call, &Failure::new(difference))),
        }
    }

    fn called(&mut self, call: impl fmt::Display, now: impl fmt::Debug) -> String {
        self.step += 1;
        let call = format!("step {}: {call} at {now:?}", self.step);
        if self.calls.len() == TOLD {
            self.calls.pop_front();
        }
        self.calls.push_back(call.clone());
        call
    }

    fn compare(&self, call: &str, want: &Decision, got: Result<Decision, StoreError>) -> Result<Decision, Failure> {
        match got {
            Ok(got) if got == *want => Ok(got),
            Ok(got) => Err(self.told(call, &Failure::new(format!("\n  expected {want:?}\n  got      {got:?}")))),
            Err(error) => Err(self.told(call, &error.into())),
        }
    }

    fn told(&self, call: &str, failure: &Failure) -> Failure {
        let calls: Vec<&str> = self.calls.iter().map(String::as_str).collect();
        Failure::new(format!("{call}: {failure}\n  the last calls:\n    {}", calls.join("\n    ")))
    }
}

/// Compares one answer about the store's own time or an injected one: what is left, without a reference.
pub(super) async fn left<S: Store>(store: &S, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Result<u64, Failure> {
    Ok(store.peek(&[Demand { cost: 0, ..demand }], clock).await?.remaining())
}

struct Demands<'a>(&'a [Demand<'a>]);

impl fmt::Display for Demands<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, demand) in self.0.iter().enumerate() {
            let and = if i > 0 { " and " } else { "" };
            let Demand { scope, key, quota, cost, .. } = demand;
            write!(f, "{and}{cost} of {:?} {} under {quota}", scope.name(), Key(key))?;
        }
        Ok(())
    }
}

/// A key in a message: its bytes as text, the long ones cut.
pub(super) struct Key<'a>(pub(super) &'a [u8]);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [start @ .., _] if start.len() >= 80 => {
                write!(f, "\"{}…\" ({} bytes)", self.0[..40].escape_ascii(), self.0.len())
            }
            key => write!(f, "\"{}\"", key.escape_ascii()),
        }
    }
}

//! The store's handle: it turns each call into a message.

use super::{
    answer::pair,
    states::{Name, Part, States, parts},
};
use limiter_core::{
    Clock, Decision, KeyState, Store, StoreError, StoreErrorKind, Timestamp,
    algorithm::Mode,
    store::{Adjust, Demand, Scope},
};
use std::{
    io,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread,
};

/// A handle on a thread's states. Clones are handles on the same; the thread ends with the last of them.
#[derive(Clone)]
pub(crate) struct ThreadStore(Arc<Sender<Message>>);

/// What the thread does next. It does one after the other, so that each is one atomic step.
type Message = Box<dyn FnOnce(&mut States) + Send>;

impl ThreadStore {
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, inbox) = channel::<Message>();
        thread::Builder::new().name("states".into()).spawn(move || {
            let mut states = States::new();
            for message in inbox {
                message(&mut states);
            }
        })?;
        Ok(Self(Arc::new(sender)))
    }

    /// Has the thread do `work`, and waits for what it returns.
    async fn ask<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&mut States) -> T + Send + 'static,
    {
        let (reply, answer) = pair();
        let message = Box::new(move |states: &mut States| reply.send(work(states)));
        self.0.send(message).map_err(|_| StoreError::new(StoreErrorKind::Unavailable))?;
        answer.await
    }

    async fn decide(
        &self,
        demands: &[Demand<'_>],
        clock: Option<&dyn Clock>,
        mode: Mode,
    ) -> Result<Decision, StoreError> {
        let (parts, injected) = (parts(demands)?, read(clock));
        self.ask(move |states| {
            let now = states.time(injected);
            states.decide(parts, now, mode)
        })
        .await?
    }
}

/// An injected clock cannot be sent, as it is borrowed: it is read as the call begins. Who injects one answers for it.
fn read(clock: Option<&dyn Clock>) -> Option<Timestamp> {
    clock.map(Clock::now)
}

impl Store for ThreadStore {
    async fn take(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.decide(demands, clock, Mode::Take).await
    }

    async fn peek(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.decide(demands, clock, Mode::Peek).await
    }

    async fn adjust(
        &self,
        demand: Demand<'_>,
        adjust: Adjust,
        clock: Option<&dyn Clock>,
    ) -> Result<Decision, StoreError> {
        let (part, injected) = (Part::from(&demand), read(clock));
        self.ask(move |states| {
            let now = states.time(injected);
            states.adjust(part, adjust, now)
        })
        .await?
    }

    async fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError> {
        let name = Name::new(scope, key);
        self.ask(move |states| states.reset(&name)).await
    }

    async fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError> {
        let injected = read(clock);
        self.ask(move |states| states.sweep(states.time(injected))).await
    }

    async fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
        let injected = read(clock);
        self.ask(move |states| states.time(injected)).await
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    async fn snapshot(&self, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
        let (part, injected) = (Part::from(&demand), read(clock));
        let answer = self.ask(move |states| {
            let now = states.time(injected);
            (states.load(&part, now), now)
        });
        answer.await.ok()
    }
}

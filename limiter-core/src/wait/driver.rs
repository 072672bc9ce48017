//! Serves one key's line, for as long as anybody stands in it.

use super::{
    Slot,
    line::{Heads, Line},
    sleep::Nap,
    waiter::{Granted, Waiter, Wake},
};
use crate::{
    Decision, Error, RateState, StoreError, StoreErrorKind, Timestamp,
    limiter::{Core, never_fits},
    store::{Adjust, Store},
};
use smallvec::SmallVec;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// Asks the store for the head of the line, sleeps until the instant it names, and hands the grant over; from the
/// first waiter, who was denied with `first_wait` (zero where nobody asked for units yet), to the last.
///
/// Nobody is asked for whom the store has just been asked: a grant costs one take, and one more if it had to be slept
/// for. Where the store is not in this process, what its last answer tells saves calls: all that it had left is taken
/// for as many waiters at once, and who asks for one unit next sleeps until there is one before it asks.
pub(super) async fn drive<S: Store>(core: Arc<Core<S>>, key: Arc<[u8]>, line: Arc<Line>, first_wait: Duration) {
    let on_duty = OnDuty { core: &core, key: &key, line: &line };
    if !first_wait.is_zero() {
        pause(&core, first_wait, &line).await;
    }
    let mut foreseen = Foreseen::default();
    while let Some(head) = line.head(&core.queues) {
        if line.take_unjudged()
            && let Some(state) = core.snapshot(&key).await
        {
            line.reconsider(&core.queues, &core.quota(&key), state);
            continue;
        }
        let Ok(slot) = core.queues.enter(&key) else {
            line.note_refusal();
            wait_for_slot(&core, &line).await;
            continue;
        };
        let since = core.resets();
        let answer = match foreseen.denial_of(&head) {
            Some(denied) => Ok(Err(denied)),
            None => {
                let heads = line.heads(&head, foreseen.room);
                let cost = heads.iter().map(|head| head.cost).sum();
                let taken = core.take(&key, cost).await;
                taken
                    .map(|decision| if decision.allowed() { Ok((heads, decision)) } else { Err(Denied::of(&decision)) })
            }
        };
        let more = match answer {
            Ok(Ok((heads, decision))) => {
                if !core.store.is_local() && core.queues.slots().is_none() {
                    foreseen = Foreseen::after(&decision);
                }
                hand_over(&core, &key, &line, heads, &decision, since, slot).await
            }
            Ok(Err(_)) if foreseen.room > head.cost => {
                drop(slot);
                foreseen.room = 0; // others took some meanwhile: ask for the head alone
                true
            }
            Ok(Err(denied)) => {
                drop(slot);
                line.note_refusal();
                foreseen = Foreseen::default();
                let Some(wait) = denied.wait else {
                    head.fail(never_fits(&core.quota(&key), head.cost));
                    if line.pop(&core.queues, &head, false) { continue } else { break }
                };
                let slack_wait = wait.saturating_add(core.buffer);
                let due = denied.at.saturating_add(slack_wait);
                if let Some(error) = head.too_late(denied.at, slack_wait) {
                    head.fail(error);
                    line.pop(&core.queues, &head, false)
                } else {
                    // Where looking costs a call, it is done for those whom it has something to tell.
                    if let Some(late) = head.surprise(due)
                        && (core.store.is_local() || line.misses_a_deadline(late))
                        && let Some(state) = core.snapshot(&key).await
                    {
                        line.reconsider(&core.queues, &core.quota(&key), state);
                    }
                    let together = line.together(&core.quota(&key), &head, core.sleep.grain());
                    pause(&core, wait.saturating_add(together), &line).await;
                    true
                }
            }
            Err(error) => {
                // Whoever waits for this store waits for nothing: all are told at once.
                drop(slot);
                line.abandon(&core.queues, || Error::Store(error.clone()));
                false
            }
        };
        if !more {
            break;
        }
    }
    drop(on_duty);
}

/// Hands a grant to those it was asked for, and wakes them; whether the line goes on.
async fn hand_over<S: Store>(
    core: &Core<S>,
    key: &Arc<[u8]>,
    line: &Arc<Line>,
    heads: Heads,
    decision: &Decision,
    since: u64,
    mut slot: Option<Slot>,
) -> bool {
    let mut more = true;
    let mut wakes: SmallVec<[Wake; 1]> = SmallVec::new();
    let mut unread = 0;
    for head in heads {
        // Out of the line before it is woken: what it does next is not to find itself waiting there.
        match head.grant(Granted { decision: decision.clone(), slot: slot.take(), since }) {
            Some(wake) => wakes.push(wake),
            None => unread += head.cost,
        }
        more = line.pop(&core.queues, &head, true);
    }
    if !more {
        core.queues.forget(key, line);
    }
    wakes.into_iter().for_each(Wake::now);
    if unread > 0 {
        give_back(core, key, unread, decision.at(), since).await;
    }
    more
}

/// A denial, as far as a line needs it.
struct Denied {
    at: Timestamp,
    /// `None` where the cost can never fit.
    wait: Option<Duration>,
}

impl Denied {
    fn of(decision: &Decision) -> Self {
        Self { at: decision.at(), wait: decision.retry_after() }
    }
}

/// What the last grant tells of the next.
#[derive(Default)]
struct Foreseen {
    /// Units that it left.
    room: u64,
    /// Where it left none, the denial of one unit.
    one: Option<Denied>,
}

impl Foreseen {
    fn after(decision: &Decision) -> Self {
        let room = decision.remaining();
        let next = decision.rates().iter().map(RateState::next_unit_after).max().filter(|wait| !wait.is_zero());
        Self { room, one: next.map(|wait| Denied { at: decision.at(), wait: Some(wait) }) }
    }

    fn denial_of(&mut self, head: &Waiter) -> Option<Denied> {
        self.one.take().filter(|_| head.cost == 1)
    }
}

/// Sleeps until a place is free, which whoever frees it tells, or somebody's time is over.
async fn wait_for_slot<S: Store>(core: &Core<S>, line: &Line) {
    let Some(deadline) = line.earliest_deadline() else {
        return Pause { sleep: Nap::endless(), line }.await;
    };
    match core.now().await {
        Ok(now) if now < deadline => {
            // Without the slack of waits for units: nobody's time is longer for it.
            let sleep = Nap::new(&*core.sleep, deadline.saturating_since(now));
            Pause { sleep, line }.await;
        }
        Ok(now) => line.expire(&core.queues, now),
        // The store's time is not to be had: wait for a place alone.
        Err(_) => Pause { sleep: Nap::endless(), line }.await,
    }
}

/// Returns units that nobody is there for any more. Should the store fail, they stay taken: never too much is admitted.
pub(super) async fn give_back<S: Store>(core: &Core<S>, key: &[u8], cost: u64, taken: Timestamp, since: u64) {
    let _ = core.adjust_granted(since, key, cost, Adjust::Refund { taken }).await;
}

/// What those are told for whom somebody else's code was to be asked, and panicked.
pub(crate) fn panicked() -> StoreError {
    let source = "the store, or the rule that gives the key its quota, panicked while it was asked";
    StoreError::new(StoreErrorKind::Other).with_source(source)
}

/// Takes the line out of the limiter when its driver ends, and leaves nobody standing in it should it have panicked.
struct OnDuty<'a, S: Store> {
    core: &'a Core<S>,
    key: &'a [u8],
    line: &'a Arc<Line>,
}

impl<S: Store> Drop for OnDuty<'_, S> {
    fn drop(&mut self) {
        self.line.abandon(&self.core.queues, || panicked().into());
        self.core.queues.forget(self.key, self.line);
        self.core.queues.notify_idle();
    }
}

/// Sleeps for `wait` and the limiter's buffer and jitter, or until the line's driver is to ask again.
fn pause<'a, S: Store>(core: &Core<S>, wait: Duration, line: &'a Line) -> Pause<'a> {
    let wait = wait.saturating_add(core.buffer).saturating_add(core.some_jitter());
    Pause { sleep: Nap::new(&*core.sleep, wait), line }
}

struct Pause<'a> {
    sleep: Nap,
    line: &'a Line,
}

impl Future for Pause<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.line.take_change() {
            return Poll::Ready(());
        }
        Pin::new(&mut self.sleep).poll(cx)
    }
}

//! `acquire` for several keys: all or nothing, in one step, once all of them let it in.

use super::{
    Permit,
    driver::panicked,
    queue::{Counted, Queues},
    sleep::Nap,
    slots::Slot,
    task::Task,
    turns::{Standing, Turn},
    waiter::wake,
};
use crate::{
    All, Error, Timestamp,
    limiter::{Core, never_fits},
    store::Store,
    sync::{Mutex, MutexGuard},
};
use std::{
    fmt,
    future::{Future, IntoFuture, poll_fn},
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// A request for units of several keys that waits for them; made by [`All::acquire`].
#[must_use = "nothing is asked until it is awaited, or `blocking` is called"]
#[derive(Clone)]
pub struct AcquireAll<S: Store> {
    all: All<S>,
    timeout: Option<Duration>,
}

/// The future of an [`AcquireAll`]. It borrows nothing, so it can be spawned.
///
/// Dropping it leaves the line, and returns units that were granted and not yet read.
#[must_use = "futures do nothing unless polled"]
pub struct AcquireAllFuture<S: Store>(Stage<S>);

enum Stage<S: Store> {
    Start(Box<AcquireAll<S>>),
    Waiting(Reader<S>),
    Finished,
}

type Answer<S> = Result<Vec<Permit<S>>, Error>;

impl<S: Store> AcquireAll<S> {
    pub(crate) fn new(all: All<S>) -> Self {
        let waits = all.asks().iter().filter_map(|ask| ask.core().max_wait);
        Self { timeout: waits.min(), all }
    }

    /// How long to wait at most; without it, as long as the limiters' own `max_wait` say, or for ever.
    ///
    /// What the key that refuses cannot grant in that time is refused at once, without queueing.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// The same from code without a runtime: blocks this thread until the units are granted.
    ///
    /// # Errors
    /// As awaiting it.
    pub fn blocking(self) -> Answer<S> {
        super::block_on(self.into_future())
    }
}

impl<S: Store> IntoFuture for AcquireAll<S> {
    type Output = Answer<S>;
    type IntoFuture = AcquireAllFuture<S>;

    fn into_future(self) -> AcquireAllFuture<S> {
        AcquireAllFuture(Stage::Start(Box::new(self)))
    }
}

impl<S: Store> Future for AcquireAllFuture<S> {
    type Output = Answer<S>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer<S>> {
        let this = self.get_mut();
        loop {
            match std::mem::replace(&mut this.0, Stage::Finished) {
                // It waits in a task of its own: whoever is not polled again delays nobody.
                Stage::Start(request) => {
                    let desk =
                        Arc::new(Desk(Mutex::new(Paper { answer: None, reader: None, waiting: None, gone: false })));
                    let (at, errand) = (Arc::clone(&desk), Errand(Some(Arc::clone(&desk))));
                    Task::start(async move { errand.end(request.in_line(&at).await) });
                    this.0 = Stage::Waiting(Reader(desk));
                }
                Stage::Waiting(reader) => {
                    let polled = reader.0.poll(cx);
                    if polled.is_pending() {
                        this.0 = Stage::Waiting(reader);
                    }
                    return polled;
                }
                Stage::Finished => return Poll::Pending,
            }
        }
    }
}

impl<S: Store> AcquireAll<S> {
    async fn in_line(&self, desk: &Desk<S>) -> Answer<S> {
        let asks = self.all.asks();
        let mut asked = None;
        let mut place: Option<Place<'_, S>> = None;
        if asks.iter().any(|ask| ask.core().queues.is_closed()) {
            return Err(Error::Closed);
        }
        self.all.could_be_granted()?;
        if let Some(ahead) = self.all.first_behind_turns() {
            asked = self.asked(asked).await?;
            place = Some(Place::join(&self.all, ahead)?);
        }
        loop {
            if let Some(place) = &place {
                self.come_first(place, &mut asked, desk).await?;
            }
            if asks.iter().any(|ask| ask.core().queues.has_failed()) {
                return Err(Error::Closed);
            }
            let slots = match self.enter() {
                Ok(slots) => slots,
                Err(full) => {
                    asked = self.asked(asked).await?;
                    match &place {
                        Some(place) if place.at == full => {
                            let left = self.left(asked).await?;
                            if left == Some(Duration::ZERO) {
                                return Err(Error::TimedOut { waited: self.timeout.unwrap_or_default() });
                            }
                            self.pause(place, left, desk).await?;
                        }
                        _ => {
                            drop(place.take());
                            place = Some(Place::join(&self.all, full)?);
                        }
                    }
                    continue;
                }
            };
            let since: Vec<u64> = asks.iter().map(|ask| ask.core().resets()).collect();
            let decision = self.all.take(place.is_some()).await?;
            if decision.allowed() {
                let waited = decision.at().saturating_since(asked.unwrap_or(decision.at()));
                let parts = asks.iter().zip(slots).zip(since);
                let permits = parts.map(|((ask, slot), since)| ask.granted(&decision, slot, since).after(waited));
                return Ok(permits.collect());
            }
            drop(slots);
            let denied = decision.denied().max_by_key(|&at| decision.part(at).retry_after()).unwrap_or(0);
            let Some(ask) = asks.get(denied) else { return Err(Error::NothingAsked) };
            let wait = decision.retry_after().ok_or_else(|| never_fits(&ask.quota(), ask.units()))?;
            let since = *asked.get_or_insert(decision.at());
            let wait = wait.saturating_add(ask.core().buffer);
            let needed = decision.at().saturating_since(since).saturating_add(wait);
            if let Some(allowed) = self.timeout.filter(|allowed| needed > *allowed) {
                return Err(Error::WaitTooLong { needed, allowed });
            }
            match &place {
                Some(place) if place.at == denied => {
                    let wait = wait.saturating_add(ask.core().some_jitter());
                    self.pause(place, Some(wait), desk).await?;
                }
                _ => {
                    drop(place.take()); // whose turn it is there now need not wait for this one
                    // As the first, it asks once more: what changed before it stood here told nobody.
                    place = Some(Place::join(&self.all, denied)?);
                }
            }
        }
    }

    /// Waits until nobody stands before `place`, where that can be in time.
    async fn come_first(
        &self,
        place: &Place<'_, S>,
        asked: &mut Option<Timestamp>,
        desk: &Desk<S>,
    ) -> Result<(), Error> {
        if place.is_first() {
            return Ok(());
        }
        *asked = self.asked(*asked).await?;
        let ask = &self.all.asks()[place.at];
        if let (Some(since), Some(allowed)) = (*asked, self.timeout)
            && let Some(state) = ask.core().snapshot_by(&place.key, self.first().clock()).await
        {
            let queues = &ask.core().queues;
            let expected = queues.turn_expected(&place.key, Some(&place.turn), &ask.quota(), ask.units(), state);
            if let Some(needed) = expected.map(|at| at.saturating_since(since)).filter(|needed| *needed > allowed) {
                return Err(Error::WaitTooLong { needed, allowed });
            }
        }
        while !place.is_first() {
            let left = self.left(*asked).await?;
            if let Some((Duration::ZERO, allowed)) = left.zip(self.timeout) {
                let needed = allowed.saturating_add(Duration::from_micros(1)); // at least
                return Err(Error::WaitTooLong { needed, allowed });
            }
            let mut sleep = left.map(|left| Nap::new(&*self.first().sleep, left));
            poll_fn(|cx| {
                if place.is_over(desk, cx) || place.standing(cx) != Standing::Behind {
                    return Poll::Ready(());
                }
                sleep.as_mut().map_or(Poll::Pending, |sleep| Pin::new(sleep).poll(cx))
            })
            .await;
            place.check(desk)?;
        }
        Ok(())
    }

    /// Sleeps for `wait`, for ever where it is not told, or until the key of `place` changes.
    async fn pause(&self, place: &Place<'_, S>, wait: Option<Duration>, desk: &Desk<S>) -> Result<(), Error> {
        let mut sleep = wait.map(|wait| Nap::new(&*self.first().sleep, wait));
        poll_fn(|cx| {
            if place.is_over(desk, cx) || place.standing(cx) == Standing::Changed {
                return Poll::Ready(());
            }
            sleep.as_mut().map_or(Poll::Pending, |sleep| Pin::new(sleep).poll(cx))
        })
        .await;
        place.check(desk)
    }

    /// A place at each key, where permits held at once are bounded; `Err` of the first ask that finds none.
    fn enter(&self) -> Result<Vec<Option<Slot>>, usize> {
        let enter = |(at, ask): (usize, &crate::Ask<S>)| match ask.units() {
            0 => Ok(None),
            _ => ask.core().queues.enter(ask.bytes()).map_err(|_| at),
        };
        self.all.asks().iter().enumerate().map(enter).collect()
    }

    /// Whose clock and timer all is decided by; there is one, else nothing could be granted.
    fn first(&self) -> &Arc<Core<S>> {
        self.all.asks()[0].core()
    }

    /// When it was asked, where that is needed.
    async fn asked(&self, known: Option<Timestamp>) -> Result<Option<Timestamp>, Error> {
        match known {
            None if self.timeout.is_some() => Ok(Some(self.first().roughly_now().await?)),
            _ => Ok(known),
        }
    }

    /// The time left to wait for others; `None` without a bound.
    async fn left(&self, asked: Option<Timestamp>) -> Result<Option<Duration>, Error> {
        let (Some(asked), Some(allowed)) = (asked, self.timeout) else { return Ok(None) };
        let now = self.first().roughly_now().await?;
        Ok(Some(allowed.saturating_sub(now.saturating_since(asked))))
    }
}

/// A place in the line of one of the keys, left when dropped.
struct Place<'a, S: Store> {
    all: &'a All<S>,
    /// Which of the asks it is for.
    at: usize,
    key: Arc<[u8]>,
    turn: Arc<Turn>,
    _counted: Counted,
}

impl<'a, S: Store> Place<'a, S> {
    fn join(all: &'a All<S>, at: usize) -> Result<Self, Error> {
        let ask = &all.asks()[at];
        let counted = Queues::count_one(&ask.core().queues)?;
        let key = Arc::<[u8]>::from(ask.bytes());
        let turn = ask.core().queues.turns().join(&key, ask.units());
        Ok(Self { all, at, key, turn, _counted: counted })
    }

    fn queues(&self) -> &Arc<Queues> {
        &self.all.asks()[self.at].core().queues
    }

    fn standing(&self, cx: &Context<'_>) -> Standing {
        self.queues().turns().standing(&self.key, &self.turn, cx)
    }

    fn is_first(&self) -> bool {
        self.queues().turns().is_first(&self.key, &self.turn)
    }

    /// Whether waiting is of no use any more.
    fn is_over(&self, desk: &Desk<S>, cx: &Context<'_>) -> bool {
        desk.is_gone(cx) || self.queues().has_failed()
    }

    /// An error where waiting is of no use any more.
    fn check(&self, desk: &Desk<S>) -> Result<(), Error> {
        if desk.lock().gone || self.queues().has_failed() { Err(Error::Closed) } else { Ok(()) }
    }
}

impl<S: Store> Drop for Place<'_, S> {
    fn drop(&mut self) {
        self.queues().turns().leave(&self.key, &self.turn);
    }
}

/// Where the one who waits leaves the answer, and who asked for it finds it.
struct Desk<S: Store>(Mutex<Paper<S>>);

struct Paper<S: Store> {
    answer: Option<Answer<S>>,
    reader: Option<Waker>,
    waiting: Option<Waker>,
    /// Whoever asked is not interested any more.
    gone: bool,
}

impl<S: Store> Desk<S> {
    fn lock(&self) -> MutexGuard<'_, Paper<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_gone(&self, cx: &Context<'_>) -> bool {
        let mut paper = self.lock();
        if !paper.gone && !paper.waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            paper.waiting = Some(cx.waker().clone());
        }
        paper.gone
    }

    fn put(&self, answer: Answer<S>) {
        let mut paper = self.lock();
        paper.waiting = None;
        if paper.gone {
            drop(paper);
            give_back(answer);
            return;
        }
        paper.answer = Some(answer);
        let reader = paper.reader.take();
        drop(paper);
        reader.into_iter().for_each(wake);
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Answer<S>> {
        let _replaced; // dropped after the lock, as whatever that drops may be waited for here
        let mut paper = self.lock();
        match paper.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                _replaced = paper.reader.replace(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The desk, for who is to leave the answer there: it finds one also where that panics.
struct Errand<S: Store>(Option<Arc<Desk<S>>>);

impl<S: Store> Errand<S> {
    fn end(mut self, answer: Answer<S>) {
        if let Some(desk) = self.0.take() {
            desk.put(answer);
        }
    }
}

impl<S: Store> Drop for Errand<S> {
    fn drop(&mut self) {
        if let Some(desk) = self.0.take() {
            desk.put(Err(panicked().into()));
        }
    }
}

fn give_back<S: Store>(answer: Answer<S>) {
    answer.into_iter().flatten().for_each(Permit::refund_detached);
}

/// Who waits for the answer; gone when dropped.
struct Reader<S: Store>(Arc<Desk<S>>);

impl<S: Store> Drop for Reader<S> {
    fn drop(&mut self) {
        let mut paper = self.0.lock();
        paper.gone = true;
        let (waiting, answer) = (paper.waiting.take(), paper.answer.take());
        drop(paper);
        waiting.into_iter().for_each(wake);
        answer.into_iter().for_each(give_back);
    }
}

impl<S: Store> fmt::Debug for AcquireAll<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireAll").field("all", &self.all).field("timeout", &self.timeout).finish()
    }
}

impl<S: Store> fmt::Debug for AcquireAllFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireAllFuture").finish_non_exhaustive()
    }
}

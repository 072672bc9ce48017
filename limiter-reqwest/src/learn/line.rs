//! Waiting for a learned pace: first come, first served.

use super::{Learning, Pace, Sent};
use limiter_core::{Clock, Error, MonotonicClock, Sleep, ThreadTimer, Timestamp};
use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// As many wait at most as on a limiter.
const MOST: usize = 100_000;

/// A [`Pace`] that tasks share: each waits for its turn, and tells how its request was answered.
///
/// It needs no runtime. Clones share the pace.
///
/// ```
/// use limiter_reqwest::learn::{Learning, Line};
/// use std::time::Duration;
///
/// # async fn send() -> bool { true }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), limiter_core::Error> {
/// let line = Line::new(Learning::default());
/// let turn = line.turn(Duration::from_secs(10)).await?;
/// let going = turn.go();
/// match send().await {
///     true => going.admitted(),
///     false => going.refused(None),
/// }
/// println!("{} requests a second", line.learned().rate);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Line {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Box<dyn Clock>,
    sleep: Box<dyn Sleep>,
    state: Mutex<State>,
}

struct State {
    pace: Pace,
    waiters: VecDeque<Waiter>,
    next_id: u64,
}

struct Waiter {
    id: u64,
    waker: Option<Waker>,
}

/// What has been learned of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Learned {
    /// The pace now, in requests a second.
    pub rate: f64,
    /// The best guess of the server's limit, in requests a second; `None` before it has refused anything.
    pub limit: Option<f64>,
    /// Whether the server has just refused a request and admitted none since.
    pub stopped: bool,
}

impl Line {
    /// Begins to learn, by this machine's monotonic clock.
    #[must_use]
    pub fn new(settings: Learning) -> Self {
        Self::with(settings, MonotonicClock::new(), ThreadTimer)
    }

    /// Begins to learn by another clock and timer, which must agree: for virtual time.
    #[must_use]
    pub fn with(settings: Learning, clock: impl Clock + 'static, sleep: impl Sleep) -> Self {
        let state = State { pace: Pace::new(settings), waiters: VecDeque::new(), next_id: 0 };
        let (clock, sleep) = (Box::new(clock), Box::new(sleep));
        Self { shared: Arc::new(Shared { clock, sleep, state: Mutex::new(state) }) }
    }

    /// Waits until the next request may go; others wait until the [`Turn`] is used or dropped.
    ///
    /// # Errors
    /// [`Error::WaitTooLong`] at once where the wait would be longer than `max_wait`, as far as that can be told;
    /// [`Error::TimedOut`] once it was; [`Error::QueueFull`] where too many wait.
    pub async fn turn(&self, max_wait: Duration) -> Result<Turn, Error> {
        let begun = self.shared.clock.now();
        Waiting { line: self.clone(), max_wait, begun, id: None, timer: None }.await
    }

    /// What has been learned so far.
    #[must_use]
    pub fn learned(&self) -> Learned {
        let state = self.shared.lock();
        Learned { rate: state.pace.rate(), limit: state.pace.limit(), stopped: state.pace.is_stopped() }
    }

    /// How many wait for their turn, or have it and did not use it yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.lock().waiters.len()
    }
}

impl Line {
    /// Whether the next request has to wait because the last was refused.
    pub(crate) fn is_held(&self) -> bool {
        let state = self.shared.lock();
        state.pace.is_stopped() && state.pace.wait(self.shared.clock.now()) != Some(Duration::ZERO)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the pace, by which the first in line may have to wait longer, or not so long.
    fn tell(&self, change: impl FnOnce(&mut Pace, Timestamp)) {
        let mut state = self.lock();
        change(&mut state.pace, self.clock.now());
        let first = state.waiters.front_mut().and_then(|first| first.waker.take());
        drop(state);
        wake(first);
    }

    /// Takes a waiter out, and wakes who is first after that.
    fn leave(&self, id: u64) {
        let mut state = self.lock();
        state.waiters.retain(|waiter| waiter.id != id);
        let first = state.waiters.front_mut().and_then(|first| first.waker.take());
        drop(state);
        wake(first);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// In line.
struct Waiting {
    line: Line,
    max_wait: Duration,
    begun: Timestamp,
    id: Option<u64>,
    timer: Option<(Timestamp, Timer)>,
}

/// What a look at the line shows.
enum Look {
    Go(u64),
    Fail(Error),
    Until(Timestamp),
}

impl Waiting {
    fn look(&mut self, waker: &Waker) -> Look {
        let shared = &self.line.shared;
        let mut state = shared.lock();
        let now = shared.clock.now();
        let waited = now.saturating_since(self.begun);
        let left = self.max_wait.saturating_sub(waited);
        let id = match self.id {
            Some(id) => id,
            None => {
                let before = state.waiters.len();
                if before >= MOST {
                    return Look::Fail(Error::QueueFull { waiting: before });
                }
                let ahead = before as f64 / state.pace.rate();
                let ahead = Duration::try_from_secs_f64(ahead).unwrap_or(Duration::MAX);
                // As the first waits, those behind do.
                let first = if before > 0 { state.pace.wait(now) } else { None };
                let ahead = ahead.saturating_add(first.unwrap_or_default());
                if ahead > left {
                    return Look::Fail(Error::WaitTooLong { needed: ahead, allowed: self.max_wait });
                }
                let id = state.next_id;
                state.next_id += 1;
                state.waiters.push_back(Waiter { id, waker: None });
                *self.id.insert(id)
            }
        };
        if state.waiters.front().is_some_and(|first| first.id == id) {
            match state.pace.wait(now) {
                Some(Duration::ZERO) => return Look::Go(id),
                Some(wait) if wait > left => {
                    let needed = waited.saturating_add(wait);
                    return Look::Fail(Error::WaitTooLong { needed, allowed: self.max_wait });
                }
                Some(wait) => {
                    state.keep(id, waker);
                    return Look::Until(now.saturating_add(wait));
                }
                None => {}
            }
        }
        if left.is_zero() {
            return Look::Fail(Error::TimedOut { waited });
        }
        state.keep(id, waker);
        Look::Until(self.begun.saturating_add(self.max_wait))
    }
}

impl State {
    fn keep(&mut self, id: u64, waker: &Waker) {
        if let Some(waiter) = self.waiters.iter_mut().find(|waiter| waiter.id == id) {
            waiter.waker = Some(waker.clone());
        }
    }
}

impl Future for Waiting {
    type Output = Result<Turn, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let until = match self.look(context.waker()) {
                Look::Go(id) => {
                    self.id = None;
                    return Poll::Ready(Ok(Turn { line: self.line.clone(), id: Some(id) }));
                }
                Look::Fail(error) => return Poll::Ready(Err(error)),
                Look::Until(until) => until,
            };
            let mut timer = match self.timer.take() {
                Some((due, timer)) if due == until => timer,
                _ => {
                    let now = self.line.shared.clock.now();
                    self.line.shared.sleep.sleep(until.saturating_since(now))
                }
            };
            if timer.as_mut().poll(context).is_pending() {
                self.timer = Some((until, timer));
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.line.shared.leave(id);
        }
    }
}

/// Leave to send one request; dropped unused, it goes to the next in line.
#[must_use = "nobody else goes until it is used or dropped"]
pub struct Turn {
    line: Line,
    id: Option<u64>,
}

impl Turn {
    /// The request goes now.
    pub fn go(mut self) -> Going {
        let mut sent = None;
        self.line.shared.tell(|pace, now| sent = Some(pace.sent(now)));
        let line = self.line.clone();
        self.leave();
        Going { line, sent }
    }

    fn leave(&mut self) {
        if let Some(id) = self.id.take() {
            self.line.shared.leave(id);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A request on its way, until its answer is told. Dropped without one, it counts as lost: nothing is learned of it.
#[must_use = "the answer is to be told"]
pub struct Going {
    line: Line,
    sent: Option<Sent>,
}

impl Going {
    /// The server did not refuse it for its rate.
    pub fn admitted(mut self) {
        if let Some(sent) = self.sent.take() {
            self.line.shared.tell(|pace, now| pace.admitted(now, sent));
        }
    }

    /// The server refused it for its rate, and named a pause or not.
    pub fn refused(mut self, pause: Option<Duration>) {
        if let Some(sent) = self.sent.take() {
            self.line.shared.tell(|learner, now| learner.refused(now, sent, pause));
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        if let Some(sent) = self.sent.take() {
            self.line.shared.tell(|pace, _| pace.lost(sent));
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("waiting", &self.waiting()).field("learned", &self.learned()).finish()
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("line", &self.line).finish_non_exhaustive()
    }
}

impl fmt::Debug for Going {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Going").field("line", &self.line).finish_non_exhaustive()
    }
}

//! The time of a store that is not in this process, as far as it has told.

use crate::{
    Timestamp,
    error::StoreError,
    sync::{Mutex, MutexGuard},
    wait::{panicked, wake},
};
use std::{
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// How long a store's time is carried on by this machine's.
const HEARD_LATELY: Duration = Duration::from_secs(60);

/// The store's time when it last answered, and the question for it that is under way.
#[derive(Default)]
pub(super) struct Heard(Mutex<(Last, Option<Arc<Question>>)>);

/// An answer, and when it came.
type Last = Option<(Timestamp, Instant)>;

/// A question for the time, and all who wait for its answer.
#[derive(Default)]
pub(super) struct Question(Mutex<(Option<Answer>, Vec<Waker>)>);

type Answer = Result<Timestamp, StoreError>;

/// What is known of the time.
pub(super) enum Known {
    Now(Timestamp),
    /// It is being asked for.
    Asked(Arc<Question>),
    /// It is to be asked for, by who is told so, for all who come meanwhile.
    Unknown(Arc<Question>),
}

impl Heard {
    pub(super) fn note(&self, now: Timestamp) {
        self.lock().0 = Some((now, Instant::now()));
    }

    pub(super) fn known(&self) -> Known {
        let mut heard = self.lock();
        if let Some((then, since)) = heard.0 {
            let elapsed = since.elapsed();
            if elapsed < HEARD_LATELY {
                return Known::Now(then.saturating_add(elapsed));
            }
        }
        if let Some(question) = &heard.1 {
            return Known::Asked(Arc::clone(question));
        }
        Known::Unknown(Arc::clone(heard.1.insert(Arc::default())))
    }

    fn lock(&self) -> MutexGuard<'_, (Last, Option<Arc<Question>>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Question {
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Answer> {
        let mut question = self.lock();
        if let Some(answer) = &question.0 {
            return Poll::Ready(answer.clone());
        }
        if !question.1.iter().any(|waker| waker.will_wake(cx.waker())) {
            question.1.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, (Option<Answer>, Vec<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who asks: all who wait get an answer, also where the store panics.
pub(super) struct Asking<'a> {
    pub(super) heard: &'a Heard,
    pub(super) question: Arc<Question>,
    pub(super) answer: Option<Answer>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let answer = self.answer.take().unwrap_or_else(|| Err(panicked()));
        if let Ok(now) = answer {
            self.heard.note(now);
        }
        self.heard.lock().1 = None;
        let mut question = self.question.lock();
        question.0 = Some(answer);
        let waiting = std::mem::take(&mut question.1);
        drop(question);
        waiting.into_iter().for_each(wake);
    }
}

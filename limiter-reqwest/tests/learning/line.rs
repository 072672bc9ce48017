//! Waiting for a learned pace, in virtual time.

use limiter_core::{Error, ManualClock, Timestamp};
use limiter_reqwest::learn::{Going, Learning, Line, Turn};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{task::JoinHandle, task::yield_now};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(3600);

/// Two a second, whatever is answered.
fn line() -> (Line, ManualClock) {
    let clock = ManualClock::new(Timestamp::from_micros(1_000_000_000));
    let settings = Learning::default().start(2.0).floor(2.0).ceiling(2.0);
    (Line::with(settings, clock.clone(), clock.clone()), clock)
}

/// Lets every task run until it waits.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

async fn pass(clock: &ManualClock, time: Duration) {
    let end = Timestamp::saturating_add(limiter_core::Clock::now(clock), time);
    settle().await;
    while let Some(next) = clock.next_wake().filter(|next| *next <= end) {
        clock.set(next);
        settle().await;
    }
    clock.set(end);
    settle().await;
}

async fn go(line: &Line) -> Going {
    line.turn(Duration::ZERO).await.unwrap().go()
}

type Gone = Arc<Mutex<Vec<usize>>>;

/// Takes a turn, and notes that it went.
fn wait(line: &Line, number: usize, gone: &Gone) -> JoinHandle<()> {
    let (line, gone) = (line.clone(), Arc::clone(gone));
    tokio::spawn(async move {
        let going = line.turn(LONG).await.unwrap().go();
        gone.lock().unwrap().push(number);
        going.admitted();
    })
}

#[tokio::test]
async fn first_come_first_served_one_an_interval() {
    let ((line, clock), gone) = (line(), Gone::default());
    for number in 0..5 {
        wait(&line, number, &gone);
        settle().await;
    }
    assert_eq!((gone.lock().unwrap().as_slice(), line.waiting()), ([0].as_slice(), 4));
    pass(&clock, SECOND / 4).await;
    assert_eq!(gone.lock().unwrap().len(), 1);
    pass(&clock, SECOND * 3 / 4 + SECOND / 100).await;
    assert_eq!(*gone.lock().unwrap(), [0, 1, 2]);
    pass(&clock, SECOND * 2).await;
    assert_eq!((gone.lock().unwrap().as_slice(), line.waiting()), ([0, 1, 2, 3, 4].as_slice(), 0));
}

#[tokio::test]
async fn who_gives_up_waiting_frees_the_place() {
    let ((line, clock), gone) = (line(), Gone::default());
    go(&line).await.admitted();
    let tasks: Vec<_> = (0..3).map(|number| wait(&line, number, &gone)).collect();
    settle().await;
    tasks[0].abort();
    settle().await;
    assert_eq!(line.waiting(), 2);
    pass(&clock, SECOND * 2).await;
    assert_eq!(*gone.lock().unwrap(), [1, 2]);
}

#[tokio::test]
async fn an_unused_turn_goes_to_the_next_and_takes_nothing() {
    let ((line, clock), gone) = (line(), Gone::default());
    let turn: Turn = line.turn(LONG).await.unwrap();
    wait(&line, 0, &gone);
    pass(&clock, SECOND * 5).await;
    assert!(gone.lock().unwrap().is_empty());
    drop(turn);
    settle().await;
    assert_eq!(*gone.lock().unwrap(), [0]);
}

#[tokio::test]
async fn a_wait_that_is_too_long_fails_at_once_and_says_how_long() {
    let (line, clock) = line();
    let going = go(&line).await;
    let Err(Error::WaitTooLong { needed, allowed }) = line.turn(SECOND / 4).await else { panic!("a turn") };
    assert!(needed > SECOND / 4 && needed <= SECOND && allowed == SECOND / 4, "{needed:?}");
    let gone = Gone::default();
    for number in 0..10 {
        wait(&line, number, &gone);
    }
    settle().await;
    // One an interval for those ahead, after what is left of this one.
    let Err(Error::WaitTooLong { needed, .. }) = line.turn(SECOND).await else { panic!("a turn") };
    assert!(needed >= SECOND * 5 && needed < SECOND * 6, "{needed:?}");
    assert_eq!(line.waiting(), 10);
    going.admitted();
    pass(&clock, SECOND * 10).await;
    assert_eq!(gone.lock().unwrap().len(), 10);
}

#[tokio::test]
async fn after_a_refusal_one_goes_and_the_others_wait_for_its_answer() {
    let ((line, clock), gone) = (line(), Gone::default());
    go(&line).await.refused(Some(SECOND * 20));
    assert!(line.learned().stopped);
    assert!(matches!(line.turn(SECOND * 10).await, Err(Error::WaitTooLong { .. })));
    let held = line.clone();
    let trial = tokio::spawn(async move { held.turn(LONG).await.unwrap().go() });
    settle().await;
    wait(&line, 1, &gone);
    let impatient = line.clone();
    let impatient = tokio::spawn(async move { impatient.turn(SECOND * 60).await });
    pass(&clock, SECOND * 19).await;
    assert!(!trial.is_finished());
    pass(&clock, SECOND * 2).await;
    let trial = trial.await.unwrap();
    pass(&clock, SECOND * 120).await;
    assert!(gone.lock().unwrap().is_empty());
    assert!(matches!(impatient.await.unwrap(), Err(Error::TimedOut { .. })));
    trial.admitted();
    pass(&clock, SECOND).await;
    assert_eq!(*gone.lock().unwrap(), [1]);
    assert!(!line.learned().stopped);
}

#[tokio::test]
async fn who_comes_behind_others_in_a_pause_is_told_at_once_that_it_is_too_long() {
    let ((line, clock), gone) = (line(), Gone::default());
    go(&line).await.refused(Some(SECOND * 300));
    wait(&line, 0, &gone);
    settle().await;
    let Err(Error::WaitTooLong { needed, .. }) = line.turn(SECOND * 60).await else { panic!("a turn") };
    assert!(needed >= SECOND * 300, "{needed:?}");
    assert_eq!(line.waiting(), 1);
    // However patient, nobody waits longer than that.
    let patient = line.clone();
    let patient = tokio::spawn(async move { drop(patient.turn(Duration::MAX).await.unwrap().go()) });
    pass(&clock, SECOND * 302).await;
    assert!(patient.is_finished() && gone.lock().unwrap().len() == 1);
}

#[tokio::test]
async fn an_answer_that_never_comes_does_not_hold_the_others() {
    let ((line, clock), gone) = (line(), Gone::default());
    go(&line).await.refused(None);
    let (held, wait_for) = (line.clone(), SECOND * 10);
    let trial = tokio::spawn(async move { held.turn(wait_for).await.unwrap().go() });
    settle().await;
    wait(&line, 1, &gone);
    pass(&clock, SECOND * 5).await;
    assert!(gone.lock().unwrap().is_empty());
    drop(trial.await.unwrap()); // given up
    pass(&clock, SECOND).await;
    assert_eq!(*gone.lock().unwrap(), [1]);
}

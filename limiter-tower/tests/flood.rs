//! A million keys sent through the layer: memory is bounded, nobody who was there is forgotten, and who is new and finds
//! no room is told when to come again.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../limiter-core/tests/support/alloc.rs"]
mod alloc;
mod common;
mod support;

use common::{Ready, request};
use http::{Response, StatusCode, request::Parts};
use limiter_core::{Limiter, ManualClock, MemoryStore, Timestamp};
use limiter_tower::{RateLimit, RateLimitLayer};
use std::{
    ops::Range,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};
use support::fields::integer;
use tower::{Layer, Service};

/// Five units an hour for each number that a request carries.
struct Subject {
    clock: ManualClock,
    store: MemoryStore,
    service: RateLimit<Ready>,
}

impl Subject {
    fn new(store: MemoryStore) -> Self {
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        let limiter = Limiter::builder("5/h".parse().unwrap()).store(store.clone()).clock(clock.clone()).build();
        let layer = RateLimitLayer::new(limiter).key(|request: &Parts| request.extensions.get::<u64>().copied());
        Self { clock, store, service: layer.layer(Ready::default()) }
    }

    fn send(&mut self, key: u64) -> Response<String> {
        let mut request = request();
        request.extensions_mut().insert(key);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(self.service.poll_ready(&mut cx).is_ready());
        match pin!(self.service.call(request)).poll(&mut cx) {
            Poll::Ready(Ok(response)) => response,
            Poll::Pending => panic!("memory answers at once"),
        }
    }

    fn is_admitted(&mut self, key: u64) -> bool {
        match self.send(key).status() {
            StatusCode::OK => true,
            StatusCode::TOO_MANY_REQUESTS => false,
            other => panic!("{other}"),
        }
    }

    /// How many of the keys are admitted, a request each.
    fn admitted(&mut self, keys: Range<u64>) -> usize {
        keys.filter(|key| self.is_admitted(*key)).count()
    }
}

const ESTABLISHED: Range<u64> = 0..1_000;

#[test]
fn a_million_keys_at_once_have_room_in_the_default_store() {
    let before = alloc::held();
    let mut subject = Subject::new(MemoryStore::new());
    assert_eq!([subject.admitted(ESTABLISHED), subject.admitted(ESTABLISHED)], [1_000, 1_000]);
    assert_eq!(subject.admitted(1_000_000..2_000_000), 1_000_000);
    let usage = subject.store.usage();
    assert_eq!((usage.keys, usage.overflow_writes), (1_001_000, 0));
    let bytes = alloc::held() - before;
    assert!(bytes < 100 * 1_000_000, "{bytes} bytes");
    for expected in [1_000, 1_000, 1_000, 0] {
        assert_eq!(subject.admitted(ESTABLISHED), expected, "two of the five units were used before");
    }
}

#[test]
fn ten_times_as_many_keys_as_there_is_room_for_take_nothing_from_who_was_there() {
    let before = alloc::held();
    let mut subject = Subject::new(MemoryStore::builder().max_keys(25_000).build());
    for _ in 0..3 {
        assert_eq!(subject.admitted(ESTABLISHED), 1_000);
    }

    let admitted = subject.admitted(1_000_000..1_250_000);
    let usage = subject.store.usage();
    assert!(usage.keys <= usage.max_keys && usage.max_keys < 30_000, "{usage:?}");
    assert!(usage.overflow_states <= 1_024, "{usage:?}");
    let bytes = alloc::held() - before;
    assert!(bytes < 100 * 30_000, "{bytes} bytes");
    // Those with a state of their own, and five for each state that the others share.
    assert!(admitted <= usage.keys + 5 * usage.overflow_states, "{admitted}, {usage:?}");

    for expected in [1_000, 1_000, 0] {
        assert_eq!(subject.admitted(ESTABLISHED), expected, "three of the five units were used before");
    }
    honest_newcomers_are_admitted_as_told(&mut subject);

    // When what the flood used is back, there is room again.
    subject.clock.advance(Duration::from_secs(3_600));
    assert_eq!(subject.admitted(2_000_000..2_010_000), 10_000);
}

/// Who has never been seen waits for one unit of those that share its state, a fifth of an hour at most.
fn honest_newcomers_are_admitted_as_told(subject: &mut Subject) {
    let mut denied = 0;
    for key in 5_000_000..5_000_004 {
        let answer = subject.send(key);
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            denied += 1;
            let wait = integer(answer.headers(), "retry-after");
            assert!(wait <= 720, "{wait} s");
            subject.clock.advance(Duration::from_secs(wait));
            assert!(subject.is_admitted(key), "who waits as told is admitted");
        }
    }
    assert!(denied > 0, "the flood left no room");
}

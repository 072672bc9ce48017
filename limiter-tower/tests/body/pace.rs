//! Exact pace in virtual time: at no instant have more bytes been let through than the quota promises.

use crate::{
    common::crowd::{Crowd, limiter, since_start},
    frames::{Frames, Passed, read, read_all},
};
use bytes::Bytes;
use http_body::{Body, Frame};
use limiter_tower::ThrottledBody;
use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Waker},
    time::Duration,
};

#[test]
fn a_frame_larger_than_the_burst_goes_out_piece_by_piece() {
    let (limiter, clock) = limiter("1000/s burst 100");
    let body = ThrottledBody::new(Frames::of_lengths([350]), limiter, "k");
    let (received, passed) = read_all(body, &clock);
    assert_eq!(received.unwrap().bytes.len(), 350);
    assert_eq!(passed, [(100, 0), (100, 100_000), (100, 200_000), (50, 250_000)]);
}

#[test]
fn small_frames_go_out_as_they_are() {
    let (limiter, clock) = limiter("1000/s burst 100");
    let body = ThrottledBody::new(Frames::of_lengths([60, 60, 7]), limiter, "k");
    assert_eq!(read_all(body, &clock).1, [(60, 0), (60, 20_000), (7, 27_000)]);
}

#[test]
fn a_piece_can_be_set_and_is_never_above_what_the_quota_can_hold() {
    for (piece, expected) in
        [(30, vec![(30, 0), (30, 0), (30, 0), (10, 0)]), (0, vec![(1, 0); 100]), (999, vec![(100, 0)])]
    {
        let (limiter, clock) = limiter("1000/s burst 100");
        let body = ThrottledBody::new(Frames::of_lengths([100]), limiter, "k").piece(piece);
        assert_eq!(read_all(body, &clock).1, expected, "{piece}");
    }
}

#[test]
fn bodies_of_one_key_take_turns_and_other_keys_do_not_wait_for_them() {
    let (limiter, clock) = limiter("1000/s burst 100");
    let mut crowd = Crowd::new(&clock);
    let logs: Vec<Arc<Mutex<Passed>>> = (0..3).map(|_| Arc::default()).collect();
    for (log, key) in logs.iter().zip(["ada", "ada", "bob"]) {
        let body = ThrottledBody::new(Frames::of_lengths([300]), limiter.clone(), key);
        crowd.add(read(body, clock.clone(), Arc::clone(log)));
    }
    crowd.run();
    let passed = |number: usize| logs[number].lock().unwrap().clone();
    // The first body asks for its second piece before the second body comes.
    assert_eq!(passed(0), [(100, 0), (100, 100_000), (100, 300_000)]);
    assert_eq!(passed(1), [(100, 200_000), (100, 400_000), (100, 500_000)]);
    assert_eq!(passed(2), [(100, 0), (100, 100_000), (100, 200_000)]);
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[test]
fn at_no_instant_have_more_bytes_been_let_through_than_the_quota_promises() {
    // The limit a closed window of this many microseconds keeps, or a bucket's burst and its rate a second.
    enum Promise {
        Window(u64, u64),
        Bucket(u64, u64),
    }
    let quotas = [
        ("sliding_log 3000/s", Promise::Window(3000, 1_000_000)),
        ("sliding_log 700/100ms", Promise::Window(700, 100_000)),
        ("5000/s burst 900", Promise::Bucket(900, 5000)),
        ("40000/s burst 50", Promise::Bucket(50, 40_000)),
    ];
    let mut numbers = Numbers(7);
    for (quota, promise) in quotas {
        for _ in 0..12 {
            let (limiter, clock) = limiter(quota);
            let passed: Arc<Mutex<Passed>> = Arc::default();
            let mut crowd = Crowd::new(&clock);
            let mut sent = 0;
            for _ in 0..=numbers.below(4) {
                let count = numbers.below(6);
                let lengths: Vec<usize> = (0..count).map(|_| usize::try_from(numbers.below(4000)).unwrap()).collect();
                sent += lengths.iter().sum::<usize>();
                let mut body = ThrottledBody::new(Frames::of_lengths(lengths), limiter.clone(), "k");
                if numbers.below(2) == 1 {
                    body = body.piece(20 + numbers.below(5000));
                }
                crowd.add(read(body, clock.clone(), Arc::clone(&passed)));
                crowd.advance(Duration::from_micros(numbers.below(300_000)));
            }
            crowd.run();
            let passed = passed.lock().unwrap();
            assert_eq!(passed.iter().map(|(len, _)| len).sum::<usize>(), sent, "{quota}");
            for (first, (_, from)) in passed.iter().enumerate() {
                let mut bytes = 0;
                for (len, to) in &passed[first..] {
                    bytes += *len as u64;
                    match promise {
                        Promise::Window(limit, period) => assert!(to - from > period || bytes <= limit, "{quota}"),
                        Promise::Bucket(burst, rate) => {
                            assert!((bytes - burst.min(bytes)) * 1_000_000 <= rate * (to - from), "{quota}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_dropped_body_gives_back_what_had_not_gone_out() {
    let (limiter, clock) = limiter("sliding_log 100/s");
    let mut cx = Context::from_waker(Waker::noop());
    let mut body = ThrottledBody::new(Frames::of_lengths([300]), limiter.clone(), "k");
    assert!(Pin::new(&mut body).poll_frame(&mut cx).is_ready());
    assert!(Pin::new(&mut body).poll_frame(&mut cx).is_pending());
    assert_eq!(limiter.waiting(), 1);
    clock.advance(Duration::from_micros(1_000_001)); // granted, and nobody reads it
    assert_eq!((limiter.waiting(), limiter.peek("k").unwrap().remaining()), (0, 0));
    drop(body);
    assert_eq!(limiter.peek("k").unwrap().remaining(), 100);
}

#[test]
fn a_quota_that_shrinks_under_a_waiting_piece_lets_smaller_ones_through() {
    let (limiter, clock) = limiter("sliding_log 400/s");
    let passed = Arc::default();
    let mut crowd = Crowd::new(&clock);
    let body = ThrottledBody::new(Frames::of_lengths([800]), limiter.clone(), "k");
    let number = crowd.add(read(body, clock.clone(), Arc::clone(&passed)));
    assert_eq!(*passed.lock().unwrap(), [(400, 0)]);
    limiter.set_quota("sliding_log 100/s".parse().unwrap());
    crowd.run();
    assert_eq!(crowd.take(number).unwrap().0.unwrap().bytes.len(), 800);
    let passed = passed.lock().unwrap();
    assert_eq!(passed[1..].iter().map(|(len, _)| *len).collect::<Vec<_>>(), [100; 4]);
    assert!(since_start(&clock) >= 4_000_000);
}

#[test]
fn nothing_is_read_ahead_of_what_goes_out() {
    let (limiter, _clock) = limiter("sliding_log 10/s");
    let mut cx = Context::from_waker(Waker::noop());
    let frames = Frames::of_lengths([10, 10]).with(Ok(Frame::data(Bytes::from_static(b"last"))));
    let mut body = ThrottledBody::new(frames, limiter, "k");
    for _ in 0..3 {
        let _ = Pin::new(&mut body).poll_frame(&mut cx);
    }
    let shown = format!("{body:?}");
    assert!(shown.contains("held: 10") && shown.contains("last"), "{shown}");
}

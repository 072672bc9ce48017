//! Whatever the pace: bytes, order, trailers, hints and errors stay.

use crate::{
    common::crowd::limiter,
    frames::{Frames, read_all},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use limiter_core::{Error, Limiter};
use limiter_tower::{ThrottleError, ThrottledBody};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))])
}

#[test]
fn bytes_and_their_order_stay_and_trailers_pass_uncounted() {
    let (limiter, clock) = limiter("1000/s burst 70");
    let expected: Vec<u8> = (1..=255).chain([0]).cycle().take(400).collect();
    let frames = Frames::of_lengths([90, 0, 300, 10]).with(Ok(Frame::trailers(trailers())));
    let (received, passed) = read_all(ThrottledBody::new(frames, limiter.clone(), "k"), &clock);
    let received = received.unwrap();
    assert_eq!(received.bytes, expected);
    assert_eq!(received.trailers, Some(trailers()));
    let empty = passed.iter().filter(|(len, _)| *len == 0).count();
    assert_eq!(empty, 1, "an empty frame is a frame, and costs nothing");
    assert_eq!(passed.last().unwrap().1, 330_000);
}

#[test]
fn trailers_pass_at_once_where_no_unit_is_left() {
    let (limiter, clock) = limiter("10/day");
    limiter.check_n("k", 10).unwrap();
    let frames = Frames::of_lengths([0]).with(Ok(Frame::trailers(trailers())));
    let (received, passed) = read_all(ThrottledBody::new(frames, limiter, "k"), &clock);
    assert_eq!(received.unwrap().trailers, Some(trailers()));
    assert_eq!(passed, [(0, 0)]);
}

#[test]
fn size_hint_and_end_of_stream_count_what_is_held() {
    let (limiter, clock) = limiter("sliding_log 10/s");
    let mut cx = Context::from_waker(Waker::noop());
    let mut body = ThrottledBody::new(Full::new(Bytes::from_static(b"twenty-five bytes in all!")), limiter, "k");
    for left in [25, 15, 5] {
        assert_eq!(body.size_hint().exact(), Some(left));
        assert!(!body.is_end_stream());
        assert!(Pin::new(&mut body).poll_frame(&mut cx).is_ready());
        assert!(left <= 10 || Pin::new(&mut body).poll_frame(&mut cx).is_pending());
        clock.advance(Duration::from_micros(1_000_001));
    }
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(matches!(Pin::new(&mut body).poll_frame(&mut cx), Poll::Ready(None)));
}

/// Says nothing of its size but that it is at least this.
struct AtLeast(u64);

impl Body for AtLeast {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"0123456789")))))
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.0);
        hint
    }
}

#[test]
fn a_size_that_is_not_known_stays_so_and_the_largest_does_not_overflow() {
    for (least, held) in [(5, 12), (u64::MAX, u64::MAX)] {
        let mut body = ThrottledBody::new(AtLeast(least), limiter("3/s").0, "k");
        assert!(Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())).is_ready());
        assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (held, None));
    }
}

#[test]
fn an_inner_failure_comes_after_the_bytes_before_it_and_keeps_its_type() {
    let (limiter, clock) = limiter("1000/s burst 10");
    let frames = Frames::of_lengths([30]).with(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
    let (received, passed) = read_all(ThrottledBody::new(frames, limiter, "k"), &clock);
    let failed = received.err().unwrap();
    assert_eq!(failed.inner::<io::Error>().unwrap().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(passed, [(10, 0), (10, 10_000), (10, 20_000)]);
}

#[test]
fn a_refusal_loses_no_bytes() {
    let (_, clock) = limiter("1/s");
    let builder = Limiter::builder("sliding_log 10/s".parse().unwrap()).max_wait(Duration::from_millis(1));
    let limiter = builder.clock(clock.clone()).sleep(clock.clone()).build();
    let mut cx = Context::from_waker(Waker::noop());
    let mut body = ThrottledBody::new(Frames::of_lengths([15]), limiter, "k");
    let mut received = Vec::new();
    for is_refused in [false, true, false] {
        match Pin::new(&mut body).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) if !is_refused => received.extend(frame.into_data().unwrap()),
            Poll::Ready(Some(Err(ThrottleError::Refused(Error::WaitTooLong { .. })))) if is_refused => {
                clock.advance(Duration::from_secs(2));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(received, (1..=15).collect::<Vec<u8>>());
}

#[test]
fn a_body_without_a_quota_is_as_it_was() {
    let (_, clock) = limiter("1/s");
    let frames = Frames::of_lengths([90_000, 0, 5]).with(Ok(Frame::trailers(trailers())));
    let (received, passed) = read_all(ThrottledBody::unlimited(frames), &clock);
    assert_eq!(received.unwrap().trailers, Some(trailers()));
    assert_eq!(passed, [(90_000, 0), (0, 0), (5, 0)]);
}

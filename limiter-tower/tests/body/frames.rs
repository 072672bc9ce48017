//! Bodies made of given frames, and what came out of a throttled one, when.

use crate::common::crowd::{Crowd, since_start};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use limiter_core::ManualClock;
use limiter_tower::{ThrottleError, ThrottledBody};
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

/// A body of these frames, ready at once.
#[derive(Default, Debug)]
pub(crate) struct Frames(pub(crate) VecDeque<io::Result<Frame<Bytes>>>);

impl Frames {
    /// Data frames of these lengths, whose bytes count on.
    pub(crate) fn of_lengths(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut next = 0_u8;
        let frame = |len: usize| {
            let bytes: Vec<u8> = (0..len)
                .map(|_| {
                    next = next.wrapping_add(1);
                    next
                })
                .collect();
            Ok(Frame::data(Bytes::from(bytes)))
        };
        Self(lengths.into_iter().map(frame).collect())
    }

    pub(crate) fn with(mut self, frame: io::Result<Frame<Bytes>>) -> Self {
        self.0.push_back(frame);
        self
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let frames = self.0.iter().flatten();
        SizeHint::with_exact(frames.filter_map(Frame::data_ref).map(|data| data.len() as u64).sum())
    }
}

/// What a body let through: how many bytes at which microsecond.
pub(crate) type Passed = Vec<(usize, u64)>;

/// All that came out of a body.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// Reads `body` to its end, and notes what comes when.
pub(crate) async fn read(
    mut body: ThrottledBody<Frames>,
    clock: ManualClock,
    passed: Arc<Mutex<Passed>>,
) -> Result<Received, ThrottleError> {
    let mut received = Received::default();
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                passed.lock().unwrap().push((data.len(), since_start(&clock)));
                received.bytes.extend_from_slice(&data);
            }
            Err(frame) => received.trailers = frame.into_trailers().ok(),
        }
    }
    Ok(received)
}

/// Reads one body in virtual time.
pub(crate) fn read_all(body: ThrottledBody<Frames>, clock: &ManualClock) -> (Result<Received, ThrottleError>, Passed) {
    let passed = Arc::default();
    let mut crowd = Crowd::new(clock);
    let number = crowd.add(read(body, clock.clone(), Arc::clone(&passed)));
    crowd.run();
    let received = crowd.take(number).unwrap().0;
    let passed = passed.lock().unwrap().clone();
    (received, passed)
}

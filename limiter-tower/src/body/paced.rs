//! A body whose bytes wait for their turn.

use super::piece::piece;
use crate::ThrottleError;
use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use limiter_core::{AcquireFuture, Error, Key, KeyBuf, Limiter, MemoryStore, Store};
use pin_project_lite::pin_project;
use std::{
    error::Error as StdError,
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll, ready},
};

pin_project! {
    /// A body whose bytes wait for their turn, one unit each; made by hand, or by a
    /// [`ThrottleResponseBodyLayer`](crate::ThrottleResponseBodyLayer) or
    /// [`ThrottleRequestBodyLayer`](crate::ThrottleRequestBodyLayer).
    ///
    /// * **Never more than the quota promises.** No byte goes out before it was granted. A frame larger than a
    ///   [piece](Self::piece) goes out piece by piece, so a frame of any size passes under any quota, and bodies of one key
    ///   take turns, first come, first served.
    /// * **Nothing is lost or added.** Bytes and order stay; so do trailers, which are not counted, `size_hint` and
    ///   `is_end_stream`. Where the inner data is [`Bytes`], none are copied.
    /// * **Nothing is read ahead.** The inner body is asked for a frame when the one before has gone out, so that whoever
    ///   produces it slows down too.
    /// * **Dropping it** gives back what was granted and had not gone out.
    /// * **Failure.** Where the limiter's store fails, or its own bound on waiting is passed, the body fails with a
    ///   [`ThrottleError`]. The bytes are kept, and asked for again should it be polled again.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::{BodyExt, Full};
    /// use limiter_core::Limiter;
    /// use limiter_tower::ThrottledBody;
    /// use std::time::Instant;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // 100 kB/s for each user, and 10 kB at once after a pause.
    /// let limiter = Limiter::parse("100000/s burst 10000")?;
    /// let begun = Instant::now();
    /// let body = ThrottledBody::new(Full::new(Bytes::from(vec![7; 15_000])), limiter, "ada");
    /// assert_eq!(body.collect().await?.to_bytes().len(), 15_000);
    /// assert!(begun.elapsed().as_millis() >= 50);
    /// # Ok(())
    /// # }
    /// ```
    pub struct ThrottledBody<B, S = MemoryStore>
    where
        B: Body,
        S: Store,
    {
        #[pin]
        body: B,
        pace: Option<Pace<S>>,
        // Bytes of the inner body that have not gone out.
        held: Option<B::Data>,
        turn: Option<Turn<S>>,
    }
}

/// Under whose quota the bytes are counted.
struct Pace<S: Store> {
    limiter: Limiter<S>,
    key: KeyBuf,
    piece: Option<u64>,
}

/// Bytes that are asked for.
struct Turn<S: Store> {
    bytes: u64,
    granted: AcquireFuture<S>,
}

impl<B: Body, S: Store> ThrottledBody<B, S> {
    /// `body` at the pace of `key`'s quota.
    #[must_use]
    pub fn new(body: B, limiter: Limiter<S>, key: impl Key) -> Self {
        let pace = Pace { limiter, key: KeyBuf::of(&key), piece: None };
        Self { body, pace: Some(pace), held: None, turn: None }
    }

    /// `body` as it is.
    #[must_use]
    pub fn unlimited(body: B) -> Self {
        Self { body, pace: None, held: None, turn: None }
    }

    /// The most bytes to let through at once, at least 1, and never more than the quota can hold.
    ///
    /// Without it: what the quota lets through in a tenth of a second, but at least 512 bytes, and at most 16 KiB, or
    /// 256 KiB where the store is not in this process. A larger piece asks the limiter less often; a smaller one is smoother.
    #[must_use]
    pub fn piece(mut self, bytes: u64) -> Self {
        if let Some(pace) = &mut self.pace {
            pace.piece = Some(bytes.max(1));
        }
        self
    }
}

impl<S: Store> Pace<S> {
    /// Asks for as many of `left` bytes as may go out at once.
    fn turn(&self, left: usize) -> Turn<S> {
        let most = self.limiter.with_quota_of(&self.key, |quota| match self.piece {
            Some(piece) => piece.min(quota.capacity()),
            None => piece(quota, self.limiter.store().is_local()),
        });
        self.ask(most.min(u64::try_from(left).unwrap_or(u64::MAX)))
    }

    fn ask(&self, bytes: u64) -> Turn<S> {
        Turn { bytes, granted: self.limiter.acquire(&self.key).cost(bytes).into_future() }
    }
}

impl<B, S> Body for ThrottledBody<B, S>
where
    B: Body,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
    S: Store,
{
    type Data = Bytes;
    type Error = ThrottleError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ThrottleError>>> {
        let mut this = self.project();
        loop {
            if let (Some(data), Some(pace)) = (this.held.as_mut(), &*this.pace) {
                let turn = this.turn.get_or_insert_with(|| pace.turn(data.remaining()));
                let (asked, granted) = (turn.bytes, ready!(Pin::new(&mut turn.granted).poll(cx)));
                *this.turn = match granted {
                    Ok(_) => None,
                    // The quota has shrunk since it was looked at.
                    Err(Error::NeverFits { capacity, .. }) if (1..asked).contains(&capacity) => {
                        Some(pace.ask(capacity))
                    }
                    Err(error) => {
                        *this.turn = None;
                        return Poll::Ready(Some(Err(ThrottleError::Refused(error))));
                    }
                };
                if this.turn.is_some() {
                    continue;
                }
                let len = usize::try_from(asked).unwrap_or(usize::MAX).min(data.remaining());
                let piece = data.copy_to_bytes(len);
                if !data.has_remaining() {
                    *this.held = None;
                }
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let frame = match ready!(this.body.as_mut().poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(ThrottleError::from_inner(error)))),
                Some(Ok(frame)) => frame,
            };
            let is_counted = this.pace.is_some() && frame.data_ref().is_some_and(Buf::has_remaining);
            if !is_counted {
                return Poll::Ready(Some(Ok(frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))));
            }
            *this.held = frame.into_data().ok();
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.as_ref().map_or(0, |data| u64::try_from(data.remaining()).unwrap_or(u64::MAX));
        let inner = self.body.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper().and_then(|upper| upper.checked_add(held)) {
            hint.set_upper(upper); // before the lower one, which may not be above it
        }
        hint.set_lower(inner.lower().saturating_add(held));
        hint
    }
}

impl<B: Body + From<String>, S: Store> From<String> for ThrottledBody<B, S> {
    /// An answer of a layer's own, which is not throttled.
    fn from(text: String) -> Self {
        Self::unlimited(B::from(text))
    }
}

impl<B: Body + fmt::Debug, S: Store> fmt::Debug for ThrottledBody<B, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottledBody")
            .field("body", &self.body)
            .field("limiter", &self.pace.as_ref().map(|pace| &pace.limiter))
            .field("held", &self.held.as_ref().map_or(0, Buf::remaining))
            .finish()
    }
}

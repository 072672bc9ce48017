//! Streams and sinks at a limiter's pace.

use super::{AcquireFuture, Permit};
use crate::{Error, Key, KeyBuf, Limiter, store::Store};
use futures_core::Stream;
use futures_sink::Sink;
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Streams and sinks (feature `futures`).
impl<S: Store> Limiter<S> {
    /// `stream` with one unit of `key` taken, and waited for, before each item comes out.
    ///
    /// A unit is asked for once the item is there, so that none is taken at the stream's end. An item that cannot be
    /// admitted is lost to the error that comes in its place.
    ///
    /// ```
    /// use futures_util::{StreamExt, stream};
    /// use limiter_core::Limiter;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), limiter_core::QuotaError> {
    /// let limiter = Limiter::parse("100/s")?;
    /// let mut paced = limiter.stream("feed", stream::iter(1..=3));
    /// let mut sum = 0;
    /// while let Some(Ok(n)) = paced.next().await {
    ///     sum += n;
    /// }
    /// assert_eq!(sum, 6);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream<T: Stream>(&self, key: impl Key, stream: T) -> LimitedStream<T, S> {
        LimitedStream { stream, limiter: self.clone(), key: KeyBuf::of(&key), cost: None, item: None, turn: None }
    }

    /// `sink` that takes, and waits for, one unit of `key` before it is ready for each item. A unit for an item that then
    /// does not come is returned when the sink is dropped.
    ///
    /// ```
    /// use futures_util::{SinkExt, sink};
    /// use limiter_core::{Error, Limiter};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let limiter = Limiter::parse("100/s").unwrap();
    /// let print = sink::unfold((), |(), n: u32| async move { Ok::<_, Error>(println!("{n}")) });
    /// let mut paced = Box::pin(limiter.sink("printer", print));
    /// paced.send(1).await?;
    /// paced.send(2).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The sink made fails with what `acquire` does, as its own error type.
    pub fn sink<T>(&self, key: impl Key, sink: T) -> LimitedSink<T, S> {
        LimitedSink { sink, limiter: self.clone(), key: KeyBuf::of(&key), turn: None, admitted: None }
    }
}

pin_project! {
    /// A stream at a limiter's pace; made by [`Limiter::stream`].
    #[must_use = "streams do nothing unless polled"]
    pub struct LimitedStream<T: Stream, S: Store> {
        #[pin]
        stream: T,
        limiter: Limiter<S>,
        key: KeyBuf,
        cost: Option<Box<CostOf<T::Item>>>,
        item: Option<T::Item>,
        turn: Option<AcquireFuture<S>>,
    }
}

type CostOf<I> = dyn Fn(&I) -> u64 + Send + Sync;

impl<T: Stream, S: Store> LimitedStream<T, S> {
    /// What an item takes instead of one unit; 0 passes at once. One above the quota's capacity is lost to
    /// [`Error::NeverFits`].
    ///
    /// ```
    /// use futures_util::{StreamExt, stream};
    /// use limiter_core::Limiter;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), limiter_core::QuotaError> {
    /// let bytes_a_day = Limiter::parse("1000/day")?;
    /// let texts = bytes_a_day.stream("feed", stream::iter(["ten bytes.", "seven b"]));
    /// assert_eq!(texts.cost(|text| text.len() as u64).count().await, 2);
    /// assert_eq!(bytes_a_day.peek("feed").unwrap().remaining(), 983);
    /// # Ok(())
    /// # }
    /// ```
    pub fn cost(mut self, cost: impl Fn(&T::Item) -> u64 + Send + Sync + 'static) -> Self {
        self.cost = Some(Box::new(cost));
        self
    }
}

impl<T: Stream, S: Store> Stream for LimitedStream<T, S> {
    type Item = Result<T::Item, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if this.item.is_none() {
            let Some(item) = ready!(this.stream.poll_next(cx)) else { return Poll::Ready(None) };
            let cost = this.cost.as_ref().map_or(1, |cost| cost(&item));
            *this.item = Some(item);
            *this.turn = Some(this.limiter.acquire(&*this.key).cost(cost).into_future());
        }
        ready_for(this.limiter, this.key, this.turn, cx).map(|turn| match (turn, this.item.take()) {
            (Ok(_permit), item) => item.map(Ok),
            (Err(error), _) => Some(Err(error)),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let held = usize::from(self.item.is_some());
        let (least, most) = self.stream.size_hint();
        (least.saturating_add(held), most.and_then(|most| most.checked_add(held)))
    }
}

impl<T: Stream + fmt::Debug, S: Store> fmt::Debug for LimitedStream<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedStream").field("stream", &self.stream).finish_non_exhaustive()
    }
}

pin_project! {
    /// A sink at a limiter's pace; made by [`Limiter::sink`].
    #[must_use = "sinks do nothing unless polled"]
    pub struct LimitedSink<T, S: Store> {
        #[pin]
        sink: T,
        limiter: Limiter<S>,
        key: KeyBuf,
        turn: Option<AcquireFuture<S>>,
        // For the item that it said it is ready for.
        admitted: Option<Permit<S>>,
    }

    impl<T, S: Store> PinnedDrop for LimitedSink<T, S> {
        fn drop(this: Pin<&mut Self>) {
            this.project().admitted.take().into_iter().for_each(Permit::refund_detached);
        }
    }
}

impl<I, T, S: Store> Sink<I> for LimitedSink<T, S>
where
    T: Sink<I>,
    T::Error: From<Error>,
{
    type Error = T::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        let this = self.project();
        // The sink first: while it is not ready, no unit is held for it.
        ready!(this.sink.poll_ready(cx))?;
        if this.admitted.is_none() {
            *this.admitted = Some(ready!(ready_for(this.limiter, this.key, this.turn, cx))?);
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, item: I) -> Result<(), T::Error> {
        let this = self.project();
        *this.admitted = None;
        this.sink.start_send(item)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        self.project().sink.poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        self.project().sink.poll_close(cx)
    }
}

impl<T: fmt::Debug, S: Store> fmt::Debug for LimitedSink<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedSink").field("sink", &self.sink).finish_non_exhaustive()
    }
}

/// Polls the turn that is waited for, or a new one.
fn ready_for<S: Store>(
    limiter: &Limiter<S>,
    key: &KeyBuf,
    turn: &mut Option<AcquireFuture<S>>,
    cx: &mut Context<'_>,
) -> Poll<Result<Permit<S>, Error>> {
    let waiting = turn.get_or_insert_with(|| limiter.acquire(key).into_future());
    let permit = ready!(Pin::new(waiting).poll(cx));
    *turn = None;
    Poll::Ready(permit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, Timestamp};
    use futures_util::{SinkExt, StreamExt, sink, stream};
    use std::{task::Waker, time::Duration};

    fn limiter(quota: &str) -> (Limiter, ManualClock) {
        let clock = ManualClock::new(Timestamp::from_micros(1_000_000));
        let builder = Limiter::builder(quota.parse().unwrap());
        (builder.clock(clock.clone()).sleep(clock.clone()).build(), clock)
    }

    #[test]
    fn items_come_at_the_quotas_pace_and_the_end_takes_no_unit() {
        let (limiter, clock) = limiter("sliding_log 2/s");
        let mut paced = limiter.stream("k", stream::iter(1..=5));
        let mut cx = Context::from_waker(Waker::noop());
        let mut seen = Vec::new();
        for _ in 0..4 {
            while let Poll::Ready(Some(item)) = paced.poll_next_unpin(&mut cx) {
                seen.push((item.unwrap(), clock_of(&clock)));
            }
            clock.advance(Duration::from_micros(1_000_001));
        }
        assert_eq!(seen, [(1, 1_000_000), (2, 1_000_000), (3, 2_000_001), (4, 2_000_001), (5, 3_000_002)]);
        assert_eq!(limiter.peek("k").unwrap().remaining(), 2);
        assert_eq!(paced.size_hint(), (0, Some(0)));
    }

    #[test]
    fn an_item_waits_for_as_many_units_as_it_costs() {
        let (limiter, clock) = limiter("10/s");
        let mut paced = limiter.stream("k", stream::iter([10, 5, 0, 11])).cost(|units| *units);
        let mut cx = Context::from_waker(Waker::noop());
        let mut next = || match paced.poll_next_unpin(&mut cx) {
            Poll::Ready(Some(item)) => Some(item),
            _ => None,
        };
        assert!(matches!(next(), Some(Ok(10))));
        clock.advance(Duration::from_millis(499));
        assert!(next().is_none());
        clock.advance(Duration::from_millis(1));
        assert!(matches!(next(), Some(Ok(5))));
        assert!(matches!(next(), Some(Ok(0))), "at once");
        assert!(matches!(next(), Some(Err(Error::NeverFits { cost: 11, .. }))));
    }

    #[test]
    fn a_sink_is_ready_when_a_unit_is_there() {
        let (limiter, clock) = limiter("sliding_log 1/s");
        let inner = sink::unfold(Vec::new(), |mut all: Vec<u32>, n| async move {
            all.push(n);
            Ok::<_, Error>(all)
        });
        let mut paced = Box::pin(limiter.sink("k", inner));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(paced.poll_ready_unpin(&mut cx).is_ready());
        assert!(paced.poll_ready_unpin(&mut cx).is_ready(), "ready stays ready, and takes one unit");
        paced.start_send_unpin(1).unwrap();
        assert!(paced.poll_flush_unpin(&mut cx).is_ready());
        assert!(paced.poll_ready_unpin(&mut cx).is_pending());
        clock.advance(Duration::from_micros(1_000_001));
        assert!(paced.poll_ready_unpin(&mut cx).is_ready());
    }

    #[test]
    fn a_sink_that_is_dropped_while_it_is_ready_or_waits_takes_nothing() {
        let (limiter, _clock) = limiter("sliding_log 1/s");
        let mut cx = Context::from_waker(Waker::noop());
        let paced = || Box::pin(limiter.sink("k", sink::drain().sink_map_err(|_| Error::Closed)));
        let [mut ready, mut waiting]: [Pin<Box<dyn Sink<u32, Error = Error>>>; 2] = [paced(), paced()];
        assert!(ready.poll_ready_unpin(&mut cx).is_ready());
        assert!(waiting.poll_ready_unpin(&mut cx).is_pending());
        drop(ready);
        drop(waiting); // granted what the other had
        assert_eq!(limiter.peek("k").unwrap().remaining(), 1);
    }

    #[test]
    fn a_stream_whose_limiter_is_closed_says_so() {
        let (limiter, _clock) = limiter("1/s");
        limiter.close_now();
        let mut paced = limiter.stream("k", stream::iter([1]));
        let polled = paced.poll_next_unpin(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Some(Err(Error::Closed)))));
    }

    fn clock_of(clock: &ManualClock) -> u64 {
        crate::Clock::now(clock).as_micros()
    }
}

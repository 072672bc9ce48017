//! A WebSocket whose incoming messages are limited (feature `ws`).

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use limiter_core::{AcquireFuture, Error, Key, KeyBuf, Limiter, MemoryStore, Sleep, Store, ThreadTimer};
use std::{
    fmt,
    future::{Future, IntoFuture, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

/// A WebSocket whose incoming messages are limited: each waits for its turn, or closes the connection.
///
/// Text, binary, ping and pong messages are counted, one unit each or what [`cost`](Self::cost) says. While a message waits no
/// other is read, so that a peer that sends too fast is slowed down by TCP. What is sent is not limited; for that there
/// are `Limiter::stream` and `Limiter::sink` (`limiter-core`'s feature `futures`).
///
/// | the message | the connection is closed with |
/// | --- | --- |
/// | would have to wait longer than [`max_wait`](Self::max_wait) | 1008 (policy violation), `rate limit exceeded; retry after 3 s` |
/// | costs more than the quota can ever hold | 1009 (message too big) |
/// | cannot be decided on, as the limiter's store failed or the limiter is closed | 1013 (try again later) |
///
/// ```
/// use axum::{Router, extract::ws::WebSocketUpgrade, routing::any};
/// use limiter_axum::LimitedSocket;
/// use limiter_core::Limiter;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let limiter = Limiter::parse("5/s burst 10")?;
/// let chat = async move |upgrade: WebSocketUpgrade| {
///     upgrade.on_upgrade(async move |socket| {
///         // Each connection by itself; give all of a user's connections the user for a key to count them together.
///         let mut socket = LimitedSocket::new(socket, limiter, ()).max_wait(Duration::from_millis(100));
///         while let Some(Ok(message)) = socket.recv().await {
///             println!("{message:?}");
///         }
///     })
/// };
/// let app: Router = Router::new().route("/chat", any(chat));
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
pub struct LimitedSocket<S: Store = MemoryStore> {
    socket: WebSocket,
    limiter: Limiter<S>,
    key: KeyBuf,
    cost: Option<Box<CostOf>>,
    max_wait: Option<Duration>,
    /// A message that waits, so that a `recv` that is dropped loses none.
    held: Option<(Message, AcquireFuture<S>)>,
    is_closed: bool,
}

type CostOf = dyn Fn(&Message) -> u64 + Send + Sync;

/// How long a peer may take to answer that the connection is closed.
const FAREWELL: Duration = Duration::from_secs(1);

impl<S: Store> LimitedSocket<S> {
    /// Counts the messages of `socket` under `key`, and lets them wait for as long as the limiter does.
    #[must_use]
    pub fn new(socket: WebSocket, limiter: Limiter<S>, key: impl Key) -> Self {
        let key = KeyBuf::of(&key);
        Self { socket, limiter, key, cost: None, max_wait: None, held: None, is_closed: false }
    }

    /// What a message takes, in the quota's units; 1 by default.
    #[must_use]
    pub fn cost(mut self, cost: impl Fn(&Message) -> u64 + Send + Sync + 'static) -> Self {
        self.cost = Some(Box::new(cost));
        self
    }

    /// How long a message may wait before the connection is closed instead; zero closes at once.
    #[must_use]
    pub fn max_wait(mut self, limit: Duration) -> Self {
        self.max_wait = Some(limit);
        self
    }

    /// The next message, after its turn; `None` once the connection is closed, by either side.
    ///
    /// Dropping the future loses no message and no turn: it can stand in a `select!`.
    ///
    /// # Errors
    /// The socket's.
    pub async fn recv(&mut self) -> Option<Result<Message, axum::Error>> {
        if self.is_closed {
            return None;
        }
        if self.held.is_none() {
            match self.socket.recv().await? {
                Ok(message) if !matches!(message, Message::Close(_)) => {
                    let turn = self.turn(&message);
                    self.held = Some((message, turn));
                }
                other => return Some(other),
            }
        }
        let (_, turn) = self.held.as_mut()?;
        let granted = turn.await;
        let (message, _) = self.held.take()?;
        match granted {
            Ok(_) => Some(Ok(message)),
            Err(error) => {
                self.close(&error).await;
                None
            }
        }
    }

    /// Sends a message, unlimited.
    ///
    /// # Errors
    /// The socket's.
    pub async fn send(&mut self, message: Message) -> Result<(), axum::Error> {
        self.socket.send(message).await
    }

    /// The socket, without a limit. A message that waited is lost.
    #[must_use]
    pub fn into_inner(self) -> WebSocket {
        self.socket
    }

    fn turn(&self, message: &Message) -> AcquireFuture<S> {
        let cost = self.cost.as_ref().map_or(1, |cost| cost(message));
        let turn = self.limiter.acquire(&self.key).cost(cost);
        match self.max_wait {
            Some(limit) => turn.timeout(limit).into_future(),
            None => turn.into_future(),
        }
    }

    /// Says why, and reads on until the peer has seen it: a connection dropped with unread bytes is reset, and what was
    /// said may be lost.
    async fn close(&mut self, error: &Error) {
        self.is_closed = true;
        if self.socket.send(Message::Close(Some(close_frame(error)))).await.is_err() {
            return;
        }
        let socket = &mut self.socket;
        let mut farewell = pin!(async move { while let Some(Ok(_)) = socket.recv().await {} });
        let mut late = ThreadTimer.sleep(FAREWELL);
        poll_fn(|cx| match farewell.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => late.as_mut().poll(cx),
        })
        .await;
    }
}

/// The frame that closes a WebSocket for a message that got no turn; see the table of [`LimitedSocket`].
///
/// For those who read the socket themselves.
///
/// ```
/// use axum::extract::ws::close_code;
/// use limiter_core::Limiter;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let limiter = Limiter::parse("fixed_window 1/day")?;
/// let mut refused = None;
/// while refused.is_none() {
///     refused = limiter.acquire("ada").timeout(Duration::ZERO).blocking().err();
/// }
/// let frame = limiter_axum::close_frame(&refused.unwrap());
/// assert_eq!(frame.code, close_code::POLICY);
/// assert!(frame.reason.starts_with("rate limit exceeded; retry after "));
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn close_frame(error: &Error) -> CloseFrame {
    let (code, reason) = match error {
        Error::WaitTooLong { needed, .. } => {
            let seconds = needed.as_secs() + u64::from(needed.subsec_nanos() > 0);
            (close_code::POLICY, format!("rate limit exceeded; retry after {} s", seconds.max(1)))
        }
        Error::TimedOut { .. } | Error::QueueFull { .. } => (close_code::POLICY, "rate limit exceeded".to_owned()),
        Error::NeverFits { capacity, .. } => {
            (close_code::SIZE, format!("a message of more than {capacity} units can never be admitted"))
        }
        _ => (close_code::AGAIN, "the rate limit cannot be decided on now".to_owned()),
    };
    CloseFrame { code, reason: reason.into() }
}

impl<S: Store> fmt::Debug for LimitedSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedSocket")
            .field("limiter", &self.limiter)
            .field("max_wait", &self.max_wait)
            .field("is_waiting", &self.held.is_some())
            .field("is_closed", &self.is_closed)
            .finish_non_exhaustive()
    }
}

//! One server's connection: opened when needed, shared by all calls, opened anew with a backoff once it has ended.

use super::error::Failure;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, PushInfo, PushKind, Value, aio::MultiplexedConnection,
};
use std::{
    sync::{
        Arc, Mutex as Shared, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Mutex,
    time::{Instant, error::Elapsed, sleep_until, timeout_at},
};

/// The longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// A server at an address.
pub(super) struct Node {
    info: ConnectionInfo,
    /// Held while connecting, so that one call connects for all.
    connecting: Mutex<Pause>,
    live: Shared<Option<Live>>,
}

/// When the next attempt may start, and how long the pause before it was.
#[derive(Default)]
struct Pause {
    until: Option<Instant>,
    length: Duration,
}

#[derive(Clone)]
struct Live {
    connection: MultiplexedConnection,
    ended: Arc<AtomicBool>,
}

impl Node {
    pub(super) fn new(info: ConnectionInfo) -> Self {
        Self { info, connecting: Mutex::default(), live: Shared::default() }
    }

    pub(super) fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// Sends one command and waits for its answer, until `deadline`. It is sent at most once.
    pub(super) async fn call(&self, command: &Cmd, deadline: Instant) -> Result<Value, Failure> {
        let mut live = timeout_at(deadline, self.connect(deadline)).await.map_err(|_| Failure::NotSent)??;
        let answer = timeout_at(deadline, command.query_async(&mut live.connection)).await;
        Self::settle(&live, answer)
    }

    /// The same to a node of a Cluster that is about to own the command's slot, and must be told so right before.
    pub(super) async fn call_asking(&self, command: &Cmd, deadline: Instant) -> Result<Value, Failure> {
        let mut live = timeout_at(deadline, self.connect(deadline)).await.map_err(|_| Failure::NotSent)??;
        let mut both = redis::pipe();
        both.cmd("ASKING").ignore().add_command(command.clone());
        let answer = timeout_at(deadline, both.query_async::<(Value,)>(&mut live.connection)).await;
        Self::settle(&live, answer.map(|answer| answer.map(|(value,)| value)))
    }

    fn settle(live: &Live, answer: Result<redis::RedisResult<Value>, Elapsed>) -> Result<Value, Failure> {
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if error.code().is_some() => Err(Failure::Refused(error)),
            Ok(Err(error)) => {
                live.ended.store(true, Ordering::Release);
                Err(Failure::Lost(Some(error)))
            }
            Err(_) => {
                // Perhaps nobody is there any more; the next call finds out before it sends anything.
                live.ended.store(true, Ordering::Release);
                Err(Failure::Lost(None))
            }
        }
    }

    /// Lets the next call connect anew.
    pub(super) fn disconnect(&self) {
        self.live().take();
    }

    /// The connection, opened if there is none that is alive.
    async fn connect(&self, deadline: Instant) -> Result<Live, Failure> {
        if let Some(live) = self.alive() {
            return Ok(live);
        }
        let mut pause = self.connecting.lock().await;
        if let Some(live) = self.alive() {
            return Ok(live);
        }
        if let Some(until) = pause.until {
            sleep_until(until).await;
        }
        // Should this call's time be over meanwhile, the next one waits as after a failure.
        pause.length = (2 * pause.length).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        pause.until = Some(Instant::now() + pause.length);
        let live = self.open(deadline).await.map_err(Failure::Connect)?;
        *pause = Pause::default();
        *self.live() = Some(live.clone());
        Ok(live)
    }

    async fn open(&self, deadline: Instant) -> Result<Live, redis::RedisError> {
        let ended = Arc::new(AtomicBool::new(false));
        let tells = Arc::clone(&ended);
        let watch = move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                tells.store(true, Ordering::Release);
            }
            Ok::<(), ()>(())
        };
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(deadline.saturating_duration_since(Instant::now())))
            .set_response_timeout(None)
            .set_push_sender(watch);
        let client = Client::open(self.info.clone())?;
        let connection = client.get_multiplexed_async_connection_with_config(&settings).await?;
        Ok(Live { connection, ended })
    }

    fn alive(&self) -> Option<Live> {
        self.live().as_ref().filter(|live| !live.ended.load(Ordering::Acquire)).cloned()
    }

    fn live(&self) -> std::sync::MutexGuard<'_, Option<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

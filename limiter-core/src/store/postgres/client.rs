//! Connections, and questions to the server: each asked once, within a time budget.

use super::{error::Failure, schema::Schema};
use deadpool_postgres::{Object, Pool, PoolError, TimeoutType};
use std::{
    fmt,
    future::Future,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_postgres::{
    Row,
    error::SqlState,
    types::{ToSql, Type},
};

/// A statement's parameters, to send again where the server says that it did nothing.
pub(super) type Params = Arc<[Param]>;
pub(super) type Param = (Box<dyn ToSql + Send + Sync>, Type);

/// How often a statement is sent again that the server rolled back for the sake of others.
const MOST_ATTEMPTS: u32 = 50;

/// Creating the tables is rare and may have to wait for others who do the same.
const CREATE_BUDGET: Duration = Duration::from_secs(30);

pub(super) struct Client {
    pub(super) pool: Pool,
    pub(super) schema: Schema,
    pub(super) budget: Duration,
}

impl Client {
    /// Asks one of [`Schema`]'s statements; creates the tables and routines first where they are missing.
    pub(super) async fn ask(
        self: &Arc<Self>,
        statement: fn(&Schema) -> &str,
        params: impl Into<Params>,
    ) -> Result<Vec<Row>, Failure> {
        let params = params.into();
        let mut deadline = Instant::now() + self.budget;
        let (mut has_created, mut attempts) = (false, 0);
        loop {
            let (client, params) = (Arc::clone(self), Arc::clone(&params));
            let asked = self.run(deadline, move |connection| async move {
                let params: Vec<(&(dyn ToSql + Sync), Type)> =
                    params.iter().map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone())).collect();
                // Parsed, bound and run in one round trip, without a name that a pooler's next session lacks.
                connection.query_typed(statement(&client.schema), &params).await
            });
            match asked.await {
                Err(failure) if failure.is_missing() && !has_created => {
                    self.create().await?;
                    has_created = true;
                    deadline = Instant::now() + self.budget;
                }
                Err(failure) if failure.is_conflict() && attempts < MOST_ATTEMPTS => {
                    attempts += 1;
                    pause(attempts, deadline).await.ok_or(failure)?;
                }
                answer => return answer,
            }
        }
    }

    /// Creates what is missing; one process at a time does, the others find it done.
    async fn create(self: &Arc<Self>) -> Result<(), Failure> {
        let deadline = Instant::now() + CREATE_BUDGET.max(self.budget);
        let mut attempts = 0;
        loop {
            let client = Arc::clone(self);
            let created = self.run(deadline, |connection| async move {
                // One query is one transaction, which ends where a statement of it fails.
                connection.batch_execute(&client.schema.create).await
            });
            match created.await {
                Err(failure) if failure.is_conflict() => {
                    attempts += 1;
                    pause(attempts, deadline).await.ok_or(failure)?;
                }
                Err(Failure::Server(error)) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                    let (schema, sql) = (self.schema.name.clone(), self.schema.to_run());
                    return Err(Failure::MayNotCreate { schema, sql, error });
                }
                other => return other,
            }
        }
    }

    /// Runs `question` on a connection. Who has no answer at the deadline is told so; the connection then has as much
    /// time again to come to rest, and is closed if it does not.
    async fn run<T, F>(&self, deadline: Instant, question: impl FnOnce(Arc<Object>) -> F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, tokio_postgres::Error>> + Send + 'static,
    {
        let connection = Arc::new(self.connection(deadline).await?);
        let mut answer = Box::pin(question(Arc::clone(&connection)));
        match timeout_at(deadline, &mut answer).await {
            Ok(answer) => answer.map_err(Failure::Server),
            Err(_) => {
                let budget = self.budget;
                tokio::spawn(async move {
                    if timeout(budget, answer).await.is_err() {
                        // The question is dropped by now, and with it the other handle.
                        drop(Arc::into_inner(connection).map(Object::take));
                    }
                });
                Err(Failure::Slow { budget })
            }
        }
    }

    async fn connection(&self, deadline: Instant) -> Result<Object, Failure> {
        let busy = || Failure::Busy { connections: self.pool.status().max_size, waited: self.budget };
        match timeout_at(deadline, self.pool.get()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(PoolError::Timeout(TimeoutType::Wait))) => Err(busy()),
            Ok(Err(error)) => Err(Failure::Connect(error)),
            // The pool itself says which of the two it was waiting for only by its own times.
            Err(_) if self.pool.status().available == 0 && self.pool.status().size >= self.pool.status().max_size => {
                Err(busy())
            }
            Err(_) => Err(Failure::Connect(PoolError::Timeout(TimeoutType::Create))),
        }
    }
}

/// Waits a random time, longer from attempt to attempt, so that those who are in each other's way part; `None` where
/// that is past the deadline.
async fn pause(attempts: u32, deadline: Instant) -> Option<()> {
    // Hashes of nothing under fresh random keys are random numbers.
    let random = RandomState::new().hash_one(()) % 1000;
    let pause = Duration::from_micros(random * u64::from(attempts));
    if Instant::now() + pause > deadline {
        return None;
    }
    sleep(pause).await;
    Some(())
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.pool.status();
        f.debug_struct("Client")
            .field("schema", &self.schema.name)
            .field("budget", &self.budget)
            .field("connections", &status.size)
            .field("max_connections", &status.max_size)
            .finish()
    }
}

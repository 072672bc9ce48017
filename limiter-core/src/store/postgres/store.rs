//! The store: each call is one statement, unless something rare wants a second.

use super::{
    PostgresStoreBuilder,
    client::{Client, Param},
    error::Failure,
    format::{self, adjust_seen, bigint, decide_on, number, read_seen},
    replace::{Change, Replace},
    schema::Schema,
};
use crate::{
    Clock, Decision, KeyState, StoreError, StoreErrorKind, Timestamp,
    algorithm::Mode,
    store::{Adjust, Demand, Scope, Store, background, stored_key::StoredKeys},
};
use deadpool_postgres::Pool;
use std::{fmt, sync::Arc};
use tokio_postgres::{
    Row,
    types::{FromSql, ToSql, Type},
};

/// The most demands of one decision: as many as [`Decision::denied`] can tell apart.
const MOST_DEMANDS: usize = 64;

/// States that one statement of a sweep deletes.
const SWEPT_AT_ONCE: i32 = 1000;

/// The first release whose procedures can end transactions.
const OLDEST: i32 = 110_000;

/// Runs of a log that are worth fetching to tell a waiter how long it will be.
const RUNS_SHOWN: i64 = 2000;

/// A store on a Postgres server: for many hosts that have one already.
///
/// ```no_run
/// use limiter_core::{Limiter, PostgresStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::new("postgres://app:secret@db.example.net/app")?;
/// store.ready().await?; // says what is wrong, if anything is
/// let limiter = Limiter::builder("100/s".parse()?).name("api").store(store).build();
/// if !limiter.check_async("ada").await?.allowed() {
///     println!("later");
/// }
/// # Ok(())
/// # }
/// ```
///
/// **What it promises.** A take is one statement, one round trip and one transaction, over however many keys; time is the
/// server's, read after the rows are locked. A denial and a look only read. Calls of any number of processes on one key
/// take turns; on different keys they do not meet. What was admitted is still counted after a crash of the server, unless
/// the tables are [`unlogged`](PostgresStoreBuilder::unlogged) or the server is set to `synchronous_commit = off`.
///
/// **What it costs.** A round trip and 0.05 to 0.2 ms of the server's time; an admission waits for the server's log to reach
/// the disk as any commit does, `unlogged` tables for nothing. A key is a row of about 150 bytes; an exact log has a row
/// of 60 bytes a take and rate beside it, and its refunds cost a write a later take. Two round trips: the first write
/// after a change of quota, [`Adjust::Reserve`], a take after the clock stepped back by more than a period.
///
/// **Sessions.** Any session will do, whatever its time zone, default isolation level or search path, also behind a
/// pooler in transaction mode: nothing is prepared under a name, listened to or kept in the session, and no transaction
/// spans two messages. The calls run on a thread of the library's, from any runtime or none; a future that is dropped
/// leaves its call to end there.
///
/// **Cleaning up.** Idle rows are deleted by later writes, a few at a time, some minutes after they became idle; under an
/// injected clock an hour after. Nobody needs to call [`sweep`](Store::sweep).
///
/// **Errors** ([`StoreErrorKind`]). `Unavailable`: no connection could be made, or none of the pool was free in time.
/// `TimedOut`: no answer within the time budget, or a connection that broke before one; the call may have been carried
/// out and is never sent again. Only what the server says it rolled back (a serialization failure, a deadlock) is.
/// `Permission`: the tables are missing and the role may not create them, with the SQL and who must run it, or it may not
/// use them. `ReadOnly`: a take on a standby or in read-only transactions; looks and denials work there. `Full`: no disk
/// or memory left. `Format`: rows that this release cannot read.
#[derive(Clone)]
pub struct PostgresStore(Arc<Inner>);

struct Inner {
    client: Arc<Client>,
    keys: StoredKeys,
    /// The longest wait for a lock in milliseconds, the time budget: no server process waits on for a caller that has
    /// given up.
    patience: String,
}

impl PostgresStore {
    /// A store on the server and in the database of `url`, such as `postgres://user:password@host:5432/database`.
    ///
    /// It connects at the first call, and creates its tables then if they are not there; [`ready`](Self::ready) does
    /// both now. Connections are not encrypted; see [`from_pool`](Self::from_pool) for those that are.
    ///
    /// # Errors
    /// [`Config`](StoreErrorKind::Config): an address that cannot be read, or one that asks for TLS.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        Self::builder(url).build()
    }

    /// A store on the server of `url` with other settings.
    ///
    /// ```
    /// use limiter_core::PostgresStore;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = PostgresStore::builder("postgres://app@localhost/app")
    ///     .schema("limits")
    ///     .max_connections(4)
    ///     .timeout(Duration::from_millis(300))
    ///     .build()?; // connects when it is first asked
    /// # let _ = store;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(url: &str) -> PostgresStoreBuilder {
        PostgresStoreBuilder::of_url(url)
    }

    /// A store over a pool of the caller's, with TLS, several hosts, or other users in the same program. Calls get their
    /// connections from it within their time budget.
    ///
    /// ```
    /// use deadpool_postgres::{Manager, Pool, tokio_postgres};
    /// use limiter_core::PostgresStore;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config: tokio_postgres::Config = "postgres://app@db.example.net/app?sslmode=require".parse()?;
    /// let tls = tokio_postgres::NoTls; // here a connector of postgres-native-tls, tokio-postgres-rustls, ...
    /// let pool = Pool::builder(Manager::new(config, tls)).max_size(8).build()?;
    /// let store = PostgresStore::from_pool(pool).build()?;
    /// # let _ = store;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_pool(pool: Pool) -> PostgresStoreBuilder {
        PostgresStoreBuilder::over(pool)
    }

    pub(super) fn over(client: Client, keys: StoredKeys) -> Self {
        let patience = client.budget.as_millis().clamp(1, 1 << 30).to_string();
        Self(Arc::new(Inner { client: Arc::new(client), keys, patience }))
    }

    /// The SQL that creates the tables and routines, for a role with the right to: the schema's owner or a superuser.
    ///
    /// Run as often as one likes: what is there stays. A program whose role may create tables does this by itself. Other
    /// releases may need other routines, which then stand beside these.
    ///
    /// ```
    /// use limiter_core::PostgresStore;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let sql = PostgresStore::new("postgres://app@localhost/app")?.schema_sql();
    /// assert!(sql.contains("CREATE TABLE IF NOT EXISTS \"public\".\"limiter_1_states\""));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn schema_sql(&self) -> String {
        self.0.client.schema.to_run()
    }

    /// Connects, creates the tables and routines if they are not there, and checks whatever can be wrong.
    ///
    /// # Errors
    /// [`Unavailable`](StoreErrorKind::Unavailable) and [`TimedOut`](StoreErrorKind::TimedOut): no server, or none that
    /// answers; [`Config`](StoreErrorKind::Config): no such database or user, a server before release 11;
    /// [`ReadOnly`](StoreErrorKind::ReadOnly): a standby; [`Permission`](StoreErrorKind::Permission): a role that may not
    /// create the tables or use them. The source says what is wrong, and then what SQL must be run by whom.
    pub async fn ready(&self) -> Result<(), StoreError> {
        let rows = self.ask(|_| SETTINGS, Vec::new()).await?;
        if one::<i32>(&rows, 1)? < OLDEST {
            return Err(Failure::TooOld { release: one(&rows, 0)? }.into());
        }
        if one(&rows, 2)? {
            return Err(Failure::Standby.into());
        }
        let rights = self.ask(|schema| &schema.rights, Vec::new()).await?;
        if !one::<bool>(&rights, 0)? {
            let grant = self.0.client.schema.to_grant().to_owned();
            return Err(Failure::MayNotUse { grant }.into());
        }
        // The routines are there too, or are now.
        self.peek(&[], None).await.map(drop)
    }
}

impl PostgresStore {
    async fn ask(&self, statement: fn(&Schema) -> &str, params: Vec<Param>) -> Result<Vec<Row>, StoreError> {
        let client = Arc::clone(&self.0.client);
        background::run(async move { Ok(client.ask(statement, params).await?) }).await
    }

    fn name(&self, demand: &Demand<'_>) -> Vec<u8> {
        format::name(&self.0.keys, demand.scope, demand.key)
    }

    /// The names of the demands' keys, and the demands in their order.
    fn in_order(&self, demands: &[Demand<'_>]) -> Result<Vec<(Vec<u8>, usize)>, StoreError> {
        if demands.len() > MOST_DEMANDS {
            return Err(StoreError::new(StoreErrorKind::TooManyDemands));
        }
        let mut names: Vec<_> = demands.iter().map(|demand| self.name(demand)).zip(0..).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(StoreError::new(StoreErrorKind::DuplicateKey));
        }
        Ok(names)
    }

    async fn decide(
        &self,
        demands: &[Demand<'_>],
        clock: Option<&dyn Clock>,
        mode: Mode,
    ) -> Result<Decision, StoreError> {
        let order = self.in_order(demands)?;
        let injected = clock.map(Clock::now);
        // What can never fit is denied whatever the states are: a look.
        let could_fit = demands.iter().all(|demand| demand.cost <= demand.quota.capacity());
        let takes = mode == Mode::Take && could_fit && demands.iter().any(|demand| demand.cost > 0);
        let mut asks = Vec::new();
        for demand in order.iter().filter_map(|(_, place)| demands.get(*place)) {
            let cost = if demand.cost <= demand.quota.capacity() { demand.cost } else { 0 };
            format::push_ask(&mut asks, demand.quota, cost);
        }
        let quotas = order.iter().filter_map(|(_, place)| demands.get(*place)).map(|demand| demand.quota.to_string());
        let params = vec![
            param(order.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), Type::BYTEA_ARRAY),
            param(quotas.collect::<Vec<_>>(), Type::TEXT_ARRAY),
            param(asks, Type::INT8_ARRAY),
            param(injected.map(micros), Type::INT8),
            param(takes, Type::BOOL),
            param(self.0.patience.clone(), Type::TEXT),
        ];
        let answer = Answer::read(&self.ask(|schema| &schema.decide, params).await?)?;
        let is_admitted = match answer.verdict {
            Verdict::Denied => false,
            Verdict::Admitted => true,
            Verdict::NotHere => {
                let mode = if takes { Mode::Take } else { Mode::Peek };
                return self.replace(demands, &order, injected, Change::Decide(mode)).await;
            }
        };
        let mut numbers = &answer.seen[..];
        let mut seen: Vec<_> = demands.iter().map(|_| None).collect();
        for (_, place) in &order {
            seen[*place] = Some(read_seen(&mut numbers, demands[*place].quota)?);
        }
        let decision = decide_on(demands, seen.into_iter().flatten().collect(), answer.now, mode);
        if could_fit && decision.allowed() != is_admitted {
            return Err(Failure::Garbage { what: "the server came to another decision than its numbers give" }.into());
        }
        Ok(decision)
    }

    /// Loads the states of the demands' keys, changes them here and puts them back if nobody else has touched them.
    async fn replace(
        &self,
        demands: &[Demand<'_>],
        order: &[(Vec<u8>, usize)],
        injected: Option<Timestamp>,
        change: Change,
    ) -> Result<Decision, StoreError> {
        const MOST_ATTEMPTS: u32 = 100;
        let replace = Replace { demands, order, injected, change };
        for _ in 0..MOST_ATTEMPTS {
            let rows = self.ask(|schema| &schema.load, replace.load(i64::MAX)).await?;
            let (decision, writes) = replace.apply(&rows)?;
            let Some(writes) = writes else { return Ok(decision) };
            let params = writes.into_params(self.0.patience.clone(), injected);
            let is_done: bool = one(&self.ask(|schema| &schema.swap, params).await?, 0)?;
            if is_done {
                return Ok(decision);
            }
        }
        Err(Failure::Contended { attempts: MOST_ATTEMPTS }.into())
    }
}

impl Store for PostgresStore {
    async fn take(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.decide(demands, clock, Mode::Take).await
    }

    async fn peek(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.decide(demands, clock, Mode::Peek).await
    }

    async fn adjust(
        &self,
        demand: Demand<'_>,
        adjust: Adjust,
        clock: Option<&dyn Clock>,
    ) -> Result<Decision, StoreError> {
        let injected = clock.map(Clock::now);
        if !demand.holds() {
            return Err(Failure::Outdated.into());
        }
        let order = [(self.name(&demand), 0)];
        let (kind, instant) = match adjust {
            Adjust::Charge => (1, Timestamp::MIN),
            Adjust::Refund { taken } => (2, taken),
            Adjust::Restamp { taken } => (3, taken),
            Adjust::Block { until } => (4, until),
            Adjust::BlockAtLeast { until } => (5, until),
            Adjust::Reserve => return self.replace(&[demand], &order, injected, Change::Adjust(adjust)).await,
        };
        let mut asks = Vec::new();
        format::push_ask(&mut asks, demand.quota, demand.cost);
        let [(name, _)] = &order;
        let params = vec![
            param(name.clone(), Type::BYTEA),
            param(demand.quota.to_string(), Type::TEXT),
            param(asks, Type::INT8_ARRAY),
            param(injected.map(micros), Type::INT8),
            param(kind, Type::INT4),
            param(micros(instant), Type::INT8),
            param(self.0.patience.clone(), Type::TEXT),
        ];
        let answer = Answer::read(&self.ask(|schema| &schema.adjust, params).await?)?;
        if answer.verdict == Verdict::NotHere {
            return self.replace(&[demand], &order, injected, Change::Adjust(adjust)).await;
        }
        let seen = read_seen(&mut &answer.seen[..], demand.quota)?;
        Ok(adjust_seen(&demand, seen, adjust, answer.now))
    }

    async fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError> {
        let name = format::name(&self.0.keys, scope, key);
        let params = vec![param(name, Type::BYTEA), param(self.0.patience.clone(), Type::TEXT)];
        self.ask(|schema| &schema.reset, params).await.map(drop)
    }

    async fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError> {
        let injected = clock.map(Clock::now).map(micros);
        let mut swept = 0;
        loop {
            let params = vec![param(injected, Type::INT8), param(SWEPT_AT_ONCE, Type::INT4)];
            let rows = self.ask(|schema| &schema.sweep, params).await?;
            swept += usize::try_from(one::<i64>(&rows, 0)?).unwrap_or(0);
            if one(&rows, 1)? {
                return Ok(swept);
            }
        }
    }

    async fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
        if let Some(clock) = clock {
            return Ok(clock.now());
        }
        let now: i64 = one(&self.ask(|schema| &schema.now, Vec::new()).await?, 0)?;
        Ok(Timestamp::from_micros(number(now)))
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    async fn snapshot(&self, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
        let (demands, order) = ([demand], [(self.name(&demand), 0)]);
        let injected = clock.map(Clock::now);
        let look = Replace { demands: &demands, order: &order, injected, change: Change::Decide(Mode::Peek) };
        let rows = self.ask(|schema| &schema.load, look.load(RUNS_SHOWN)).await.ok()?;
        look.state(&rows, RUNS_SHOWN)
    }
}

/// The server's release, as text and number, and whether it takes only reading transactions.
const SETTINGS: &str = "SELECT current_setting('server_version'), current_setting('server_version_num')::integer, \
                        pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean";

/// What a routine says.
struct Answer {
    now: Timestamp,
    verdict: Verdict,
    seen: Vec<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Denied,
    Admitted,
    /// Something rare, for which the states come here.
    NotHere,
}

impl Answer {
    fn read(rows: &[Row]) -> Result<Self, Failure> {
        let verdict = match one(rows, 1)? {
            0 => Verdict::Denied,
            1 => Verdict::Admitted,
            2 => Verdict::NotHere,
            _ => return Err(Failure::Garbage { what: "a key's row has not the numbers that its quota needs" }),
        };
        let now = Timestamp::from_micros(number(one(rows, 0)?));
        let seen: Option<Vec<i64>> = one(rows, 2)?;
        Ok(Self { now, verdict, seen: seen.unwrap_or_default() })
    }
}

/// A column of the only row of an answer.
fn one<'a, T: FromSql<'a>>(rows: &'a [Row], column: usize) -> Result<T, Failure> {
    let row = rows.first().ok_or(Failure::Garbage { what: "the server's answer has no row" })?;
    row.try_get(column).map_err(Failure::Unreadable)
}

pub(super) fn param(value: impl ToSql + Send + Sync + 'static, kind: Type) -> Param {
    (Box::new(value), kind)
}

pub(super) fn micros(at: Timestamp) -> i64 {
    bigint(at.as_micros())
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("client", &self.0.client).field("keys", &self.0.keys).finish()
    }
}

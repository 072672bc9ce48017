//! A store's settings.

use super::{
    PostgresStore,
    client::Client,
    error::{Failure, check_name},
    schema::Schema,
};
use crate::{StoreError, store::stored_key::StoredKeys};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use std::{fmt, time::Duration};
use tokio_postgres::{Config, NoTls, config::SslMode};

/// Settings of a [`PostgresStore`]; see [`PostgresStore::builder`].
#[derive(Clone)]
pub struct PostgresStoreBuilder {
    source: Source,
    schema: String,
    prefix: String,
    is_unlogged: bool,
    max_connections: usize,
    timeout: Duration,
    keys: StoredKeys,
}

#[derive(Clone)]
enum Source {
    Url(String),
    Pool(Pool),
}

impl PostgresStoreBuilder {
    pub(super) fn of_url(url: &str) -> Self {
        Self::new(Source::Url(url.to_owned()))
    }

    pub(super) fn over(pool: Pool) -> Self {
        Self::new(Source::Pool(pool))
    }

    fn new(source: Source) -> Self {
        Self {
            source,
            schema: "public".to_owned(),
            prefix: "limiter".to_owned(),
            is_unlogged: false,
            max_connections: 8,
            timeout: Duration::from_secs(1),
            keys: StoredKeys::default(),
        }
    }

    /// The schema of the tables and routines, `public` by default: any name of up to 32 bytes. It is created if it is
    /// not there.
    #[must_use]
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// What the names of the tables and routines begin with, `limiter` by default: any name of up to 32 bytes. Stores of
    /// different prefixes share nothing.
    #[must_use]
    pub fn prefix(mut self, name: impl Into<String>) -> Self {
        self.prefix = name.into();
        self
    }

    /// Creates unlogged tables: faster, nothing goes through the server's write-ahead log. After a crash of the server
    /// they are empty, so that every key starts anew, and standbys do not have them. Tables that are there stay as they
    /// are.
    #[must_use]
    pub fn unlogged(mut self) -> Self {
        self.is_unlogged = true;
        self
    }

    /// The most connections at a time, at least 1; 8 by default. A pool of the caller's has its own.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// The time budget of a call, one second by default: to get a connection, ask and be answered. The first call, which
    /// creates the tables, may take longer.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Stores every key as its SHA-256 under `secret`, not only those above 64 bytes: for keys that are personal data.
    /// Every process needs the same secret.
    #[must_use]
    pub fn hash_keys(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.keys = StoredKeys::secret(secret.as_ref());
        self
    }

    /// The store. It connects at the first call.
    ///
    /// # Errors
    /// [`Config`](crate::StoreErrorKind::Config): an address that cannot be read or that asks for TLS, a schema or a
    /// prefix that is empty, longer than 32 bytes or has a zero character in it.
    pub fn build(self) -> Result<PostgresStore, StoreError> {
        check_name("schema", &self.schema)?;
        check_name("prefix", &self.prefix)?;
        let pool = match self.source {
            Source::Url(url) => connect(&url, self.max_connections)?,
            Source::Pool(pool) => pool,
        };
        let schema = Schema::new(&self.schema, &self.prefix, self.is_unlogged);
        Ok(PostgresStore::over(Client { pool, schema, budget: self.timeout }, self.keys))
    }
}

/// A pool of connections without encryption, none of them made yet.
fn connect(url: &str, max_connections: usize) -> Result<Pool, Failure> {
    let mut config: Config = url.parse().map_err(Failure::Address)?;
    if config.get_ssl_mode() == SslMode::Require {
        let what = "the address asks for TLS, which is the caller's choice: make a pool with a TLS connector and give \
                    it to PostgresStore::from_pool";
        return Err(Failure::Setting(what.to_owned()));
    }
    if config.get_application_name().is_none() {
        config.application_name("limiter");
    }
    if config.get_keepalives_idle() > KEEPALIVE {
        config.keepalives_idle(KEEPALIVE);
    }
    // A connection that is known to be broken is replaced; any other is used without a question beforehand.
    let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(config, NoTls, manager);
    Pool::builder(manager).max_size(max_connections).build().map_err(Failure::Pool)
}

/// A connection whose other end is gone is noticed within minutes.
const KEEPALIVE: Duration = Duration::from_secs(60);

impl fmt::Debug for PostgresStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStoreBuilder")
            .field("schema", &self.schema)
            .field("prefix", &self.prefix)
            .field("is_unlogged", &self.is_unlogged)
            .field("max_connections", &self.max_connections)
            .field("timeout", &self.timeout)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

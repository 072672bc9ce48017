//! What can go wrong with a server, and the store errors it makes.

use super::schema::LONGEST_NAME;
use crate::{StoreError, StoreErrorKind};
use deadpool_postgres::{BuildError, PoolError};
use std::{error::Error as StdError, fmt, time::Duration};
use tokio_postgres::error::SqlState;

#[derive(Debug)]
pub(super) enum Failure {
    /// A setting.
    Setting(String),
    /// An address that cannot be read.
    Address(tokio_postgres::Error),
    Pool(BuildError),
    /// No connection was free in time.
    Busy {
        connections: usize,
        waited: Duration,
    },
    /// No connection could be made.
    Connect(PoolError),
    /// No answer in time.
    Slow {
        budget: Duration,
    },
    /// The server's answer, or a connection that broke after the question was sent.
    Server(tokio_postgres::Error),
    /// An answer with other columns than were asked for.
    Unreadable(tokio_postgres::Error),
    /// The tables or routines are not there and this role may not make them.
    MayNotCreate {
        schema: String,
        sql: String,
        error: tokio_postgres::Error,
    },
    /// The tables are there and this role may not use them.
    MayNotUse {
        grant: String,
    },
    /// A server that only reads.
    Standby,
    /// A server of a release without procedures' transactions.
    TooOld {
        release: String,
    },
    /// Others changed the same keys again and again.
    Contended {
        attempts: u32,
    },
    /// What the demand rests on has changed.
    Outdated,
    /// What was stored or answered cannot be read.
    Garbage {
        what: &'static str,
    },
}

impl Failure {
    pub(super) fn kind(&self) -> StoreErrorKind {
        use StoreErrorKind as Kind;
        match self {
            Self::Setting(_) | Self::Address(_) | Self::Pool(_) | Self::TooOld { .. } => Kind::Config,
            Self::Busy { .. } | Self::Contended { .. } => Kind::Unavailable,
            Self::Connect(PoolError::Backend(error)) => connect_kind(error),
            Self::Connect(_) => Kind::Unavailable,
            Self::Slow { .. } => Kind::TimedOut,
            Self::Server(error) => server_kind(error),
            Self::MayNotCreate { .. } | Self::MayNotUse { .. } => Kind::Permission,
            Self::Standby => Kind::ReadOnly,
            Self::Outdated => Kind::Outdated,
            Self::Unreadable(_) | Self::Garbage { .. } => Kind::Format,
        }
    }

    fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Server(error) => error.code(),
            _ => None,
        }
    }

    /// Whether the server rolled back for the sake of others: nothing was done.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED))
    }

    /// Whether the tables or routines are not there.
    pub(super) fn is_missing(&self) -> bool {
        let missing = [SqlState::UNDEFINED_FUNCTION, SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME];
        self.code().is_some_and(|code| missing.contains(code))
    }
}

fn connect_kind(error: &tokio_postgres::Error) -> StoreErrorKind {
    match error.code() {
        Some(code) if code.code().starts_with("28") || *code == SqlState::INVALID_CATALOG_NAME => {
            StoreErrorKind::Config
        }
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => StoreErrorKind::Permission,
        _ => StoreErrorKind::Unavailable,
    }
}

fn server_kind(error: &tokio_postgres::Error) -> StoreErrorKind {
    use StoreErrorKind as Kind;
    let Some(code) = error.code() else {
        // A connection that broke after the question was sent: it may have been carried out.
        return Kind::TimedOut;
    };
    match *code {
        SqlState::INSUFFICIENT_PRIVILEGE => Kind::Permission,
        // What a standby says of an unlogged table.
        SqlState::READ_ONLY_SQL_TRANSACTION | SqlState::FEATURE_NOT_SUPPORTED => Kind::ReadOnly,
        SqlState::DISK_FULL | SqlState::OUT_OF_MEMORY => Kind::Full,
        SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE => Kind::TimedOut,
        // The server went down; what it was doing may be done.
        _ if code.code().starts_with("57P") || code.code().starts_with("08") => Kind::TimedOut,
        _ if code.code().starts_with("53") || code.code().starts_with("40") => Kind::Unavailable,
        _ if code.code().starts_with("22") => Kind::Format,
        _ => Kind::Other,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(what) => f.write_str(what),
            Self::Address(_) => {
                f.write_str("the address is not one of a Postgres server, as postgres://user@host/database is")
            }
            Self::Pool(_) => f.write_str("the pool of connections cannot be made"),
            Self::Busy { connections, waited } => {
                write!(
                    f,
                    "all {connections} connections of the pool were busy for {waited:?}; give it more, or more time"
                )
            }
            Self::Connect(_) => f.write_str("no connection could be made"),
            Self::Slow { budget } => write!(f, "no answer within {budget:?}"),
            Self::Server(error) => match error.as_db_error() {
                Some(answer) => write!(f, "the server answered {}: {}", answer.code().code(), answer.message()),
                None => f.write_str("the connection broke before the answer came"),
            },
            Self::Unreadable(_) => f.write_str("a row or an answer has other columns than it should"),
            Self::MayNotCreate { schema, sql, error } => write!(
                f,
                "the tables are missing and this role may not create them in schema {schema:?} ({}); a superuser, the \
                 schema's owner or a role with the right CREATE on it (on the database where the schema is missing too) \
                 must run this once:\n{sql}",
                error.as_db_error().map_or("no reason given", |answer| answer.message())
            ),
            Self::MayNotUse { grant } => {
                write!(f, "this role may not read and write the tables; their owner must run, for this role:\n{grant}")
            }
            Self::Standby => f.write_str("the server is a standby or takes only reading transactions"),
            Self::TooOld { release } => write!(f, "the server is of release {release}; this needs 11 or later"),
            Self::Outdated => write!(f, "the limiter has changed the key's quota, or reset it"),
            Self::Contended { attempts } => write!(f, "others changed the same keys {attempts} times in between"),
            Self::Garbage { what } => f.write_str(what),
        }
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Address(error) | Self::Server(error) | Self::Unreadable(error) | Self::MayNotCreate { error, .. } => {
                Some(error)
            }
            Self::Pool(error) => Some(error),
            Self::Connect(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self::new(failure.kind()).with_source(failure)
    }
}

/// A name that the server could cut short would meet another one.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
        return Err(Failure::Setting(format!(
            "the {what} {name:?} is not a name of 1 to {LONGEST_NAME} bytes without the character 0"
        )));
    }
    Ok(())
}

//! What can go wrong, and the kind of [`StoreError`] that each is.

use crate::{StoreError, StoreErrorKind};
use redis::RedisError;
use std::{error::Error as StdError, fmt};

/// A failure of a Redis store. No text here holds credentials or keys.
#[derive(Debug)]
pub(super) enum Failure {
    /// An address or a setting that cannot be used.
    Setting { what: &'static str, allowed: &'static str },
    /// The client refused an address.
    Address(RedisError),
    /// No connection: nothing was sent.
    Connect(RedisError),
    /// The time was over before anything was sent.
    NotSent,
    /// The time was over, or the connection broke, after a call was sent.
    Lost(Option<RedisError>),
    /// The server's refusal; nothing was done.
    Refused(RedisError),
    /// No sentinel knows the primary.
    NoPrimary(String),
    /// No node of the Cluster serves the slot.
    NoNode(u16),
    /// A server older than what is needed.
    Version(String),
    /// What is stored under one of our names is none of ours, or of a later format.
    Foreign,
    /// An answer that makes no sense.
    Answer,
    /// A quota of too many rates for one value.
    TooManyRates,
    /// A log of more rows than one value holds.
    TooLarge,
    /// Others changed the same key again and again.
    Contended,
    /// What the demand rests on has changed.
    Outdated,
}

impl Failure {
    pub(super) fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Setting { .. } | Self::Address(_) | Self::Version(_) => StoreErrorKind::Config,
            Self::Connect(error) | Self::Refused(error) => kind_of(error),
            Self::NotSent | Self::NoPrimary(_) | Self::NoNode(_) | Self::Contended => StoreErrorKind::Unavailable,
            Self::Lost(_) => StoreErrorKind::TimedOut,
            Self::Foreign => StoreErrorKind::Format,
            Self::Answer => StoreErrorKind::Other,
            Self::Outdated => StoreErrorKind::Outdated,
            Self::TooManyRates | Self::TooLarge => StoreErrorKind::TooLarge,
        }
    }

    /// Whether the server's refusal starts with this code.
    pub(super) fn is_refused(&self, codes: &[&str]) -> bool {
        matches!(self, Self::Refused(error) if error.code().is_some_and(|code| codes.contains(&code)))
    }
}

/// The kind of what a server answered, or why it could not be reached.
fn kind_of(error: &RedisError) -> StoreErrorKind {
    let detail = error.detail().unwrap_or_default();
    match error.code() {
        Some("OOM") => StoreErrorKind::Full,
        Some("READONLY") => StoreErrorKind::ReadOnly,
        Some("NOPERM" | "NOAUTH" | "WRONGPASS") => StoreErrorKind::Permission,
        Some("WRONGTYPE") => StoreErrorKind::Format,
        Some(
            "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY" | "MISCONF" | "NOREPLICAS" | "MOVED" | "ASK",
        ) => StoreErrorKind::Unavailable,
        Some("CROSSSLOT") => StoreErrorKind::Config,
        _ if detail.contains("user executing the script") || detail.contains("invalid password") => {
            StoreErrorKind::Permission
        }
        _ if detail.contains("data string too short") => StoreErrorKind::Format,
        _ if detail.contains("exceeds maximum allowed size") => StoreErrorKind::TooLarge,
        _ if detail.contains("max number of clients") => StoreErrorKind::Unavailable,
        _ if error.kind() == redis::ErrorKind::AuthenticationFailed => StoreErrorKind::Permission,
        _ if error.kind() == redis::ErrorKind::InvalidClientConfig => StoreErrorKind::Config,
        _ if error.is_io_error() => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Other,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { what, allowed } => write!(f, "{what}; allowed is {allowed}"),
            Self::Address(error) => write!(f, "not the address of a Redis server: {error}"),
            Self::Connect(error) => write!(f, "no connection to Redis: {error}"),
            Self::NotSent => write!(f, "no connection to Redis within the time allowed"),
            Self::Lost(None) => write!(f, "Redis did not answer within the time allowed"),
            Self::Lost(Some(error)) => write!(f, "the connection to Redis broke before its answer: {error}"),
            Self::Refused(error) => write!(f, "Redis refused: {error}"),
            Self::NoPrimary(name) => write!(f, "no sentinel that answers knows a primary named {name:?}"),
            Self::NoNode(slot) => write!(f, "no node of the Cluster that answers serves slot {slot}"),
            Self::Version(found) => {
                write!(f, "the server is version {found}; this store needs Redis 7 or later, or Valkey")
            }
            Self::Foreign => {
                write!(f, "a key of this store's namespace holds something else, or a later release's state")
            }
            Self::Answer => write!(f, "Redis gave an answer that this store does not understand"),
            Self::TooManyRates => write!(f, "the quota has more rates than one value holds; about 16 are allowed"),
            Self::TooLarge => {
                write!(f, "the key's log is above 500 MB, the most one value holds; a resolution keeps logs short")
            }
            Self::Contended => write!(f, "others changed the same key at each of many attempts; nothing was taken"),
            Self::Outdated => write!(f, "the limiter has changed the key's quota, or reset it"),
        }
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Address(error) | Self::Connect(error) | Self::Refused(error) | Self::Lost(Some(error)) => Some(error),
            _ => None,
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self::new(failure.kind()).with_source(failure)
    }
}

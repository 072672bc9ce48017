//! What can go wrong with a shared file.

use crate::error::{StoreError, StoreErrorKind};
use std::{error::Error, fmt, io, path::PathBuf, time::Duration};

#[derive(Debug)]
pub(super) enum Fault {
    /// An operation on the file failed.
    File {
        what: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    /// The file may be read and not written.
    NotWritable {
        path: PathBuf,
        error: io::Error,
    },
    /// Not a file of ours.
    Garbage {
        path: PathBuf,
    },
    /// A file of ours, of another release.
    Version {
        path: PathBuf,
        found: u64,
        known: u64,
    },
    /// Shorter than its header says.
    Truncated {
        path: PathBuf,
        is: u64,
        needs: u64,
    },
    /// A layout that cannot be, or does not fit this machine's memory.
    Settings,
    /// Somebody has held the file's creation for too long.
    Creating {
        path: PathBuf,
        waited: Duration,
    },
    /// Processes that cannot see each other, or do not share a clock, would share the file.
    Strangers {
        path: PathBuf,
        which: &'static str,
    },
    /// This process cannot say who it is, or what time it is.
    NoProc {
        what: &'static str,
        error: Option<io::Error>,
    },
    /// A slot's owner is alive and does not go on.
    Owned {
        pid: u32,
        waited: Duration,
    },
    /// Others changed the keys again and again.
    Contended {
        waited: Duration,
    },
    /// Every record is held by somebody alive.
    NoRecord {
        waited: Duration,
    },
    /// Neither a slot nor a place in the overflow.
    Full {
        keys: usize,
    },
    TooManyRates {
        rates: usize,
        most: usize,
    },
    LogTooLong {
        limit: u64,
    },
    /// Two demands on one key.
    Duplicate,
    TooManyDemands,
    /// What the demand rests on has changed.
    Outdated,
    /// A slot that nothing here can have written.
    Corrupt,
}

/// The most units of an exact log.
pub(super) const LONGEST_LOG: u64 = 10_000;

impl Fault {
    pub(super) fn file(what: &'static str, path: &std::path::Path, error: impl Into<io::Error>) -> Self {
        Self::File { what, path: path.to_owned(), error: error.into() }
    }

    fn kind(&self) -> StoreErrorKind {
        match self {
            Self::File { error, .. } => match error.kind() {
                io::ErrorKind::PermissionDenied => StoreErrorKind::Permission,
                io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::ReadOnly,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                    StoreErrorKind::Full
                }
                io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
                    StoreErrorKind::Config
                }
                _ => StoreErrorKind::Other,
            },
            Self::NotWritable { .. } => StoreErrorKind::ReadOnly,
            Self::Garbage { .. } | Self::Version { .. } | Self::Truncated { .. } | Self::Corrupt => {
                StoreErrorKind::Format
            }
            Self::Settings | Self::Strangers { .. } | Self::NoProc { .. } => StoreErrorKind::Config,
            Self::Creating { .. } | Self::Owned { .. } | Self::Contended { .. } | Self::NoRecord { .. } => {
                StoreErrorKind::Unavailable
            }
            Self::Full { .. } => StoreErrorKind::Full,
            Self::TooManyRates { .. } | Self::LogTooLong { .. } => StoreErrorKind::TooLarge,
            Self::Duplicate => StoreErrorKind::DuplicateKey,
            Self::TooManyDemands => StoreErrorKind::TooManyDemands,
            Self::Outdated => StoreErrorKind::Outdated,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { what, path, error } => write!(f, "cannot {what} {}: {error}", path.display()),
            Self::NotWritable { path, error } => {
                write!(f, "{} can be read but not written ({error}); every decision writes to it", path.display())
            }
            Self::Garbage { path } => {
                write!(f, "{} is not a file of shared limits; it was left as it is", path.display())
            }
            Self::Version { path, found, known } => write!(
                f,
                "{} is of format version {found}, and this release knows version {known}; give each its own file",
                path.display()
            ),
            Self::Truncated { path, is, needs } => {
                write!(f, "{} has {is} bytes of the {needs} it should have: it was cut short", path.display())
            }
            Self::Settings => write!(f, "a file of this many keys, rates or log entries would be too large to map"),
            Self::Creating { path, waited } => {
                write!(f, "after {waited:?} another process is still creating {}; is it stopped?", path.display())
            }
            Self::Strangers { path, which } => write!(
                f,
                "{} is in use by processes of another {which}; those who share it must see each other",
                path.display()
            ),
            Self::NoProc { what, error: Some(error) } => write!(f, "cannot read {what}: {error}"),
            Self::NoProc { what, error: None } => write!(f, "cannot make sense of {what}"),
            Self::Owned { pid, waited } => {
                write!(f, "after {waited:?} process {pid} is still inside a decision on this key; is it stopped?")
            }
            Self::Contended { waited } => write!(f, "after {waited:?} others still change the same keys all the time"),
            Self::NoRecord { waited } => {
                write!(f, "after {waited:?} every place for a decision is still held by a process that does not go on")
            }
            Self::Full { keys } => write!(
                f,
                "all {keys} slots and the overflow hold live keys; create a new file with a larger `max_keys`"
            ),
            Self::TooManyRates { rates, most } => write!(
                f,
                "the quota has {rates} rates, and this file holds up to {most} a key; create it with a larger `max_rates`"
            ),
            Self::LogTooLong { limit } => write!(
                f,
                "an exact sliding_log of {limit} units does not fit the shared file, which keeps up to {LONGEST_LOG} a \
                 key; give the rate a `resolution`"
            ),
            Self::Outdated => write!(f, "the limiter has changed the key's quota, or reset it"),
            Self::Duplicate | Self::TooManyDemands => write!(f, "the demands cannot be decided together"),
            Self::Corrupt => write!(f, "a key's state in the shared file makes no sense; remove the file"),
        }
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::File { error, .. } | Self::NotWritable { error, .. } | Self::NoProc { error: Some(error), .. } => {
                Some(error)
            }
            _ => None,
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        let error = Self::new(fault.kind());
        match fault {
            Fault::Duplicate | Fault::TooManyDemands | Fault::Outdated => error,
            fault => error.with_source(fault),
        }
    }
}

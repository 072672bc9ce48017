//! What can go wrong with a file.

use super::format::Garbled;
use crate::{StoreError, StoreErrorKind};
use rusqlite::ErrorCode;
use std::{error::Error, fmt, path::PathBuf, sync::Arc, time::Duration};

#[derive(Debug)]
pub(super) enum Fault {
    /// The path names no file: empty, or with a zero byte.
    Path(PathBuf),
    /// The folder of the file is not there.
    NoFolder(PathBuf),
    /// The path is a folder.
    IsFolder(PathBuf),
    /// The file was opened for reading only.
    ReadOnly(PathBuf),
    /// A database, but not one of ours.
    Foreign { path: PathBuf, application_id: i32 },
    /// Written by a later release.
    Newer { path: PathBuf, version: i32 },
    /// The file system cannot share memory between processes.
    NoWal { path: PathBuf, mode: String },
    /// Somebody else held the file locked for all of the time allowed.
    Locked { waited: Duration },
    /// A state that cannot be read.
    Garbled { what: &'static str, garbled: Garbled },
    /// A state made under a quota that the file does not hold.
    UnknownQuota,
    /// What the demand rests on has changed.
    Outdated,
    /// Nobody waits for the answer any more; nobody sees this.
    Unwanted,
    /// The answer never came: the store's thread ended.
    Lost,
    /// The store's thread could not be started.
    NoThread(std::io::Error),
    /// What SQLite said.
    Sqlite { doing: &'static str, error: rusqlite::Error },
}

/// [`rusqlite::Error`] with what was done meanwhile.
pub(super) trait Doing<T> {
    fn doing(self, what: &'static str) -> Result<T, Fault>;
}

impl<T> Doing<T> for Result<T, rusqlite::Error> {
    fn doing(self, what: &'static str) -> Result<T, Fault> {
        self.map_err(|error| Fault::Sqlite { doing: what, error })
    }
}

impl Fault {
    /// Whether it is about one call, and says nothing of the transaction around it.
    pub(super) fn is_of_one_call(&self) -> bool {
        matches!(self, Self::Garbled { .. } | Self::UnknownQuota | Self::Outdated | Self::Unwanted)
    }

    /// Whether somebody else holds a lock.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    /// Whether there is no room left.
    pub(super) fn is_full(&self) -> bool {
        self.kind() == StoreErrorKind::Full
    }

    /// Whether the connection may be of no use any more.
    pub(super) fn is_of_the_file(&self) -> bool {
        !self.is_busy() && !matches!(self.code(), None | Some(ErrorCode::DiskFull | ErrorCode::ConstraintViolation))
    }

    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sqlite { error, .. } => error.sqlite_error_code(),
            _ => None,
        }
    }

    fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Path(_) | Self::NoFolder(_) | Self::IsFolder(_) | Self::NoWal { .. } => StoreErrorKind::Config,
            Self::ReadOnly(_) => StoreErrorKind::ReadOnly,
            Self::Foreign { .. } | Self::Newer { .. } | Self::Garbled { .. } | Self::UnknownQuota => {
                StoreErrorKind::Format
            }
            Self::Locked { .. } => StoreErrorKind::Unavailable,
            Self::Outdated => StoreErrorKind::Outdated,
            Self::Unwanted | Self::Lost | Self::NoThread(_) => StoreErrorKind::Other,
            Self::Sqlite { error, .. } => kind_of(error),
        }
    }
}

/// SQLite's codes as ours. A write that the system refuses for other reasons than a full disk (a quota of disk space, a
/// limit on the file's size) is a full store too.
fn kind_of(error: &rusqlite::Error) -> StoreErrorKind {
    const REFUSED_WRITES: [i32; 3] =
        [rusqlite::ffi::SQLITE_IOERR_WRITE, rusqlite::ffi::SQLITE_IOERR_SHMSIZE, rusqlite::ffi::SQLITE_IOERR_TRUNCATE];
    let Some(found) = error.sqlite_error() else { return StoreErrorKind::Other };
    match found.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreErrorKind::Unavailable,
        ErrorCode::PermissionDenied | ErrorCode::CannotOpen => StoreErrorKind::Permission,
        ErrorCode::ReadOnly => StoreErrorKind::ReadOnly,
        ErrorCode::DiskFull | ErrorCode::OutOfMemory => StoreErrorKind::Full,
        ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt => StoreErrorKind::Format,
        ErrorCode::TooBig => StoreErrorKind::TooLarge,
        _ if REFUSED_WRITES.contains(&found.extended_code) => StoreErrorKind::Full,
        _ => StoreErrorKind::Other,
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{path:?} is no path of a file: it is empty or holds a zero byte"),
            Self::NoFolder(path) => {
                write!(f, "the folder of {} does not exist; the store makes only the file", path.display())
            }
            Self::IsFolder(path) => write!(f, "{} is a folder; the store wants a file in it", path.display()),
            Self::ReadOnly(path) => {
                write!(
                    f,
                    "{} can only be read: the file, its folder or its file system is write-protected",
                    path.display()
                )
            }
            Self::Foreign { path, application_id } => write!(
                f,
                "{} is a database of another application (its application id is {application_id}); \
                 a store needs a file of its own",
                path.display()
            ),
            Self::Newer { path, version } => write!(
                f,
                "{} has format {version}, written by a later release; this one knows formats up to {}",
                path.display(),
                super::connection::FORMAT
            ),
            Self::NoWal { path, mode } => write!(
                f,
                "the file system of {} cannot keep a write-ahead log (SQLite chose journal mode {mode}); \
                 use a local file system",
                path.display()
            ),
            Self::Locked { waited } => {
                write!(
                    f,
                    "the file was locked by another process or connection for all of {waited:?}; nothing was done"
                )
            }
            Self::Garbled { what, garbled: Garbled::Version(version) } => {
                write!(f, "{what} has version {version}; this release knows version {}", super::format::VERSION)
            }
            Self::Garbled { what, garbled: Garbled::Bytes } => {
                write!(f, "{what} is garbled; a reset of the key forgets it")
            }
            Self::UnknownQuota => {
                write!(
                    f,
                    "the key's state was made under a quota that the file does not hold; a reset of the key forgets it"
                )
            }
            Self::Outdated => write!(f, "the limiter has changed the key's quota, or reset it"),
            Self::Unwanted => write!(f, "nobody waits for the answer any more"),
            Self::Lost => write!(f, "the store's thread ended before it answered"),
            Self::NoThread(_) => write!(f, "the store's thread could not be started"),
            Self::Sqlite { doing, .. } => write!(f, "SQLite failed to {doing}"),
        }
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoThread(error) => Some(error),
            Self::Sqlite { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        Self::new(fault.kind()).with_source(fault)
    }
}

/// One failure can be the answer to many calls.
pub(super) fn shared(fault: &Arc<Fault>) -> StoreError {
    StoreError::new(fault.kind()).with_source(Arc::clone(fault))
}

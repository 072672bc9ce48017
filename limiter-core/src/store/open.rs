//! Stores by their address, and limiters over them in a line.

use super::{DynStore, MemoryStore};
use crate::{Limiter, Quota, StoreError, StoreErrorKind};
use std::fmt;

impl DynStore {
    /// The store of an address, as a program's settings have it. Nothing is connected to or opened yet, save that a file of
    /// shared memory is opened or created.
    ///
    /// | address | store | feature |
    /// | --- | --- | --- |
    /// | `memory:`, or `memory` | [`MemoryStore`] | |
    /// | `shared:PATH` | `SharedStore` | `shared` |
    /// | `sqlite:PATH` | `SqliteStore` | `sqlite` |
    /// | `redis://…`, `redis+sentinel://…`, `redis+cluster://…` | `RedisStore` | `redis` |
    /// | `postgres://…` | `PostgresStore` | `postgres` |
    ///
    /// ```
    /// use limiter_core::{DynStore, Limiter};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let address = std::env::var("LIMITS").unwrap_or("memory:".into());
    /// let limiter = Limiter::builder("5/s".parse()?).store(DynStore::from_url(&address)?).build();
    /// assert!(limiter.blocking().check("ada")?.allowed());
    ///
    /// let refused = DynStore::from_url("mysql://localhost").unwrap_err();
    /// assert_eq!(refused.kind(), limiter_core::StoreErrorKind::Config);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StoreErrorKind::Config`] for an address of no known store, of one whose feature this program was built without,
    /// or that the store refuses; what can be wrong with a file of shared memory. What else can be wrong is told by the first
    /// call, or by the stores' own `ready`.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
        match scheme {
            "memory" if matches!(url, "memory" | "memory:") => Ok(Self::new(MemoryStore::new())),
            #[cfg(all(feature = "shared", target_os = "linux"))]
            "shared" => Ok(Self::new(super::SharedStore::open(path(url))?)),
            #[cfg(feature = "sqlite")]
            "sqlite" => Ok(Self::new(super::SqliteStore::new(path(url))?)),
            #[cfg(feature = "redis")]
            "redis" | "redis+sentinel" | "redis+cluster" => Ok(Self::new(super::RedisStore::new(url)?)),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => Ok(Self::new(super::PostgresStore::new(url)?)),
            _ => Err(StoreError::new(StoreErrorKind::Config).with_source(UnknownAddress::of(scheme))),
        }
    }
}

/// What follows the scheme; `//` before a path is allowed.
#[cfg(any(all(feature = "shared", target_os = "linux"), feature = "sqlite"))]
fn path(url: &str) -> &str {
    let path = url.split_once(':').map_or("", |(_, path)| path);
    path.strip_prefix("//").unwrap_or(path)
}

impl Limiter<DynStore> {
    /// A limiter over the store of an address; see [`DynStore::from_url`].
    ///
    /// ```
    /// use limiter_core::{Limiter, Rate};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::from_url("memory:", Rate::per_second(5)?)?;
    /// assert!(limiter.blocking().check("ada")?.allowed());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`DynStore::from_url`].
    pub fn from_url(url: &str, quota: impl Into<Quota>) -> Result<Self, StoreError> {
        Ok(Limiter::builder(quota.into()).store(DynStore::from_url(url)?).build())
    }
}

#[cfg(all(feature = "shared", target_os = "linux"))]
impl Limiter<super::SharedStore> {
    /// A limiter over a file that the processes of this host map; see [`SharedStore`](crate::SharedStore).
    ///
    /// ```no_run
    /// use limiter_core::{Limiter, Rate};
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::shared("/dev/shm/limits", Rate::per_second(5)?)?;
    /// assert!(limiter.check("ada")?.allowed());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What can be wrong with the file.
    pub fn shared(path: impl AsRef<std::path::Path>, quota: impl Into<Quota>) -> Result<Self, StoreError> {
        Ok(Limiter::builder(quota.into()).store(super::SharedStore::open(path)?).build())
    }
}

#[cfg(feature = "sqlite")]
impl Limiter<super::SqliteStore> {
    /// A limiter over an SQLite file; see [`SqliteStore`](crate::SqliteStore).
    ///
    /// ```no_run
    /// use limiter_core::{Limiter, Rate};
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::sqlite("limits.db", Rate::per_second(5)?)?;
    /// assert!(limiter.check_async("ada").await?.allowed());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A path that is none.
    pub fn sqlite(path: impl AsRef<std::path::Path>, quota: impl Into<Quota>) -> Result<Self, StoreError> {
        Ok(Limiter::builder(quota.into()).store(super::SqliteStore::new(path)?).build())
    }
}

#[cfg(feature = "redis")]
impl Limiter<super::RedisStore> {
    /// A limiter over a Redis server, a Sentinel group or a Cluster; see [`RedisStore`](crate::RedisStore).
    ///
    /// ```no_run
    /// use limiter_core::{Limiter, Rate};
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::redis("redis://127.0.0.1", Rate::per_second(5)?)?;
    /// assert!(limiter.check_async("ada").await?.allowed());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// An address that is none. Nothing is connected to yet.
    pub fn redis(url: &str, quota: impl Into<Quota>) -> Result<Self, StoreError> {
        Ok(Limiter::builder(quota.into()).store(super::RedisStore::new(url)?).build())
    }
}

#[cfg(feature = "postgres")]
impl Limiter<super::PostgresStore> {
    /// A limiter over a Postgres server; see [`PostgresStore`](crate::PostgresStore).
    ///
    /// ```no_run
    /// use limiter_core::{Limiter, Rate};
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::postgres("postgres://127.0.0.1/limits", Rate::per_second(5)?)?;
    /// assert!(limiter.check_async("ada").await?.allowed());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// An address that is none. Nothing is connected to yet.
    pub fn postgres(url: &str, quota: impl Into<Quota>) -> Result<Self, StoreError> {
        Ok(Limiter::builder(quota.into()).store(super::PostgresStore::new(url)?).build())
    }
}

/// An address that leads to no store.
#[derive(Debug)]
struct UnknownAddress {
    scheme: String,
    /// The feature that would know it.
    feature: Option<&'static str>,
}

impl UnknownAddress {
    fn of(scheme: &str) -> Self {
        let feature = match scheme {
            "shared" => Some("shared"),
            "sqlite" => Some("sqlite"),
            "redis" | "redis+sentinel" | "redis+cluster" => Some("redis"),
            "postgres" | "postgresql" => Some("postgres"),
            _ => None,
        };
        // What is wrong from the start may hold a password anywhere.
        let is_scheme = scheme.len() <= 20 && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c));
        let scheme = if is_scheme { scheme.to_owned() } else { "…".to_owned() };
        Self { scheme, feature }
    }
}

impl fmt::Display for UnknownAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.feature {
            Some(feature) => write!(f, "a {:?} address needs limiter-core's feature `{feature}`", self.scheme),
            None => write!(
                f,
                "no store is addressed by {:?}; allowed are memory:, shared:PATH, sqlite:PATH, redis://, \
                 redis+sentinel://, redis+cluster:// and postgres://",
                self.scheme
            ),
        }
    }
}

impl std::error::Error for UnknownAddress {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn a_wrong_address_is_told_what_is_allowed_and_shows_no_password() {
        for address in
            ["", "mysql://ada:secret@host", "ada:secret@host", "secret@host:1", "host=h password=secret x", "memory"]
        {
            match DynStore::from_url(address) {
                Ok(_) => assert_eq!(address, "memory"),
                Err(error) => {
                    let text = error.source().unwrap().to_string();
                    assert_eq!(error.kind(), StoreErrorKind::Config);
                    assert!(text.contains("sqlite:PATH") && !text.contains("secret"), "{text}");
                }
            }
        }
    }
}

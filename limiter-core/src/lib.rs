#![doc = include_str!("../README.md")]

pub mod algorithm;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod decision;
mod error;
#[cfg(feature = "http")]
pub mod http;
mod key;
mod limiter;
mod quota;
mod rate;
pub mod store;
mod sync;
mod wait;

pub use algorithm::KeyState;
pub use clock::{Clock, ManualClock, MonotonicClock, SystemClock, Timestamp};
pub use decision::{Decision, RateState};
pub use error::{Error, QuotaError, StoreError, StoreErrorKind};
pub use key::{Key, KeyBuf};
pub use limiter::{All, Ask, Blocking, KeyLimiter, Limiter, LimiterBuilder};
pub use quota::{Algorithm, Quota};
pub use rate::Rate;
#[cfg(feature = "postgres")]
pub use store::PostgresStore;
#[cfg(feature = "redis")]
pub use store::RedisStore;
#[cfg(all(feature = "shared", target_os = "linux"))]
pub use store::SharedStore;
#[cfg(feature = "sqlite")]
pub use store::SqliteStore;
pub use store::{DynStore, LocalStore, MemoryStore, Store};
pub use wait::{
    Acquire, AcquireAll, AcquireAllFuture, AcquireFuture, Charge, KeyAcquire, KeyAcquireFuture, KeyPermit, Permit,
    Place, Sleep, ThreadTimer, WrappedFuture, block_on, detach,
};
#[cfg(feature = "futures")]
pub use wait::{LimitedSink, LimitedStream};

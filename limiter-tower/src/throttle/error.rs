//! Why a throttled call failed.

use crate::KeyError;
use limiter_core::Error as LimiterError;
use std::{error::Error as StdError, fmt, time::Duration};

/// The error of a [`Throttle`](crate::Throttle) and of a [`ThrottledBody`](crate::ThrottledBody): no turn, or the
/// failure of what is throttled.
///
/// The inner error is boxed, as tower's own services do it, so that every stack composes: around a time-out or a buffer,
/// whose errors are boxes already, and inside one. [`inner`](Self::inner) finds it again by its type.
///
/// ```
/// use limiter_core::{Error, Limiter};
/// use limiter_tower::{ThrottleError, ThrottleLayer};
/// use std::{io, time::Duration};
/// use tower::{Layer, Service, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let flaky = service_fn(|_: &'static str| async { Err::<(), _>(io::Error::other("reset by peer")) });
/// let mut client = ThrottleLayer::new(Limiter::parse("1/min")?).max_wait(Duration::ZERO).layer(flaky);
///
/// let failed = client.ready().await?.call("first").await.unwrap_err();
/// assert_eq!(failed.inner::<io::Error>().map(io::Error::kind), Some(io::ErrorKind::Other));
///
/// let refused = client.ready().await?.call("second").await.unwrap_err();
/// assert!(matches!(refused, ThrottleError::Refused(Error::WaitTooLong { .. })));
/// assert!(refused.retry_after().is_some_and(|wait| wait > Duration::from_secs(50)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ThrottleError {
    /// The limiter gave no turn: the wait would be too long, the cost can never fit, too many wait, the limiter is
    /// closed, or its store failed. Nothing was passed on, and nothing is charged.
    Refused(LimiterError),
    /// The key cannot be had. Nothing was passed on, and nothing is charged.
    Key(KeyError),
    /// The inner service or body failed, after its turn.
    Inner(BoxError),
}

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

impl ThrottleError {
    pub(crate) fn from_inner(error: impl Into<BoxError>) -> Self {
        Self::Inner(error.into())
    }

    /// How long the wait would have been, where it was longer than allowed.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(LimiterError::WaitTooLong { needed, .. }) => Some(*needed),
            _ => None,
        }
    }

    /// The inner service's or body's error, where it is an `E`.
    #[must_use]
    pub fn inner<E: StdError + 'static>(&self) -> Option<&E> {
        match self {
            Self::Inner(error) => error.downcast_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for ThrottleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused(_) => "no turn was given",
            Self::Key(_) => "there is no key to count it under",
            Self::Inner(_) => "what is throttled failed",
        })
    }
}

impl StdError for ThrottleError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(match self {
            Self::Refused(error) => error,
            Self::Key(error) => error,
            Self::Inner(error) => &**error,
        })
    }
}

//! Why a request was not sent.

use limiter_core::Error;
use std::{error::Error as StdError, fmt, time::Duration};

/// A request that was not sent because of a limit.
///
/// reqwest-middleware wraps it in its own error; [`find`](Self::find) gets it out again. It names the host and nothing
/// else of the URL, which can hold credentials.
///
/// ```
/// use limiter_core::Error;
/// use limiter_reqwest::RateLimitError;
///
/// # async fn fetch(client: reqwest_middleware::ClientWithMiddleware) {
/// match client.get("https://api.example.com/items").send().await {
///     Ok(response) => println!("{}", response.status()),
///     Err(error) => match RateLimitError::find(&error) {
///         Some(limited) => match limited.reason() {
///             Error::WaitTooLong { needed, .. } => println!("{} is busy for {needed:?}", limited.host()),
///             reason => println!("not sent to {}: {reason}", limited.host()),
///         },
///         None => println!("sent, or not, but not for a limit: {error}"),
///     },
/// }
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct RateLimitError {
    host: Box<str>,
    reason: Error,
    in_flight: usize,
}

impl RateLimitError {
    pub(crate) fn new(host: String, reason: Error, in_flight: usize) -> Self {
        Self { host: host.into(), reason, in_flight }
    }

    /// The one behind `error`, if there is one: also where a retry middleware has wrapped it once more.
    #[must_use]
    pub fn find(error: &reqwest_middleware::Error) -> Option<&Self> {
        let reqwest_middleware::Error::Middleware(error) = error else { return None };
        error.chain().find_map(|cause| {
            let nested = || cause.downcast_ref().and_then(Self::find);
            cause.downcast_ref().or_else(nested)
        })
    }

    /// The host the request was for, with its port if the URL named one: `api.example.com`, `127.0.0.1:8080`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Why it was not sent: [`WaitTooLong`](Error::WaitTooLong), [`NeverFits`](Error::NeverFits),
    /// [`TimedOut`](Error::TimedOut) behind requests that took too long, [`QueueFull`](Error::QueueFull),
    /// [`Closed`](Error::Closed) or [`Store`](Error::Store).
    #[must_use]
    pub fn reason(&self) -> &Error {
        &self.reason
    }

    /// The wait that would have been needed, where that was longer than allowed: then it can be tried again.
    ///
    /// `None` behind requests that took too long ([`TimedOut`](Error::TimedOut)): no wait is long enough for sure, as it ends
    /// when one of those does that are on their way ([`in_flight`](Self::in_flight)).
    #[must_use]
    pub fn needed(&self) -> Option<Duration> {
        match self.reason {
            Error::WaitTooLong { needed, .. } => Some(needed),
            _ => None,
        }
    }

    /// How many requests were on their way, of those that are counted together with this one: where that is limited
    /// ([`at_once`](limiter_core::LimiterBuilder::at_once)), they held the places that it waited for.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}

impl fmt::Display for RateLimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not sent to {}: {}", self.host, self.reason)?;
        match self.reason {
            Error::TimedOut { .. } => write!(f, " ({} on their way)", self.in_flight),
            _ => Ok(()),
        }
    }
}

impl StdError for RateLimitError {
    /// What the reason comes from: the reason itself is in the message already.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.reason.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use limiter_core::{StoreError, StoreErrorKind};

    fn too_long() -> RateLimitError {
        let reason = Error::WaitTooLong { needed: Duration::from_secs(5), allowed: Duration::from_secs(1) };
        RateLimitError::new("api.example.com".to_owned(), reason, 0)
    }

    /// As reqwest-retry wraps the last error of its attempts.
    #[derive(Debug)]
    struct Retried(reqwest_middleware::Error);

    impl fmt::Display for Retried {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "tried 3 times")
        }
    }

    impl StdError for Retried {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn the_message_names_the_host_and_the_wait() {
        assert_eq!(too_long().to_string(), "not sent to api.example.com: the wait would be 5s, above the 1s allowed");
        assert_eq!(too_long().needed(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_wait_for_others_has_no_bound_and_the_message_says_for_how_many() {
        let reason = Error::TimedOut { waited: Duration::from_secs(1) };
        let error = RateLimitError::new("api.example.com".to_owned(), reason, 3);
        let expected = "not sent to api.example.com: others had not finished after the 1s allowed, and how much longer \
                        they take is not known (3 on their way)";
        assert_eq!((error.to_string().as_str(), error.needed(), error.in_flight()), (expected, None, 3));
    }

    #[test]
    fn it_is_found_at_any_depth() {
        let direct = reqwest_middleware::Error::middleware(too_long());
        assert!(RateLimitError::find(&direct).is_some());
        let retried = reqwest_middleware::Error::middleware(Retried(direct));
        let twice = reqwest_middleware::Error::middleware(Retried(retried));
        assert_eq!(RateLimitError::find(&twice).map(RateLimitError::host), Some("api.example.com"));
        let other = reqwest_middleware::Error::middleware(fmt::Error);
        assert!(RateLimitError::find(&other).is_none());
    }

    #[test]
    fn a_failed_store_is_the_source() {
        let store = StoreError::new(StoreErrorKind::Unavailable);
        let error = RateLimitError::new("a".to_owned(), store.into(), 0);
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("the store does not answer"));
        assert!(too_long().source().is_none());
    }
}

//! Why a client has no answer.

use crate::{PlanError, RateLimitError, engine::NotSent};
use std::{error::Error as StdError, fmt, time::Duration};

/// Why [`Client`](crate::Client) or its blocking twin has no answer.
///
/// ```
/// use limiter_reqwest::Error;
///
/// # async fn fetch(client: limiter_reqwest::Client) {
/// match client.get("https://api.example.com/items").send().await {
///     Ok(response) => println!("{}", response.status()),
///     Err(Error::Limited(limited)) => println!("{} is busy for {:?}", limited.host(), limited.needed()),
///     Err(error) => println!("{error}"),
/// }
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The request was not sent because of a limit.
    Limited(RateLimitError),
    /// No request can be sent: one of the limits' rules is none.
    Misconfigured(PlanError),
    /// reqwest's own.
    Reqwest(reqwest::Error),
}

impl Error {
    /// The limit that the request was not sent for, if that is why.
    #[must_use]
    pub fn limited(&self) -> Option<&RateLimitError> {
        match self {
            Self::Limited(error) => Some(error),
            _ => None,
        }
    }

    /// The wait that would have been needed, where that was longer than allowed: then it can be tried again.
    #[must_use]
    pub fn needed(&self) -> Option<Duration> {
        self.limited()?.needed()
    }

    /// reqwest's own error, if it is one.
    #[must_use]
    pub fn reqwest(&self) -> Option<&reqwest::Error> {
        match self {
            Self::Reqwest(error) => Some(error),
            _ => None,
        }
    }

    /// This error without the URL that reqwest's name, which can hold credentials; the others name a host alone.
    #[must_use]
    pub fn without_url(self) -> Self {
        match self {
            Self::Reqwest(error) => Self::Reqwest(error.without_url()),
            error => error,
        }
    }
}

impl From<NotSent> for Error {
    fn from(not_sent: NotSent) -> Self {
        match not_sent {
            NotSent::Limited(error) => Self::Limited(error),
            NotSent::Misconfigured(error) => Self::Misconfigured(error),
        }
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        Self::Reqwest(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited(error) => error.fmt(f),
            Self::Misconfigured(error) => error.fmt(f),
            Self::Reqwest(error) => error.fmt(f),
        }
    }
}

impl StdError for Error {
    /// What the error within comes from: itself it is in the message already.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Limited(error) => error.source(),
            Self::Misconfigured(error) => error.source(),
            Self::Reqwest(error) => error.source(),
        }
    }
}

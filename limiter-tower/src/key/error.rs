//! Why there is no key.

use http::StatusCode;
use std::{borrow::Cow, error::Error, fmt};

/// Why a request's key cannot be had, and the status to answer it with.
///
/// The detail is sent to the client: name what is missing, never a key or a credential.
///
/// ```
/// use http::StatusCode;
/// use limiter_tower::KeyError;
///
/// let error = KeyError::new("no tenant in the path");
/// assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR);
/// assert_eq!(error.with_status(StatusCode::NOT_FOUND).status(), StatusCode::NOT_FOUND);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyError {
    detail: Cow<'static, str>,
    status: StatusCode,
}

impl KeyError {
    /// An error that is the server's own: 500.
    #[must_use]
    pub fn new(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: detail.into(), status: StatusCode::INTERNAL_SERVER_ERROR }
    }

    /// The same error with another status; one that is no error's (below 400) is taken for 500.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        let is_error = status.is_client_error() || status.is_server_error();
        Self { status: if is_error { status } else { StatusCode::INTERNAL_SERVER_ERROR }, ..self }
    }

    /// What is missing, in words.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Error for KeyError {}

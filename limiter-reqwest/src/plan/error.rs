//! What is wrong with a rule.

use std::{error::Error, fmt};

/// A rule that no request could ever meet, as its host or path is not one.
///
/// [`Limits::checked`](crate::Limits::checked) gives it when the client is set up; else the first request does.
///
/// ```
/// use limiter_core::Limiter;
/// use limiter_reqwest::Limits;
///
/// # fn main() -> Result<(), limiter_core::QuotaError> {
/// let strict = Limiter::parse("sliding_log 1/s")?;
/// let limits = Limits::new(strict.clone()).host("https://api.example.com/", strict);
/// let error = limits.checked().unwrap_err();
/// assert!(error.to_string().contains("`https://api.example.com/`"), "{error}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    kind: Kind,
    given: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Host,
    Domain,
    Path,
}

impl PlanError {
    pub(super) fn new(kind: Kind, given: &str) -> Self {
        // A URL in a host's place can hold credentials.
        let given = match given.rsplit_once('@') {
            Some((before, host)) => {
                let scheme = ["http://", "https://"].into_iter().find(|scheme| before.starts_with(scheme));
                format!("{}…@{host}", scheme.unwrap_or_default()).into()
            }
            None => given.into(),
        };
        Self { kind, given }
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, allowed) = match self.kind {
            Kind::Host => (
                "host",
                "allowed are a name or address with or without a port (`api.example.com`, `127.0.0.1:8080`, `[::1]`), \
                 `*.example.com` for all below a name, and `*` for all",
            ),
            Kind::Domain => ("domain", "allowed is a name without a port or wildcard (`example.com`)"),
            Kind::Path => ("path prefix", "allowed is one that begins with `/`, without `?` and `#` (`/v2/search`)"),
        };
        write!(f, "`{}` is no {what}: {allowed}", self.given)
    }
}

impl Error for PlanError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_unsaid() {
        for (given, said) in [
            ("https://user:secret@a.example/", "`https://…@a.example/`"),
            ("user:se//cret@b@a.example", "`…@a.example`"),
            ("a example", "`a example`"),
        ] {
            let error = PlanError::new(Kind::Host, given);
            assert!(error.to_string().starts_with(said) && !format!("{error:?}").contains("secret"), "{error}");
        }
    }
}

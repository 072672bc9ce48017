//! Statuses of responses, one by one or a hundred at a time.

use http::StatusCode;
use std::fmt;

/// A status such as 401, or a class of them such as 5xx.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StatusRule {
    One(StatusCode),
    /// The first digit.
    Class(u16),
}

impl StatusRule {
    pub(super) fn of_number(number: i128) -> Option<Self> {
        let status = StatusCode::from_u16(u16::try_from(number).ok()?).ok()?;
        (100..600).contains(&status.as_u16()).then_some(Self::One(status))
    }

    pub(super) fn of_text(text: &str) -> Option<Self> {
        if let Some(class) = text.strip_suffix("xx") {
            return class.parse().ok().filter(|class| (1..=5).contains(class)).map(Self::Class);
        }
        Self::of_number(text.parse().ok()?)
    }

    pub(super) fn matches(self, status: StatusCode) -> bool {
        match self {
            Self::One(one) => one == status,
            Self::Class(class) => status.as_u16() / 100 == class,
        }
    }
}

impl fmt::Display for StatusRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(status) => write!(f, "{}", status.as_u16()),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

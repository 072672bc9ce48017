//! How a host stands.

use crate::learn::Learned;
use limiter_core::Quota;
use reqwest::StatusCode;
use std::time::Duration;

/// How the requests stand that are counted together: those to one host, as a rule. Made by
/// [`Limits::status`](crate::Limits::status) and [`Limits::statuses`](crate::Limits::statuses).
///
/// Pauses and units are the store's, so other processes' too; requests are counted in this process, since it first
/// asked for the host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The host that was asked first, with its port if the URL named one.
    pub host: String,
    /// The quota that is kept to now.
    pub quota: Quota,
    /// Units of it that are left; 0 during a pause.
    pub remaining: u64,
    /// How long the pause still lasts that a server asked for; zero where there is none.
    pub paused_for: Duration,
    /// How long requests still come back one after the other, at the quota's pace; zero where no pause is or was.
    pub paced_for: Duration,
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// Requests that were sent and have no answer yet.
    pub in_flight: usize,
    /// The status of the last answer.
    pub last: Option<StatusCode>,
    /// Answers so far.
    pub answered: u64,
    /// Answers among them that refused: 429, and 503 or 413 with `Retry-After`.
    pub refused: u64,
    /// What was learned of the host's own limit; `None` where that is told, or nothing was sent yet.
    pub learned: Option<Learned>,
}

//! The cases, each an asynchronous function over a harness; `table` lists them.

pub(super) mod changes;
pub(super) mod concurrency;
pub(super) mod decisions;
pub(super) mod handles;
pub(super) mod keys;
pub(super) mod lifetime;
pub(super) mod reading;
pub(super) mod refunds;
pub(super) mod several;
pub(super) mod time;

use super::Failure;
use crate::{Quota, Timestamp};
use std::time::Duration;

/// One quota of each algorithm: three units a minute.
const EACH: [&str; 4] = ["3/min", "fixed_window 3/min", "sliding_window 3/min", "sliding_log 3/min"];

/// The start of a minute, an hour and a day, so that windows begin there.
const MIDNIGHT: Timestamp = Timestamp::from_micros(1_760_054_400_000_000);

fn quota(text: &str) -> Result<Quota, Failure> {
    text.parse().map_err(|error| Failure::new(format!("the suite's quota {text:?} is refused: {error}")))
}

fn after(micros: u64) -> Timestamp {
    MIDNIGHT.saturating_add(Duration::from_micros(micros))
}

fn before(micros: u64) -> Timestamp {
    Timestamp::from_micros(MIDNIGHT.as_micros().saturating_sub(micros))
}

const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

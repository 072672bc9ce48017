//! Decisions for machines: one flat map, times in whole microseconds.

use super::{Decision, RateState};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::time::Duration;

impl Serialize for Decision {
    /// Writes `allowed`, `remaining`, `limit`, `reset_after_us`, `retry_after_us` (`null` where the cost can never fit),
    /// `at_us` (since the Unix epoch), `denied` (the places of the demands that denied), `behind_waiters` and `rates`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("Decision", 9)?;
        map.serialize_field("allowed", &self.allowed())?;
        map.serialize_field("remaining", &self.remaining())?;
        map.serialize_field("limit", &self.limit())?;
        map.serialize_field("reset_after_us", &micros(self.reset_after()))?;
        map.serialize_field("retry_after_us", &self.retry_after().map(micros))?;
        map.serialize_field("at_us", &self.at().as_micros())?;
        map.serialize_field("denied", &self.denied().collect::<Vec<_>>())?;
        map.serialize_field("behind_waiters", &self.behind_waiters())?;
        map.serialize_field("rates", self.rates())?;
        map.end()
    }
}

impl Serialize for RateState {
    /// Writes `demand`, `capacity`, `period_us`, `remaining`, `reset_after_us` and `retry_after_us`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("RateState", 6)?;
        map.serialize_field("demand", &self.demand())?;
        map.serialize_field("capacity", &self.capacity())?;
        map.serialize_field("period_us", &micros(self.period()))?;
        map.serialize_field("remaining", &self.remaining())?;
        map.serialize_field("reset_after_us", &micros(self.reset_after()))?;
        map.serialize_field("retry_after_us", &micros(self.retry_after()))?;
        map.end()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::{Limiter, Timestamp};

    #[test]
    fn a_denial_says_which_rate_and_how_long() {
        let quota = "fixed_window 1/s, 5/min".parse().unwrap();
        let limiter = Limiter::builder(quota).clock(Timestamp::from_micros(60_250_000)).build();
        limiter.check("k").unwrap();
        let denied = limiter.check("k").unwrap();
        assert_eq!(denied.to_string(), "denied by 1/s: 0 of 1 left, retry after 750ms, reset after 59.75s");
        let json = serde_json::to_value(&denied).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "allowed": false, "remaining": 0, "limit": 1, "reset_after_us": 59_750_000, "retry_after_us": 750_000,
                "at_us": 60_250_000, "denied": [0], "behind_waiters": false, "rates": [
                    { "demand": 0, "capacity": 1, "period_us": 1_000_000, "remaining": 0, "reset_after_us": 750_000,
                      "retry_after_us": 750_000 },
                    { "demand": 0, "capacity": 5, "period_us": 60_000_000, "remaining": 4, "reset_after_us": 59_750_000,
                      "retry_after_us": 0 },
                ],
            })
        );
    }
}

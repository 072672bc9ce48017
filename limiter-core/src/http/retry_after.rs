//! `Retry-After`, RFC 9110 §10.2.3.

use std::time::{Duration, SystemTime};

use super::timestamp::{ceil_seconds, parse_http_date, parse_seconds, response_time};

/// The longest a client should let a server pause it unless told otherwise: ten minutes.
///
/// [`parse_retry_after`] and [`read_advice`](super::read_advice) return what was said; capping is the caller's.
///
/// ```
/// use limiter_core::http::{DEFAULT_CAP, parse_retry_after};
/// use std::time::{Duration, SystemTime};
///
/// let told = parse_retry_after(b"99999999999999999999", None, SystemTime::now());
/// assert_eq!(told.map(|wait| wait.min(DEFAULT_CAP)), Some(Duration::from_secs(600)));
/// ```
pub const DEFAULT_CAP: Duration = Duration::from_secs(600);

/// The whole seconds to send as `Retry-After` (RFC 9110 §10.2.3): rounded up, at least 1, so that who obeys is never early.
///
/// ```
/// use limiter_core::http::retry_after_seconds;
/// use std::time::Duration;
///
/// assert_eq!(retry_after_seconds(Duration::ZERO), 1);
/// assert_eq!(retry_after_seconds(Duration::from_millis(2001)), 3);
/// ```
#[must_use]
pub fn retry_after_seconds(wait: Duration) -> u64 {
    ceil_seconds(wait).max(1)
}

/// The wait that a `Retry-After` value asks for (RFC 9110 §10.2.3), or `None` if it is malformed and to be ignored.
///
/// Digits are seconds and saturate; decimals, which some servers send, are rounded up to a second. An HTTP date in any of
/// its three forms counts from `date`, the same response's `Date` value, or from `now` where that is absent or malformed;
/// a date that has passed is a wait of zero. The result may be absurdly long: see [`DEFAULT_CAP`]. Never allocates.
///
/// ```
/// use limiter_core::http::parse_retry_after;
/// use std::time::{Duration, SystemTime};
///
/// let now = SystemTime::now();
/// assert_eq!(parse_retry_after(b"120", None, now), Some(Duration::from_secs(120)));
/// assert_eq!(parse_retry_after(b"soon", None, now), None);
///
/// // The server's clock, not ours, says how far away its date is.
/// let date = b"Sun, 06 Nov 1994 08:49:37 GMT";
/// let wait = parse_retry_after(b"Sun, 06 Nov 1994 08:50:00 GMT", Some(date), now);
/// assert_eq!(wait, Some(Duration::from_secs(23)));
/// ```
#[must_use]
pub fn parse_retry_after(value: &[u8], date: Option<&[u8]>, now: SystemTime) -> Option<Duration> {
    let value = value.trim_ascii();
    if let Some(wait) = parse_seconds(value) {
        return Some(Duration::from_secs(ceil_seconds(wait)));
    }
    Some(parse_http_date(value)?.saturating_sub(response_time(date, now)))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    fn parse(value: &str) -> Option<u64> {
        parse_retry_after(value.as_bytes(), None, now()).map(|wait| wait.as_secs())
    }

    #[test]
    fn what_is_written_is_at_least_one_and_never_early() {
        for (nanos, seconds) in [(0, 1), (1, 1), (1_000_000_000, 1), (1_000_000_001, 2), (59_999_999_999, 60)] {
            assert_eq!(retry_after_seconds(Duration::from_nanos(nanos)), seconds);
        }
        assert_eq!(retry_after_seconds(Duration::MAX), u64::MAX);
    }

    #[test]
    fn seconds_and_decimals() {
        for (value, expected) in [
            ("0", 0),
            ("120", 120),
            (" 120\t", 120),
            ("0000000000000000000000000000005", 5),
            ("2.0", 2),
            ("2.01", 3),
            ("0.0000000000000000000001", 1),
            ("99999999999999999999999999", u64::MAX),
            ("99999999999999999999999999.5", u64::MAX),
        ] {
            assert_eq!(parse(value), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn dates_in_three_forms() {
        for value in [
            "Sun, 06 Nov 1994 08:50:07 GMT",
            "Sunday, 06-Nov-94 08:50:07 GMT",
            "Sun Nov  6 08:50:07 1994",
            "  Sun, 06 Nov 1994 08:50:07 GMT ",
        ] {
            assert_eq!(parse(value), Some(30), "{value:?}");
        }
    }

    #[test]
    fn a_date_counts_from_the_responses_own_clock() {
        let value = b"Sun, 06 Nov 1994 08:50:07 GMT";
        for (date, expected) in [
            ("Sun, 06 Nov 1994 08:50:02 GMT", 5),
            ("Sun, 06 Nov 1994 08:50:07 GMT", 0),
            ("Mon, 07 Nov 1994 08:50:07 GMT", 0),
            ("Sun, 06 Nov 1994 07:50:07 GMT", 3600),
            ("not a date", 30),
            ("", 30),
        ] {
            let wait = parse_retry_after(value, Some(date.as_bytes()), now());
            assert_eq!(wait, Some(Duration::from_secs(expected)), "{date:?}");
        }
    }

    #[test]
    fn a_clock_before_the_epoch_is_the_epoch() {
        let before = UNIX_EPOCH - Duration::from_secs(1_000_000);
        let wait = parse_retry_after(b"Thu, 01 Jan 1970 00:00:09 GMT", None, before);
        assert_eq!(wait, Some(Duration::from_secs(9)));
    }

    #[test]
    fn anything_else_is_ignored() {
        for value in [
            "",
            " ",
            "-1",
            "+1",
            "1s",
            "1,2",
            "1 2",
            "1.",
            ".5",
            "1e3",
            "NaN",
            "inf",
            "soon",
            "\u{0661}",
            "2024-01-01T00:00:00Z",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 25:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 PST",
        ] {
            assert_eq!(parse(value), None, "{value:?}");
        }
        assert_eq!(parse_retry_after(b"\xff\xfe\x00", None, now()), None);
    }
}

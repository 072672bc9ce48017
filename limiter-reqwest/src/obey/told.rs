//! What servers ask for.

use crate::PauseReason;
use limiter_core::http::{Unit, parse_retry_after, read_advice};
use reqwest::{
    StatusCode,
    header::{AGE, DATE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use std::time::{Duration, SystemTime};

/// How long an answer asks that nothing be sent, not capped, and what says so. A `Retry-After` of zero, as from a server that
/// rounds down, refuses without saying how long.
///
/// `Retry-After` goes before `RateLimit` fields (draft-ietf-httpapi-ratelimit-headers-11, section 5), and is read where
/// RFC 9110 and RFC 6585 give it this meaning. The `RateLimit` fields of an answer from a cache say nothing of the
/// server now.
pub(crate) fn asked_pause(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<(Duration, PauseReason)> {
    let from_origin = || if headers.contains_key(AGE) { None } else { until_reset(headers, now) };
    let told = retry_after(status, headers, now).map(|pause| (pause, PauseReason::RetryAfter));
    told.or_else(|| from_origin().filter(|(pause, _)| !pause.is_zero()))
}

/// Whether an answer refuses its request for being one too many, or too much at this time.
pub(crate) fn is_refusal(status: StatusCode, asked: Option<&(Duration, PauseReason)>) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || matches!(asked, Some((_, PauseReason::RetryAfter)))
}

/// Of several lines that make sense, as proxies add them, the longest.
fn retry_after(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::PAYLOAD_TOO_LARGE) = status
    else {
        return None;
    };
    let date = headers.get(DATE).map(HeaderValue::as_bytes);
    headers.get_all(RETRY_AFTER).iter().filter_map(|line| parse_retry_after(line.as_bytes(), date, now)).max()
}

/// The longest pause over the server's policies of which nothing remains.
fn until_reset(headers: &HeaderMap, now: SystemTime) -> Option<(Duration, PauseReason)> {
    let advice = read_advice(now, |name| headers.get_all(name).iter().map(HeaderValue::as_bytes));
    let pauses = advice.iter().filter_map(|advice| Some((advice.pause()?, PauseReason::RateLimit(advice.generation))));
    pauses.max_by_key(|(pause, _)| *pause)
}

/// How long to wait between requests, so that what the server says is left lasts until the reset: a part for each of them and
/// one until units come back. The longest over its policies; none where nothing is said, or nothing left.
pub(crate) fn asked_interval(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    if headers.contains_key(AGE) {
        return None;
    }
    let advice = read_advice(now, |name| headers.get_all(name).iter().map(HeaderValue::as_bytes));
    let of_requests = advice.iter().filter(|advice| advice.unit == Unit::Requests);
    let intervals = of_requests.filter_map(|advice| {
        let left = advice.remaining.filter(|left| *left > 0)?;
        Some(advice.reset_after?.div_f64(left as f64 + 1.0))
    });
    intervals.max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use limiter_core::http::Generation;

    #[test]
    fn what_is_left_is_spread_until_the_reset() {
        let interval = |fields: &[(&'static str, &str)]| {
            let headers = fields.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            asked_interval(&headers, SystemTime::now()).map(|interval| interval.as_secs_f64())
        };
        assert_eq!(interval(&[("ratelimit", r#""default";r=1;t=30"#)]), Some(15.0));
        assert_eq!(interval(&[("ratelimit", r#""burst";r=9;t=10, "daily";r=5;t=60"#)]), Some(10.0));
        assert_eq!(interval(&[("x-ratelimit-remaining", "99"), ("x-ratelimit-reset", "60")]), Some(0.6));
        let most = u64::MAX.to_string();
        assert!(
            interval(&[("x-ratelimit-remaining", &most), ("x-ratelimit-reset", &most)]).is_some_and(f64::is_finite)
        );
        for none in [
            &[("ratelimit", r#""default";r=0;t=30"#)][..],
            &[("ratelimit", r#""default";r=5"#)],
            &[("ratelimit", r#""default";r=5;t=30"#), ("age", "1")],
            &[("ratelimit", r#""default";r=5;t=30"#), ("ratelimit-policy", r#""default";q=9;qu="content-bytes""#)],
            &[("x-ratelimit-remaining", "-1"), ("x-ratelimit-reset", "9")],
            &[],
        ] {
            assert_eq!(interval(none), None, "{none:?}");
        }
    }

    const TOO_MANY: u16 = 429;

    fn asked(status: u16, fields: &[(&'static str, &str)]) -> Option<u64> {
        let headers = fields.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        asked_pause(StatusCode::from_u16(status).unwrap(), &headers, now).map(|(pause, _)| pause.as_secs())
    }

    #[test]
    fn retry_after_counts_on_refusals_only() {
        for (status, expected) in
            [(429, Some(7)), (503, Some(7)), (413, Some(7)), (200, None), (301, None), (500, None)]
        {
            assert_eq!(asked(status, &[("retry-after", "7")]), expected, "{status}");
        }
    }

    #[test]
    fn a_date_counts_from_the_answers_own() {
        let until = ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT");
        assert_eq!(asked(TOO_MANY, &[until]), Some(30));
        assert_eq!(asked(TOO_MANY, &[until, ("date", "Sun, 06 Nov 1994 08:50:02 GMT")]), Some(5));
        assert_eq!(asked(TOO_MANY, &[until, ("date", "Sun, 06 Nov 1994 09:00:00 GMT")]), Some(0));
    }

    #[test]
    fn nothing_left_pauses_until_the_reset_whatever_the_status() {
        for fields in [
            [("ratelimit", r#""default";r=0;t=30"#)].as_slice(),
            &[("ratelimit", r#""burst";r=0;t=2, "daily";r=0;t=30, "monthly";r=9;t=9999"#)],
            &[("ratelimit", "limit=100, remaining=0, reset=30")],
            &[("ratelimit-limit", "100"), ("ratelimit-remaining", "0"), ("ratelimit-reset", "30")],
            &[("x-ratelimit-limit", "100"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")],
        ] {
            assert_eq!(asked(200, fields), Some(30), "{fields:?}");
            assert_eq!(asked(TOO_MANY, fields), Some(30), "{fields:?}");
        }
        assert_eq!(asked(200, &[("ratelimit", r#""default";r=1;t=30"#)]), None);
        assert_eq!(asked(200, &[("ratelimit", r#""default";r=0"#)]), None);
    }

    #[test]
    fn retry_after_goes_first_unless_it_is_malformed() {
        let nothing_left = ("ratelimit", r#""default";r=0;t=30"#);
        assert_eq!(asked(TOO_MANY, &[("retry-after", "2"), nothing_left]), Some(2));
        assert_eq!(asked(TOO_MANY, &[("retry-after", "0"), nothing_left]), Some(0));
        assert_eq!(asked(TOO_MANY, &[("retry-after", "soon"), nothing_left]), Some(30));
        assert_eq!(asked(200, &[("retry-after", "2"), nothing_left]), Some(30));
    }

    #[test]
    fn of_several_lines_the_longest_holds() {
        let lines = [("retry-after", "2"), ("retry-after", "soon"), ("retry-after", "7"), ("retry-after", "5")];
        assert_eq!(asked(503, &lines), Some(7));
        assert_eq!(asked(503, &lines[1..]), Some(7));
    }

    #[test]
    fn what_a_cache_says_is_ignored() {
        assert_eq!(asked(503, &[("retry-after", "7"), ("age", "3")]), Some(7));
        assert_eq!(asked(200, &[("ratelimit", r#""default";r=0;t=30"#), ("age", "0")]), None);
    }

    #[test]
    fn malformed_values_are_ignored() {
        for value in ["", "-1", "soon", "1s", "1e9", "\u{0661}", "Sun, 31 Feb 1994 08:50:07 GMT"] {
            assert_eq!(asked(TOO_MANY, &[("retry-after", value)]), None, "{value:?}");
        }
        assert_eq!(asked(200, &[("ratelimit", r#""default";r=0;t=-5"#)]), None);
        assert_eq!(asked(TOO_MANY, &[]), None);
    }

    #[test]
    fn what_says_so_is_told() {
        let reason = |fields: &[(&'static str, &str)]| {
            let headers = fields.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            asked_pause(StatusCode::TOO_MANY_REQUESTS, &headers, SystemTime::now()).map(|(_, reason)| reason)
        };
        let (retry_after, nothing_left) = (("retry-after", "7"), ("ratelimit", r#""default";r=0;t=30"#));
        assert_eq!(reason(&[retry_after, nothing_left]), Some(PauseReason::RetryAfter));
        assert_eq!(reason(&[nothing_left]), Some(PauseReason::RateLimit(Generation::Structured)));
        let legacy = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "9")];
        assert_eq!(reason(&legacy), Some(PauseReason::RateLimit(Generation::Legacy)));
    }
}

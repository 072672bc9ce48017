//! Numbers of seconds and points in time as header fields spell them. Points in time are durations since the Unix
//! epoch, whose subtraction saturates: no text, however absurd, overflows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whole seconds, rounded up.
pub(super) fn ceil_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// What "now" means for a response: its own `Date` where that is well-formed, so that the two clocks' difference cancels,
/// else ours.
pub(super) fn response_time(date: Option<&[u8]>, now: SystemTime) -> Duration {
    date.and_then(|date| parse_http_date(date.trim_ascii()))
        .unwrap_or_else(|| now.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// `1*DIGIT [ "." 1*DIGIT ]` seconds: saturating, and rounded up below a nanosecond.
pub(super) fn parse_seconds(text: &[u8]) -> Option<Duration> {
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = Duration::from_secs(parse_digits(parts.next()?)?);
    match parts.next() {
        Some(fraction) => Some(whole.saturating_add(parse_fraction(fraction)?)),
        None => Some(whole),
    }
}

fn parse_digits(text: &[u8]) -> Option<u64> {
    if !is_digits(text) {
        return None;
    }
    Some(text.iter().fold(0, |number: u64, byte| number.saturating_mul(10).saturating_add(u64::from(byte & 0x0f))))
}

fn parse_fraction(text: &[u8]) -> Option<Duration> {
    if !is_digits(text) {
        return None;
    }
    let mut scale = 100_000_000;
    let mut nanos = 0;
    for byte in text {
        let digit = u64::from(byte & 0x0f);
        if scale == 0 && digit > 0 {
            nanos += 1;
            break;
        }
        nanos += digit * scale;
        scale /= 10;
    }
    Some(Duration::from_nanos(nanos))
}

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// The three forms of RFC 9110 §5.6.7.
pub(super) fn parse_http_date(text: &[u8]) -> Option<Duration> {
    let date = httpdate::parse_http_date(std::str::from_utf8(text).ok()?).ok()?;
    date.duration_since(UNIX_EPOCH).ok()
}

/// `YYYY-MM-DDThh:mm[:ss[.fff]][Z|±hh[[:]mm]]`: the profile of RFC 3339, and what ISO 8601 lets servers leave out.
/// Without an offset it is UTC; before 1970 it is 1970.
pub(super) fn parse_iso8601(text: &[u8]) -> Option<Duration> {
    let mut rest = text;
    let year = take_number(&mut rest, 4)?;
    take_byte(&mut rest, b"-")?;
    let month = take_number(&mut rest, 2)?;
    take_byte(&mut rest, b"-")?;
    let day = take_number(&mut rest, 2)?;
    take_byte(&mut rest, b"Tt ")?;
    let hour = take_number(&mut rest, 2)?;
    take_byte(&mut rest, b":")?;
    let minute = take_number(&mut rest, 2)?;
    let second = match take_byte(&mut rest, b":") {
        Some(_) => take_number(&mut rest, 2)?,
        None => 0,
    };
    let fraction = match take_byte(&mut rest, b".,") {
        Some(_) => take_fraction(&mut rest)?,
        None => Duration::ZERO,
    };
    let offset = take_offset(&mut rest)?;
    let valid = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !valid || !rest.is_empty() {
        return None;
    }
    let local = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let seconds = u64::try_from(local - offset).unwrap_or(0);
    Some(Duration::from_secs(seconds) + fraction)
}

fn take_number(rest: &mut &[u8], digits: usize) -> Option<i64> {
    let (head, tail) = rest.split_at_checked(digits)?;
    *rest = tail;
    i64::try_from(parse_digits(head)?).ok()
}

fn take_byte(rest: &mut &[u8], allowed: &[u8]) -> Option<u8> {
    let (first, tail) = rest.split_first()?;
    allowed.contains(first).then(|| {
        *rest = tail;
        *first
    })
}

fn take_fraction(rest: &mut &[u8]) -> Option<Duration> {
    let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, tail) = rest.split_at_checked(end)?;
    *rest = tail;
    parse_fraction(digits)
}

/// Seconds east of UTC.
fn take_offset(rest: &mut &[u8]) -> Option<i64> {
    let sign = match take_byte(rest, b"Zz+-") {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Some(0),
    };
    let hours = take_number(rest, 2)?;
    let colon = take_byte(rest, b":").is_some();
    let minutes = if colon || !rest.is_empty() { take_number(rest, 2)? } else { 0 };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar, counted in years that begin in March so that the leap day comes last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    const MARCH_OF_YEAR_0: i64 = -719_468;
    MARCH_OF_YEAR_0 + year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_digits_with_an_optional_fraction() {
        for (text, expected) in [
            ("0", Some(Duration::ZERO)),
            ("007", Some(Duration::from_secs(7))),
            ("2.0", Some(Duration::from_secs(2))),
            ("1.5", Some(Duration::from_millis(1500))),
            ("0.0000000001", Some(Duration::from_nanos(1))),
            ("0.9999999999", Some(Duration::from_secs(1))),
            ("18446744073709551615", Some(Duration::from_secs(u64::MAX))),
            ("18446744073709551616", Some(Duration::from_secs(u64::MAX))),
            ("18446744073709551615.9999999999", Some(Duration::MAX)),
            ("", None),
            (".", None),
            ("1.", None),
            (".5", None),
            ("1.2.3", None),
            ("-1", None),
            ("+1", None),
            ("1e3", None),
            (" 1", None),
            ("0x10", None),
            ("\u{0663}", None),
        ] {
            assert_eq!(parse_seconds(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn iso_8601_in_its_variants_is_one_instant() {
        for text in [
            "2024-02-29T12:30:00Z",
            "2024-02-29t12:30:00z",
            "2024-02-29 12:30:00Z",
            "2024-02-29T12:30Z",
            "2024-02-29T12:30",
            "2024-02-29T12:30:00.000Z",
            "2024-02-29T14:30:00+02:00",
            "2024-02-29T14:30:00+0200",
            "2024-02-29T14:30:00+02",
            "2024-02-29T07:00:00-05:30",
        ] {
            assert_eq!(parse_iso8601(text.as_bytes()), Some(Duration::from_secs(1_709_209_800)), "{text}");
        }
        assert_eq!(parse_iso8601(b"1970-01-01T00:00:00.25Z"), Some(Duration::from_millis(250)));
        assert_eq!(parse_iso8601(b"2000-02-29T00:00Z"), Some(Duration::from_secs(951_782_400)));
        assert_eq!(parse_iso8601(b"0000-01-01T00:00Z"), Some(Duration::ZERO));
        assert_eq!(parse_iso8601(b"9999-12-31T23:59:60Z"), Some(Duration::from_secs(253_402_300_800)));
    }

    #[test]
    fn malformed_iso_8601_is_refused() {
        for text in [
            "",
            "2024",
            "2024-02-30T00:00Z",
            "2023-02-29T00:00Z",
            "1900-02-29T00:00Z",
            "2024-00-01T00:00Z",
            "2024-13-01T00:00Z",
            "2024-01-00T00:00Z",
            "2024-01-01T24:00Z",
            "2024-01-01T00:60Z",
            "2024-01-01T00:00:61Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00Zjunk",
            "2024-01-01T00:00:00+2",
            "2024-01-01T00:00:00+02:",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00+02:00:00",
            "+024-01-01T00:00Z",
            "2024-01-01",
            "99999-01-01T00:00Z",
        ] {
            assert_eq!(parse_iso8601(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn the_calendar_agrees_with_http_dates_across_centuries() {
        for day in (0..2_900_000_u64).step_by(997) {
            let instant = Duration::from_secs(day * 86_400 + day % 86_400);
            let http = httpdate::fmt_http_date(UNIX_EPOCH + instant);
            let month = http.get(8..11).unwrap();
            let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
            let month = months.find(month).unwrap() / 3 + 1;
            let iso = format!(
                "{}-{month:02}-{}T{}Z",
                http.get(12..16).unwrap(),
                http.get(5..7).unwrap(),
                http.get(17..25).unwrap()
            );
            assert_eq!(parse_iso8601(iso.as_bytes()), Some(instant), "{iso}");
        }
    }

    #[test]
    fn rounding_up_saturates() {
        assert_eq!(ceil_seconds(Duration::ZERO), 0);
        assert_eq!(ceil_seconds(Duration::from_nanos(1)), 1);
        assert_eq!(ceil_seconds(Duration::from_secs(1)), 1);
        assert_eq!(ceil_seconds(Duration::MAX), u64::MAX);
    }
}

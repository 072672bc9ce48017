//! Times as logs write them.

use limiter_core::Timestamp;

use super::Malformed;

/// What a number counts since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimeUnit {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

const MONTHS: [&[u8; 3]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];

/// The instant that `text` tells: `10/Oct/2000:13:55:36 -0700`, RFC 3339, or a number since 1970, whose size tells its
/// unit where `unit` does not.
pub(super) fn parse(text: &str, unit: Option<TimeUnit>) -> Result<Timestamp, Malformed> {
    let text = text.trim().trim_start_matches('[').trim_end_matches(']');
    let scan = || Scan(text.as_bytes());
    if let Some(micros) = scan().log_date().or_else(|| scan().rfc3339()) {
        return u64::try_from(micros).ok().and_then(in_range).ok_or(Malformed::TimeOutOfRange);
    }
    number(text, unit)
}

fn in_range(micros: u64) -> Option<Timestamp> {
    (micros <= Timestamp::MAX.as_micros()).then(|| Timestamp::from_micros(micros))
}

/// A number since 1970; its digits are kept, however many.
fn number(text: &str, unit: Option<TimeUnit>) -> Result<Timestamp, Malformed> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return inexact_number(text, unit);
    }
    let whole: u64 = whole.parse().map_err(|_| Malformed::TimeOutOfRange)?;
    let billionths: u128 = fraction.bytes().chain([b'0'; 9]).take(9).fold(0, |n, d| n * 10 + u128::from(d - b'0'));
    let unit = unit.unwrap_or_else(|| TimeUnit::of_size(whole));
    let micros = (u128::from(whole) * 1_000_000_000 + billionths) * unit.nanos() / 1_000_000_000_000;
    u64::try_from(micros).ok().and_then(in_range).ok_or(Malformed::TimeOutOfRange)
}

/// A number with a sign or an exponent.
fn inexact_number(text: &str, unit: Option<TimeUnit>) -> Result<Timestamp, Malformed> {
    match text.parse::<f64>() {
        Ok(value) if !value.is_finite() => Err(Malformed::BadTime),
        Ok(value) if !(0.0..=1e19).contains(&value) => Err(Malformed::TimeOutOfRange),
        Ok(value) => number(&format!("{:.6}", value.abs()), unit),
        Err(_) => Err(Malformed::BadTime),
    }
}

impl TimeUnit {
    pub(crate) const ALL: [Self; 4] = [Self::Seconds, Self::Millis, Self::Micros, Self::Nanos];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Millis => "ms",
            Self::Micros => "us",
            Self::Nanos => "ns",
        }
    }

    /// The unit in which `number` lies between 1973 and the year 5138, or before.
    fn of_size(number: u64) -> Self {
        match number {
            0..100_000_000_000 => Self::Seconds,
            100_000_000_000..100_000_000_000_000 => Self::Millis,
            100_000_000_000_000..100_000_000_000_000_000 => Self::Micros,
            _ => Self::Nanos,
        }
    }

    fn nanos(self) -> u128 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Millis => 1_000_000,
            Self::Micros => 1000,
            Self::Nanos => 1,
        }
    }
}

/// What is left to read of a date.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    /// Microseconds since 1970 at `10/Oct/2000:13:55:36 -0700`.
    fn log_date(mut self) -> Option<i64> {
        let day = self.digits(2)?;
        self.eat(b"/")?;
        let name = self.0.split_off(..3)?;
        let month = MONTHS.iter().position(|month| name.eq_ignore_ascii_case(*month))?;
        self.eat(b"/")?;
        let year = self.digits(4)?;
        self.eat(b":")?;
        self.rest_of(days_since_1970(year, i64::try_from(month).ok()? + 1, day)?)
    }

    /// Microseconds since 1970 at `2000-10-10T13:55:36.123-07:00`, also with a space, a comma, or no zone or time.
    fn rfc3339(mut self) -> Option<i64> {
        let year = self.digits(4)?;
        self.eat(b"-")?;
        let month = self.digits(2)?;
        self.eat(b"-")?;
        let days = days_since_1970(year, month, self.digits(2)?)?;
        if self.0.is_empty() {
            return Some(days * 86_400_000_000);
        }
        self.eat(b"Tt ")?;
        self.rest_of(days)
    }

    /// The time of the day `days` and its zone, to the end.
    fn rest_of(mut self, days: i64) -> Option<i64> {
        let (hours, minutes) = (self.digits(2)?, self.colon_digits()?);
        let seconds = self.colon_digits()?; // 60 is a leap second
        if hours > 23 || minutes > 59 || seconds > 60 {
            return None;
        }
        let fraction = if self.eat(b".,").is_some() { self.fraction()? } else { 0 };
        let zone = self.zone()?;
        let seconds = days * 86_400 + (hours * 60 + minutes) * 60 + seconds - zone;
        self.0.is_empty().then_some(seconds * 1_000_000 + fraction)
    }

    /// Seconds east of Greenwich.
    fn zone(&mut self) -> Option<i64> {
        let _ = self.eat(b" ");
        if self.0.is_empty() || self.eat(b"Zz").is_some() {
            return Some(0);
        }
        let west = self.eat(b"-").is_some();
        if !west {
            self.eat(b"+")?;
        }
        let hours = self.digits(2)?;
        let _ = self.eat(b":");
        let minutes = if self.0.is_empty() { 0 } else { self.digits(2)? };
        let seconds = (hours * 60 + minutes) * 60;
        (hours < 24 && minutes < 60).then_some(if west { -seconds } else { seconds })
    }

    /// Microseconds; digits beyond them are dropped.
    fn fraction(&mut self) -> Option<i64> {
        let len = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = self.0.split_off(..len)?;
        let micros = digits.iter().chain(b"000000").take(6);
        (len > 0).then(|| micros.fold(0, |n, digit| n * 10 + i64::from(digit - b'0')))
    }

    fn colon_digits(&mut self) -> Option<i64> {
        self.eat(b":")?;
        self.digits(2)
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let digits = self.0.split_off(..count)?;
        digits.iter().try_fold(0, |n, digit| digit.is_ascii_digit().then(|| n * 10 + i64::from(digit - b'0')))
    }

    fn eat(&mut self, any_of: &[u8]) -> Option<()> {
        let (first, rest) = self.0.split_first()?;
        any_of.contains(first).then(|| self.0 = rest)
    }
}

/// Days from 1970 to a date of the Gregorian calendar; `None` if there is no such date.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // Years that begin in March have their leap day last.
    let (year, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = 365 * year + leap_days + (153 * months + 2) / 5 + day - 1 - 719_468;
    (1..=days_in_month).contains(&day).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Result<u64, Malformed> {
        parse(text, None).map(Timestamp::as_micros)
    }

    #[test]
    fn every_form_of_an_instant_reads_alike() {
        for text in [
            "10/Oct/2000:13:55:36 -0700",
            "[10/oct/2000:20:55:36 +0000]",
            "2000-10-10T20:55:36Z",
            "2000-10-10T13:55:36-07:00",
            "2000-10-10t22:55:36.000+02",
            " 2000-10-10 20:55:36 ",
            "971211336",
            "971211336.0",
            "971211336000",
            "971211336000000",
            "971211336000000000",
            "9.71211336e8",
        ] {
            assert_eq!(micros(text), Ok(971_211_336_000_000), "{text}");
        }
    }

    #[test]
    fn parts_of_a_second_are_kept_to_the_microsecond() {
        for (text, want) in [
            ("2000-10-10T20:55:36.123456789Z", 971_211_336_123_456),
            ("2000-10-10 20:55:36,5", 971_211_336_500_000),
            ("10/Oct/2000:20:55:36.25 +0000", 971_211_336_250_000),
            ("971211336.123456", 971_211_336_123_456),
            ("971211336123.4", 971_211_336_123_400),
            ("971211336123456789", 971_211_336_123_456),
            ("0.000001", 1),
        ] {
            assert_eq!(micros(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn a_unit_that_is_said_is_the_unit() {
        let micros = |unit| parse("1500", Some(unit)).map(Timestamp::as_micros);
        assert_eq!(micros(TimeUnit::Seconds), Ok(1_500_000_000));
        assert_eq!(micros(TimeUnit::Millis), Ok(1_500_000));
        assert_eq!(micros(TimeUnit::Micros), Ok(1500));
        assert_eq!(micros(TimeUnit::Nanos), Ok(1));
    }

    #[test]
    fn the_calendar_is_kept() {
        assert_eq!(micros("1970-01-01"), Ok(0));
        assert_eq!(micros("2024-02-29T23:59:60Z"), micros("2024-03-01"));
        assert_eq!(micros("2000-03-01").unwrap() - micros("2000-02-28").unwrap(), 2 * 86_400_000_000);
        for text in ["2023-02-29", "2100-02-29", "2024-04-31", "2024-13-01", "2024-00-01", "2024-01-00"] {
            assert_eq!(micros(text), Err(Malformed::BadTime), "{text}");
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "-",
            "yesterday",
            "NaN",
            "inf",
            "10/Oct/2000",
            "10/Okt/2000:13:55:36 -0700",
            "2000-10-10T25:00:00Z",
            "2000-10-10T20:55:36+7",
            "2000-10-10T20:55:36+24:00",
            "2000-10-10T20:55Z",
            "2000-10-10T20:55:36.Z",
            "10/Oct/2000:13:55:36 PDT",
            "1 2",
            "１２３",
        ] {
            assert_eq!(micros(text), Err(Malformed::BadTime), "{text}");
        }
        for text in [
            "1969-12-31T23:59:59Z",
            "9999-12-31",
            "0000-01-01",
            "-1",
            "1e300",
            "99999999999999999999",
            "1e19",
            "01/Jan/0001:00:00:00 +0000",
        ] {
            assert_eq!(micros(text), Err(Malformed::TimeOutOfRange), "{text}");
        }
    }
}

//! Instants for people to read, in UTC.

use std::time::Duration;

use limiter_core::Timestamp;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

pub(crate) const SECOND: u64 = 1_000_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const DAY: u64 = 86_400 * SECOND;

/// `2000-10-10 13:55:36`, with as much of the second as `to_micros` has.
pub(crate) fn stamp(at: Timestamp) -> String {
    let micros = at.as_micros();
    let fraction = match micros % SECOND {
        0 => String::new(),
        rest => format!(".{rest:06}").trim_end_matches('0').to_owned(),
    };
    format!("{} {}{fraction}", date(micros), time(micros))
}

/// `2000-10-10`.
pub(crate) fn date(micros: u64) -> String {
    let (year, month, day) = civil(micros / DAY);
    format!("{year}-{month:02}-{day:02}")
}

/// `Oct 10`.
pub(crate) fn day(micros: u64) -> String {
    let (_, month, day) = civil(micros / DAY);
    let month = usize::try_from(month - 1).ok().and_then(|month| MONTHS.get(month)).unwrap_or(&"");
    format!("{month} {day}")
}

/// `13:55:36`.
pub(crate) fn time(micros: u64) -> String {
    let seconds = micros / SECOND % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `1 min 30 s`: the two largest parts of a duration.
pub(crate) fn span(duration: Duration) -> String {
    const UNITS: [(u64, &str); 6] =
        [(DAY, "d"), (60 * MINUTE, "h"), (MINUTE, "min"), (SECOND, "s"), (1000, "ms"), (1, "µs")];
    let mut rest = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    for (size, name) in UNITS {
        if rest >= size && parts.len() < 2 {
            parts.push(format!("{} {name}", rest / size));
            rest %= size;
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// `second`, `10 min`: a width of the plots' cells.
pub(crate) fn width(micros: u64) -> String {
    let text = span(Duration::from_micros(micros));
    text.strip_prefix("1 ").map_or(text.clone(), str::to_owned)
}

/// Year, month and day of a day counted from 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    // In years that begin in March, and from one whose number 400 divides, leap days come last.
    let (era, day_of_era) = ((days + 719_468) / 146_097, (days + 719_468) % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times_of_the_calendar() {
        for (micros, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400 * SECOND, "2000-02-29 00:00:00"),
            (971_211_336 * SECOND + 250_000, "2000-10-10 20:55:36.25"),
            (1_709_251_199 * SECOND, "2024-02-29 23:59:59"),
            (1_735_689_599 * SECOND, "2024-12-31 23:59:59"),
        ] {
            assert_eq!(stamp(Timestamp::from_micros(micros)), text);
        }
        assert_eq!(day(971_211_336 * SECOND), "Oct 10");
    }

    #[test]
    fn durations_tell_their_two_largest_parts() {
        for (micros, text) in [(0, "0 s"), (90 * SECOND, "1 min 30 s"), (DAY + MINUTE, "1 d"), (1500, "1 ms 500 µs")] {
            assert_eq!(span(Duration::from_micros(micros)), text);
        }
        assert_eq!((width(SECOND), width(10 * MINUTE)), ("s".to_owned(), "10 min".to_owned()));
    }
}

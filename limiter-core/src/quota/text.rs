//! Quotas and rates as text: `"5/s"`, `"100 per minute burst 20"`, `"sliding_log 5/s, 1000/h"`.

use crate::{Algorithm, Quota, Rate, error::QuotaError};
use std::{fmt, str::FromStr, time::Duration};

/// Microseconds in each unit of time, with the names it is read by; it is printed by the first.
const UNITS: [(u64, &[&str]); 7] = [
    (7 * 86_400_000_000, &["week", "w", "weeks"]),
    (86_400_000_000, &["day", "d", "days"]),
    (3_600_000_000, &["h", "hour", "hours", "hr"]),
    (60_000_000, &["min", "m", "minute", "minutes"]),
    (1_000_000, &["s", "sec", "second", "seconds"]),
    (1000, &["ms", "millisecond", "milliseconds"]),
    (1, &["us", "µs", "μs", "microsecond", "microseconds"]),
];

const ALGORITHMS: [(&str, Algorithm); 6] = [
    ("gcra", Algorithm::Gcra),
    ("token_bucket", Algorithm::Gcra),
    ("leaky_bucket", Algorithm::Gcra),
    ("fixed_window", Algorithm::FixedWindow),
    ("sliding_window", Algorithm::SlidingWindow),
    ("sliding_log", Algorithm::SlidingLog),
];

const A_NUMBER: &str = "a whole number of units, as in \"5/s\"";
const A_SLASH: &str = "\"/\" or \"per\"";
const A_PERIOD: &str =
    "a period: us, ms, s, min, h, day or week, with a number before it where it is not one (\"72/3s\")";
const AN_OPTION: &str = "\"burst N\", \"resolution N\", \",\" and another rate, or the end";
const AN_ALGORITHM: &str = "a rate such as \"5/s\", or gcra, token_bucket, leaky_bucket, fixed_window, sliding_window or sliding_log before it";

impl Algorithm {
    /// The algorithm of this name, one of the other names of `gcra` included; upper and lower case are the same.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        ALGORITHMS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, algorithm)| algorithm)
    }
}

impl FromStr for Quota {
    type Err = QuotaError;

    /// Reads `[algorithm] rate[, rate ...]`; the algorithm is `gcra` where none is named.
    fn from_str(text: &str) -> Result<Self, QuotaError> {
        let mut reader = Reader { text, at: 0 };
        let algorithm = reader.algorithm()?;
        let mut rates = vec![reader.rate()?];
        while reader.eat(",") {
            rates.push(reader.rate()?);
        }
        reader.end()?;
        Self::new(algorithm, rates)
    }
}

impl FromStr for Rate {
    type Err = QuotaError;

    /// Reads `units / [n] period [burst n] [resolution n]`, also with `per` in place of the slash.
    fn from_str(text: &str) -> Result<Self, QuotaError> {
        let mut reader = Reader { text, at: 0 };
        let rate = reader.rate()?;
        reader.end()?;
        Ok(rate)
    }
}

impl fmt::Display for Quota {
    /// A text that reads back as the same quota.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.algorithm() != Algorithm::Gcra {
            write!(f, "{} ", self.algorithm())?;
        }
        for (i, rate) in self.rates().iter().enumerate() {
            write!(f, "{}{rate}", if i > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Rate {
    /// A text that reads back as the same rate.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.limit(), PeriodText(self.period_us()))?;
        if let Some(units) = self.burst_size() {
            write!(f, " burst {units}")?;
        }
        if let Some(cells) = self.cells() {
            write!(f, " resolution {cells}")?;
        }
        Ok(())
    }
}

/// A period of so many microseconds, in the largest unit that it is a multiple of.
pub(crate) struct PeriodText(pub(crate) u64);

impl fmt::Display for PeriodText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, names) = UNITS.iter().find(|(size, _)| self.0.is_multiple_of(*size)).unwrap_or(&UNITS[6]);
        let name = names.first().copied().unwrap_or_default();
        match self.0 / size {
            1 => f.write_str(name),
            n => write!(f, "{n}{name}"),
        }
    }
}

/// Reads a period: `"s"`, `"1500ms"`.
#[cfg(feature = "serde")]
pub(super) fn period(text: &str) -> Result<Duration, QuotaError> {
    let mut reader = Reader { text, at: 0 };
    let period = reader.period()?;
    if reader.rest().is_empty() { Ok(period) } else { Err(reader.refuse_token("the end")) }
}

/// Reads tokens from the left; every refusal knows where it stands.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn algorithm(&mut self) -> Result<Algorithm, QuotaError> {
        let word = self.peek_word();
        if word.is_empty() {
            return Ok(Algorithm::Gcra);
        }
        let algorithm = Algorithm::from_name(word).ok_or_else(|| self.refuse(word.len(), AN_ALGORITHM))?;
        self.at += word.len();
        Ok(algorithm)
    }

    fn rate(&mut self) -> Result<Rate, QuotaError> {
        self.rest();
        let start = self.at;
        self.any_rate().map_err(|error| match error {
            QuotaError::Text { .. } => error,
            // Well written, but no rate that can be: the whole of it is shown.
            error => {
                QuotaError::Part { text: self.text.to_owned(), at: start, len: self.at - start, error: error.into() }
            }
        })
    }

    fn any_rate(&mut self) -> Result<Rate, QuotaError> {
        let limit = self.number(A_NUMBER)?;
        if !self.eat("/") && !self.eat_word("per") {
            return Err(self.refuse_token(A_SLASH));
        }
        let mut rate = Rate::new(limit, self.period()?)?;
        loop {
            if rate.burst_size().is_none() && self.eat_word("burst") {
                rate = rate.burst(self.number("the burst's units")?)?;
            } else if rate.cells().is_none() && self.eat_word("resolution") {
                let start = self.at;
                let cells = self.number("the number of cells")?;
                let cells = u32::try_from(cells)
                    .map_err(|_| Reader { text: self.text, at: start }.refuse_token("a number of cells below 2^32"))?;
                rate = rate.resolution(cells)?;
            } else {
                return Ok(rate);
            }
        }
    }

    fn period(&mut self) -> Result<Duration, QuotaError> {
        let count = if self.rest().starts_with(|c: char| c.is_ascii_digit()) { self.number(A_PERIOD)? } else { 1 };
        let word = self.peek_word();
        let unit = UNITS.iter().find(|(_, names)| names.iter().any(|name| name.eq_ignore_ascii_case(word)));
        let &(size, _) = unit.ok_or_else(|| self.refuse_token(A_PERIOD))?;
        let micros = count.checked_mul(size).ok_or_else(|| self.refuse_token("a period below 2^64 microseconds"))?;
        self.at += word.len();
        Ok(Duration::from_micros(micros))
    }

    /// Digits, which underscores may group.
    fn number(&mut self, allowed: &'static str) -> Result<u64, QuotaError> {
        let rest = self.rest();
        let len = rest.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(rest.len());
        let digits: String = rest.chars().take(len).filter(char::is_ascii_digit).collect();
        if digits.is_empty() {
            return Err(self.refuse_token(allowed));
        }
        let number = digits.parse().map_err(|_| self.refuse(len, "a number below 2^64"))?;
        self.at += len;
        Ok(number)
    }

    fn end(&mut self) -> Result<(), QuotaError> {
        if self.rest().is_empty() { Ok(()) } else { Err(self.refuse_token(AN_OPTION)) }
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let found = self.rest().starts_with(symbol);
        if found {
            self.at += symbol.len();
        }
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.peek_word().eq_ignore_ascii_case(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn peek_word(&mut self) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c: char| !c.is_alphabetic() && c != '_').unwrap_or(rest.len());
        rest.get(..len).unwrap_or_default()
    }

    /// What is left, from its first character that is not white space.
    fn rest(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    /// Refuses the next token, be it a word, a number or one other character.
    fn refuse_token(&mut self, allowed: &'static str) -> QuotaError {
        let rest = self.rest();
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let one = rest.chars().next().map_or(0, char::len_utf8);
        self.refuse(word.max(one), allowed)
    }

    fn refuse(&self, len: usize, allowed: &'static str) -> QuotaError {
        QuotaError::Text { text: self.text.to_owned(), at: self.at, len, allowed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_and_prints_the_shortest() {
        for (text, printed) in [
            ("5/s", "5/s"),
            (" 5 / s ", "5/s"),
            ("5 per second", "5/s"),
            ("100 per minute burst 20", "100/min burst 20"),
            ("1000/h, 5/s", "5/s, 1000/h"),
            ("sliding_log 100/min", "sliding_log 100/min"),
            ("SLIDING_LOG 72/3s resolution 30", "sliding_log 72/3s resolution 30"),
            ("token_bucket 10/day", "10/day"),
            ("leaky_bucket 1/week", "1/week"),
            ("fixed_window 1_000/1500 ms", "fixed_window 1000/1500ms"),
            ("sliding_window 1/60s", "sliding_window 1/min"),
            ("1000000000/s", "1000000000/s"),
            ("7/250µs", "7/250us"),
        ] {
            let quota: Quota = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(quota.to_string(), printed);
            assert_eq!(printed.parse::<Quota>().unwrap(), quota);
        }
    }

    #[test]
    fn errors_point_at_the_part_and_say_what_is_allowed() {
        for (text, part, allowed) in [
            ("", "", "a whole number"),
            ("bucket 5/s", "bucket", "sliding_log"),
            ("five/s", "five", "gcra"),
            ("5", "", "\"/\" or \"per\""),
            ("5 s", "s", "\"/\" or \"per\""),
            ("5/fortnight", "fortnight", "ms, s, min"),
            ("5/", "", "ms, s, min"),
            ("5/0.5s", ".", "ms, s, min"),
            ("5/s burst", "", "the burst's units"),
            ("5/s burst -1", "-", "the burst's units"),
            ("5/s 6/min", "6", "another rate"),
            ("5/s;", ";", "another rate"),
            ("5/s,", "", "a whole number"),
            ("99999999999999999999/s", "99999999999999999999", "below 2^64"),
            ("5/s resolution 4294967296", "4294967296", "below 2^32"),
            ("5/99999999999999999999s", "99999999999999999999", "below 2^64"),
            ("5/18446744073709551615s", "s", "below 2^64 microseconds"),
            ("5/\u{1f980}", "\u{1f980}", "ms, s, min"),
        ] {
            match text.parse::<Quota>() {
                Err(QuotaError::Text { at, len, allowed: says, .. }) => {
                    assert_eq!(text.get(at..at + len), Some(part), "{text}");
                    assert!(says.contains(allowed), "{text}: {says}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        for (text, says) in [
            ("5/s, 0/h", "\"0/h\" at byte 5 of \"5/s, 0/h\": the limit is 0"),
            ("5/0s", "the period is 0"),
            ("5/s burst 0", "the burst is 0"),
            ("5/s resolution 0", "the resolution is 0"),
            ("5000/us", "4096 units a microsecond"),
        ] {
            let error = text.parse::<Quota>().expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!("5/s burst 5 burst 6".parse::<Quota>().is_err());
        assert!("5/s".parse::<Rate>().is_ok() && "5/s, 6/h".parse::<Rate>().is_err());
    }
}

//! The Common Log Format and what Combined appends to it:
//! `192.0.2.1 - ada [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.1" 200 2326 "referer" "agent"`.

use std::borrow::Cow;

use super::{Fields, Malformed, Record, TimeUnit, UnknownField, time};

#[derive(Debug)]
pub(crate) struct Reader {
    time: Field,
    key: Field,
    cost: Option<Field>,
    unit: Option<TimeUnit>,
}

/// A field of a line, or a part of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    /// Its place in [`NAMES`].
    At(usize),
    Method,
    Url,
    /// The URL up to its query.
    Path,
}

const NAMES: [&str; 9] = ["addr", "ident", "user", "time", "request", "status", "bytes", "referer", "agent"];
const ADDR: usize = 0;
const TIME: usize = 3;
const REQUEST: usize = 4;
const BYTES: usize = 6;

impl Reader {
    pub(super) fn new(fields: &Fields) -> Result<Self, UnknownField> {
        let field = |option, name: &Option<String>| name.as_ref().map(|name| Field::named(option, name)).transpose();
        Ok(Self {
            time: field("--time", &fields.time)?.unwrap_or(Field::At(TIME)),
            key: field("--key", &fields.key)?.unwrap_or(Field::At(ADDR)),
            cost: field("--cost", &fields.cost)?,
            unit: fields.unit,
        })
    }

    pub(super) fn read<'a>(&self, line: &'a str) -> Result<Record<'a>, Malformed> {
        let fields = split(line)?;
        let cost = match self.cost {
            // A dash stands for no bytes.
            Some(Field::At(BYTES)) if fields[BYTES] == "-" => 0,
            Some(cost) => super::cost(Some(cost.of(&fields).ok_or(Malformed::NoCost)?))?,
            None => 1,
        };
        Ok(Record {
            at: time::parse(self.time.of(&fields).ok_or(Malformed::NoTime)?, self.unit)?,
            key: Cow::Borrowed(self.key.of(&fields).ok_or(Malformed::NoKey)?),
            cost,
        })
    }
}

pub(super) fn fits(line: &str) -> bool {
    split(line).is_ok()
}

impl Field {
    fn named(option: &'static str, name: &str) -> Result<Self, UnknownField> {
        let number = name.parse().ok().filter(|number| (1..=NAMES.len()).contains(number));
        let place = number.map(|number| number - 1).or_else(|| NAMES.iter().position(|known| *known == name));
        match (place, name) {
            (Some(place), _) => Ok(Self::At(place)),
            (None, "method") => Ok(Self::Method),
            (None, "url") => Ok(Self::Url),
            (None, "path") => Ok(Self::Path),
            _ => {
                let has = format!("{}, method, url, path", NAMES.join(", "));
                Err(UnknownField { option, name: Some(name.to_owned()), has })
            }
        }
    }

    fn of<'a>(self, fields: &[&'a str; 9]) -> Option<&'a str> {
        let mut request = fields[REQUEST].split(' ');
        let text = match self {
            Self::At(place) => fields[place],
            Self::Method => request.next()?,
            Self::Url => request.nth(1)?,
            Self::Path => request.nth(1)?.split('?').next()?,
        };
        Some(text).filter(|text| !text.is_empty())
    }
}

/// The fields of a line; those that Combined appends are empty where they are not there.
fn split(line: &str) -> Result<[&str; 9], Malformed> {
    // A user's name may hold brackets and blanks, but no bare quote.
    let (who, request) = line.split_once("] \"").ok_or(Malformed::NoDate)?;
    let (who, time) = who.rsplit_once(" [").ok_or(Malformed::NoDate)?;
    let (addr, who) = who.split_once(' ').ok_or(Malformed::NoDate)?;
    let (ident, user) = who.split_once(' ').ok_or(Malformed::NoDate)?;

    let (request, rest) = until_quote(request).ok_or(Malformed::NoRequest)?;
    let (status, rest) = word(rest);
    if status != "-" && !(status.len() == 3 && is_number(status)) {
        return Err(Malformed::NoStatus);
    }
    let (bytes, rest) = word(rest);
    if bytes != "-" && !is_number(bytes) {
        return Err(Malformed::NoBytes);
    }
    let (referer, rest) = quoted(rest);
    let (agent, _) = quoted(rest);
    Ok([addr, ident, user, time, request, status, bytes, referer, agent])
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The next word, and the rest behind it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches(' ');
    text.split_once(' ').unwrap_or((text, ""))
}

/// The text in quotes that is next, and the rest behind it; nothing if none is.
fn quoted(text: &str) -> (&str, &str) {
    text.trim_start_matches(' ').strip_prefix('"').and_then(until_quote).unwrap_or(("", ""))
}

/// The text before the next quote that no backslash escapes, and the rest behind it.
fn until_quote(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })?;
    Some((&text[..end], &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMBINED: &str =
        r#"2001:db8::1 - ada [10/Oct/2000:13:55:36 -0700] "GET /a?b=1 HTTP/1.1" 200 2326 "-" "an \"agent\"""#;

    fn read<'a>(line: &'a str, key: &str, cost: Option<&str>) -> Result<Record<'a>, Malformed> {
        let fields = Fields { key: Some(key.to_owned()), cost: cost.map(str::to_owned), ..Fields::default() };
        Reader::new(&fields).unwrap().read(line)
    }

    #[test]
    fn every_field_is_there_by_name_and_by_number() {
        for (name, number, want) in [
            ("addr", "1", "2001:db8::1"),
            ("ident", "2", "-"),
            ("user", "3", "ada"),
            ("time", "4", "10/Oct/2000:13:55:36 -0700"),
            ("request", "5", "GET /a?b=1 HTTP/1.1"),
            ("status", "6", "200"),
            ("bytes", "7", "2326"),
            ("referer", "8", "-"),
            ("agent", "9", r#"an \"agent\""#),
            ("method", "method", "GET"),
            ("url", "url", "/a?b=1"),
            ("path", "path", "/a"),
        ] {
            assert_eq!(read(COMBINED, name, None).unwrap().key, want);
            assert_eq!(read(COMBINED, number, None).unwrap().key, want);
        }
        assert_eq!(read(COMBINED, "addr", None).unwrap().at.as_micros(), 971_211_336_000_000);
    }

    #[test]
    fn bytes_can_be_the_cost_and_a_dash_is_none() {
        assert_eq!(read(COMBINED, "addr", Some("bytes")).unwrap().cost, 2326);
        let line = COMBINED.replace("2326", "-");
        assert_eq!(read(&line, "addr", Some("bytes")).unwrap().cost, 0);
        assert_eq!(read(COMBINED, "addr", Some("user")), Err(Malformed::BadCost));
    }

    #[test]
    fn users_may_have_blanks_and_brackets() {
        let line = r#"192.0.2.1 - a [b] c [10/Oct/2000:13:55:36 -0700] "-" 408 -"#;
        assert_eq!(read(line, "user", None).unwrap().key, "a [b] c");
        assert_eq!(read(line, "path", None), Err(Malformed::NoKey));
        assert_eq!(read(line, "agent", None), Err(Malformed::NoKey));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (line, why) in [
            ("", Malformed::NoDate),
            ("192.0.2.1 - -", Malformed::NoDate),
            (r#"192.0.2.1 [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 1"#, Malformed::NoDate),
            (r#"192.0.2.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HT"#, Malformed::NoRequest),
            (r#"192.0.2.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1\" 200 1"#, Malformed::NoRequest),
            (r#"192.0.2.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 20"#, Malformed::NoStatus),
            (r#"192.0.2.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200"#, Malformed::NoBytes),
            (r#"192.0.2.1 - - [today] "GET / HTTP/1.1" 200 1"#, Malformed::BadTime),
        ] {
            assert_eq!(read(line, "addr", None), Err(why), "{line}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused_with_those_there_are() {
        let fields = Fields { key: Some("session".to_owned()), ..Fields::default() };
        let error = Reader::new(&fields).unwrap_err().to_string();
        assert!(error.contains("--key") && error.contains("\"session\"") && error.contains("addr, ident"), "{error}");
    }
}

//! Columns between commas, semicolons, tabs or bars, with or without a first line of names. A record is one line.

use std::borrow::Cow;

use super::{Fields, KEYS, Malformed, Record, TIMES, TimeUnit, UnknownField, time};

#[derive(Debug)]
pub(crate) struct Reader {
    delimiter: u8,
    has_header: bool,
    /// Columns, counted from 0.
    time: usize,
    key: usize,
    cost: Option<usize>,
    unit: Option<TimeUnit>,
}

const DELIMITERS: [u8; 4] = *b",;\t|";

impl Reader {
    /// A reader of lines like those of `sample`, whose first names the columns if it has one of the names looked for.
    pub(super) fn new(fields: &Fields, sample: &[&str]) -> Result<Self, UnknownField> {
        let delimiter = delimiter(sample);
        let first_line = sample.first().copied().unwrap_or_default();
        let names: Vec<_> = Columns::new(first_line, delimiter).map_while(Result::ok).collect();
        let header = Header { names: &names };
        let is_time = |column: &Cow<'_, str>| time::parse(column, fields.unit).is_ok();
        let chosen = [&fields.time, &fields.key, &fields.cost].into_iter().flatten().map(String::as_str);
        let has_header =
            !names.iter().any(is_time) && chosen.chain(TIMES).chain(KEYS).any(|name| header.place(name).is_some());
        let usual = |names, column| if has_header { Usual::Names(names) } else { Usual::Column(column) };
        Ok(Self {
            delimiter,
            has_header,
            time: header.find("--time", fields.time.as_deref(), usual(&TIMES, 0))?,
            key: header.find("--key", fields.key.as_deref(), usual(&KEYS, 1))?,
            cost: fields.cost.as_deref().map(|name| header.find("--cost", Some(name), usual(&[], 0))).transpose()?,
            unit: fields.unit,
        })
    }

    pub(super) fn has_header(&self) -> bool {
        self.has_header
    }

    pub(super) fn read<'a>(&self, line: &'a str) -> Result<Record<'a>, Malformed> {
        let (mut time, mut key, mut cost) = (None, None, None);
        for (place, column) in Columns::new(line, self.delimiter).enumerate() {
            let column = column?;
            if self.cost == Some(place) {
                cost = Some(column.clone());
            }
            if self.time == place {
                time = Some(column.clone());
            }
            if self.key == place {
                key = Some(column);
            }
        }
        if self.cost.is_some() && cost.is_none() {
            return Err(Malformed::NoCost);
        }
        Ok(Record {
            at: time::parse(&time.ok_or(Malformed::NoTime)?, self.unit)?,
            key: key.ok_or(Malformed::NoKey)?,
            cost: super::cost(cost.as_deref())?,
        })
    }
}

pub(super) fn fits(line: &str) -> bool {
    line.bytes().any(|byte| DELIMITERS.contains(&byte))
}

/// The commonest of the delimiters; of several, the first.
fn delimiter(sample: &[&str]) -> u8 {
    let count = |delimiter: &u8| sample.iter().flat_map(|line| line.bytes()).filter(|byte| byte == delimiter).count();
    DELIMITERS.into_iter().rev().max_by_key(count).unwrap_or(b',')
}

/// The columns of the first line, which may be names.
struct Header<'a> {
    names: &'a [Cow<'a, str>],
}

/// What is read where no field was chosen.
enum Usual {
    Names(&'static [&'static str]),
    Column(usize),
}

impl Header<'_> {
    fn find(&self, option: &'static str, chosen: Option<&str>, usual: Usual) -> Result<usize, UnknownField> {
        let number = |name: &str| name.parse::<usize>().ok()?.checked_sub(1);
        let found = match (chosen, usual) {
            (Some(name), _) => self.place(name).or_else(|| number(name)),
            (None, Usual::Names(names)) => names.iter().find_map(|name| self.place(name)),
            (None, Usual::Column(column)) => Some(column),
        };
        let has = || self.names.join(", ");
        found.ok_or_else(|| UnknownField { option, name: chosen.map(str::to_owned), has: has() })
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known.eq_ignore_ascii_case(name))
    }
}

/// The columns of a line, without their quotes.
struct Columns<'a> {
    rest: Option<&'a str>,
    delimiter: u8,
}

impl<'a> Columns<'a> {
    fn new(line: &'a str, delimiter: u8) -> Self {
        Self { rest: Some(line), delimiter }
    }

    /// A column behind its opening quote, and what stands behind the closing one; two quotes in a row are one.
    fn quoted(text: &'a str) -> Option<(Cow<'a, str>, &'a str)> {
        let (mut column, mut rest) = text.split_once('"').map(|(column, rest)| (Cow::Borrowed(column), rest))?;
        while let Some(more) = rest.strip_prefix('"') {
            let (part, behind) = more.split_once('"')?;
            let column = column.to_mut();
            column.push('"');
            column.push_str(part);
            rest = behind;
        }
        Some((column, rest))
    }
}

impl<'a> Iterator for Columns<'a> {
    type Item = Result<Cow<'a, str>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let delimiter = char::from(self.delimiter);
        let Some(text) = rest.trim_start_matches(' ').strip_prefix('"') else {
            let (column, behind) = rest.split_once(delimiter).map_or((rest, None), |(c, behind)| (c, Some(behind)));
            self.rest = behind;
            return Some(Ok(Cow::Borrowed(column.trim())));
        };
        let Some((column, behind)) = Self::quoted(text) else { return Some(Err(Malformed::OpenQuote)) };
        let behind = behind.trim_start_matches(' ');
        self.rest = behind.strip_prefix(delimiter);
        let ends = behind.is_empty() || self.rest.is_some();
        Some(if ends { Ok(column) } else { Err(Malformed::OpenQuote) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(first_line: &str, fields: [Option<&str>; 3]) -> Result<Reader, UnknownField> {
        let [time, key, cost] = fields.map(|name| name.map(str::to_owned));
        Reader::new(&Fields { time, key, cost, unit: None }, &[first_line])
    }

    fn read<'a>(reader: &Reader, line: &'a str) -> (u64, Cow<'a, str>, u64) {
        let record = reader.read(line).unwrap();
        (record.at.as_micros() / 1_000_000, record.key, record.cost)
    }

    #[test]
    fn columns_are_found_by_usual_names_by_chosen_ones_and_by_number() {
        let line = "7,ada,2000-10-10T20:55:36Z,9,192.0.2.1";
        for fields in [
            [None, None, None],
            [Some("Time"), Some("ip"), None],
            [Some("3"), Some("5"), None],
            [Some("time"), Some("5"), None],
        ] {
            let reader = reader("cost,name,time,bytes,ip", fields).unwrap();
            assert!(reader.has_header());
            assert_eq!(read(&reader, line), (971_211_336, "192.0.2.1".into(), 1));
        }
        let reader = reader("cost,name,time,bytes,ip", [None, Some("name"), Some("bytes")]).unwrap();
        assert_eq!(read(&reader, line), (971_211_336, "ada".into(), 9));
    }

    #[test]
    fn without_names_the_first_columns_are_time_and_key() {
        let reader = reader("5;a;3", [None; 3]).unwrap();
        assert!(!reader.has_header());
        assert_eq!(read(&reader, "5;a;3"), (5, "a".into(), 1));
    }

    #[test]
    fn a_first_line_without_a_name_that_is_looked_for_is_a_row() {
        let sample = ["broken, row", "5;a", "6;b", "7;c"];
        let reader = Reader::new(&Fields::default(), &sample).unwrap();
        assert!(!reader.has_header());
        assert_eq!(reader.read(sample[0]), Err(Malformed::BadTime));
        assert_eq!(read(&reader, sample[1]), (5, "a".into(), 1));
    }

    #[test]
    fn quotes_hold_delimiters_and_quotes() {
        let reader = reader("time\tkey\tcost", [None, None, Some("cost")]).unwrap();
        assert_eq!(read(&reader, "\"5\"\t\"a\t\"\"b\"\"\"\t3"), (5, "a\t\"b\"".into(), 3));
        assert_eq!(read(&reader, "5\t\"\"\t3"), (5, "".into(), 3));
        for line in ["5\t\"a\t3", "5\t\"a\"b\t3"] {
            assert_eq!(reader.read(line), Err(Malformed::OpenQuote), "{line}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let with_cost = reader("time,key,n", [None, None, Some("n")]).unwrap();
        for (line, why) in [
            ("5,a", Malformed::NoCost),
            ("5,a,x", Malformed::BadCost),
            ("x,a,1", Malformed::BadTime),
            ("", Malformed::NoCost),
        ] {
            assert_eq!(with_cost.read(line), Err(why), "{line}");
        }
        assert_eq!(reader("5,a", [None; 3]).unwrap().read("5"), Err(Malformed::NoKey));
        let error = reader("when,key", [None; 3]).unwrap_err().to_string();
        assert!(error.contains("--time") && error.contains("when, key"), "{error}");
        let error = reader("time,key", [None, Some("who"), None]).unwrap_err().to_string();
        assert!(error.contains("--key") && error.contains("\"who\"") && error.contains("time, key"), "{error}");
    }

    #[test]
    fn a_line_of_quotes_takes_no_more_than_its_length() {
        let line = format!("5,\"{}\"", "\"\"".repeat(4 << 20));
        assert_eq!(reader("time,key", [None; 3]).unwrap().read(&line).unwrap().key.len(), 4 << 20);
    }
}

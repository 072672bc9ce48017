//! Lines of logs: who asked for how much, and when. Pure, for any text.

use std::{borrow::Cow, fmt};

use limiter_core::Timestamp;

mod clf;
mod csv;
mod json;
mod time;

pub(crate) use time::TimeUnit;

/// The formats that lines come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// Common Log Format, and Combined, which appends to it.
    Clf,
    Json,
    Csv,
}

/// Which fields of a line are read; the usual ones where it is not said.
#[derive(Clone, Default, Debug)]
pub(crate) struct Fields {
    pub(crate) time: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) cost: Option<String>,
    pub(crate) unit: Option<TimeUnit>,
}

/// A request, as its line tells it.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) at: Timestamp,
    pub(crate) key: Cow<'a, str>,
    pub(crate) cost: u64,
}

/// Names of the time's field, the most telling first.
const TIMES: [&str; 11] = [
    "time",
    "timestamp",
    "@timestamp",
    "ts",
    "datetime",
    "date",
    "time_iso8601",
    "time_local",
    "StartUTC",
    "t_us",
    "t",
];

/// Names of the key's field, the most telling first.
const KEYS: [&str; 15] = [
    "key",
    "client_ip",
    "clientip",
    "remote_addr",
    "remote_ip",
    "client",
    "ClientHost",
    "ip",
    "addr",
    "address",
    "request.client_ip",
    "request.remote_ip",
    "remote_host",
    "host",
    "user",
];

/// Reads the lines of one file.
#[derive(Debug)]
pub(crate) enum LineReader {
    Clf(clf::Reader),
    Json(json::Reader),
    Csv(csv::Reader),
}

impl LineReader {
    /// A reader of lines like those of `sample`, the first of a file.
    ///
    /// # Errors
    /// A field that lines of the format do not have.
    pub(crate) fn new(format: Option<Format>, fields: &Fields, sample: &[&str]) -> Result<Self, UnknownField> {
        Ok(match format.unwrap_or_else(|| Format::of_lines(sample)) {
            Format::Clf => Self::Clf(clf::Reader::new(fields)?),
            Format::Json => Self::Json(json::Reader::new(fields)),
            Format::Csv => Self::Csv(csv::Reader::new(fields, sample)?),
        })
    }

    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Clf(_) => Format::Clf,
            Self::Json(_) => Format::Json,
            Self::Csv(_) => Format::Csv,
        }
    }

    /// Whether the first line names the columns instead of telling of a request.
    pub(crate) fn has_header(&self) -> bool {
        matches!(self, Self::Csv(reader) if reader.has_header())
    }

    pub(crate) fn read<'a>(&self, line: &'a str) -> Result<Record<'a>, Malformed> {
        match self {
            Self::Clf(reader) => reader.read(line),
            Self::Json(reader) => reader.read(line),
            Self::Csv(reader) => reader.read(line),
        }
    }
}

impl Format {
    pub(crate) const ALL: [Self; 3] = [Self::Clf, Self::Json, Self::Csv];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clf => "clf",
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }

    /// The format that lines look like.
    fn of_lines(sample: &[&str]) -> Self {
        let count = |fits: fn(&str) -> bool| sample.iter().filter(|line| fits(line)).count();
        match (count(clf::fits), count(json::fits)) {
            (0, 0) if count(csv::fits) * 2 > sample.len() => Self::Csv,
            (clf, json) if clf >= json => Self::Clf,
            _ => Self::Json,
        }
    }
}

/// Why a line tells of no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Malformed {
    TooLong,
    NoDate,
    NoRequest,
    NoStatus,
    NoBytes,
    NotJson,
    OpenQuote,
    NoTime,
    BadTime,
    TimeOutOfRange,
    NoKey,
    NoCost,
    BadCost,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the line is longer than 16 MiB",
            Self::NoDate => "no client, identity, user and [date]",
            Self::NoRequest => "no \"request\" behind the date",
            Self::NoStatus => "no status behind the request",
            Self::NoBytes => "no number of bytes behind the status",
            Self::NotJson => "not a JSON object",
            Self::OpenQuote => "a quote is not closed before the delimiter",
            Self::NoTime => "no field for the time (--time)",
            Self::BadTime => "the time is neither a date nor a number",
            Self::TimeOutOfRange => "the time is not between 1970 and 2077",
            Self::NoKey => "no field for the key (--key)",
            Self::NoCost => "no field for the cost (--cost)",
            Self::BadCost => "the cost is not a whole number",
        })
    }
}

/// A field that lines of a format do not have.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct UnknownField {
    option: &'static str,
    name: Option<String>,
    has: String,
}

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { option, name, has } = self;
        match name {
            Some(name) => write!(f, "{option}: there is no field {name:?}; there are: {has}"),
            None => write!(f, "{option} is needed, for none of the fields has a usual name; there are: {has}"),
        }
    }
}

impl std::error::Error for UnknownField {}

/// The cost that a field holds; 1 where there is no such field to read.
fn cost(text: Option<&str>) -> Result<u64, Malformed> {
    text.map_or(Ok(1), |text| text.trim().parse().map_err(|_| Malformed::BadCost))
}

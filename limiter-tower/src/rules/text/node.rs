//! A value of any format, and where it stands.

use std::ops::Range;

/// A value, and where it stands in the text, in bytes.
#[derive(Clone, Debug)]
pub(in crate::rules) struct Node {
    pub(in crate::rules) at: Range<usize>,
    pub(in crate::rules) value: Value,
}

#[derive(Clone, Debug)]
pub(in crate::rules) enum Value {
    Flag(bool),
    Whole(i128),
    Fraction(f64),
    Text(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// What rules never have, by its name: dates, null.
    Other(&'static str),
}

/// A name in a table, where it stands, and what it names.
#[derive(Clone, Debug)]
pub(in crate::rules) struct Entry {
    pub(in crate::rules) at: Range<usize>,
    pub(in crate::rules) name: String,
    pub(in crate::rules) node: Node,
}

/// What a text is not, and from which byte on.
pub(super) struct Malformed {
    pub(super) at: usize,
    pub(super) message: String,
}

/// Tables and lists within one another, at most; rules need four.
pub(super) const MOST_LEVELS: usize = 16;

impl Node {
    /// The kind of value, in words.
    pub(in crate::rules) fn kind(&self) -> &'static str {
        match self.value {
            Value::Flag(_) => "true or false",
            Value::Whole(_) => "a number",
            Value::Fraction(_) => "a number with a point or an exponent",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(kind) => kind,
        }
    }
}

impl Malformed {
    pub(super) fn too_deep(at: usize) -> Self {
        Self { at, message: format!("more than {MOST_LEVELS} lists and tables within one another") }
    }
}

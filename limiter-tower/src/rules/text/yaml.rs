//! YAML 1.2 with its core schema, of one document. Anchors, aliases and tags are refused: rules say what they say where
//! they say it, and a few lines of aliases can stand for gigabytes.

use super::{
    Entry, Node, Value,
    node::{MOST_LEVELS, Malformed},
};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use std::ops::Range;

pub(super) fn parse(text: &str) -> Result<Node, Malformed> {
    let bytes = text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect();
    let mut reader = Reader { events: Parser::new_from_str(text), bytes, end: text.len() };
    let mut whole = None;
    loop {
        let (event, at) = reader.next()?;
        match event {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            _ if whole.is_some() => {
                return Err(Malformed { at: at.start, message: "a second document: rules are one".to_owned() });
            }
            event => whole = Some(reader.node(event, at, 1)?),
        }
    }
    Ok(whole.unwrap_or(Node { at: 0..0, value: Value::Table(Vec::new()) }))
}

struct Reader<'t> {
    events: Parser<'t, StrInput<'t>>,
    /// The byte at which each character starts: the parser counts characters.
    bytes: Vec<usize>,
    end: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Range<usize>), Malformed> {
        match self.events.next_event() {
            Some(Ok((event, span))) => {
                let range = self.range(span);
                Ok((event, range))
            }
            Some(Err(error)) => Err(self.malformed(&error)),
            None => Ok((Event::StreamEnd, self.end..self.end)),
        }
    }

    fn node(&mut self, event: Event<'t>, at: Range<usize>, level: usize) -> Result<Node, Malformed> {
        if level > MOST_LEVELS {
            return Err(Malformed::too_deep(at.start));
        }
        let refuse = |what: &str| Malformed { at: at.start, message: format!("{what} are not read in rules") };
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag) | Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                (*anchor, tag.is_some())
            }
            Event::Alias(_) => return Err(refuse("anchors and aliases")),
            _ => (0, false),
        };
        if anchor != 0 {
            return Err(refuse("anchors and aliases"));
        }
        if tag {
            return Err(refuse("tags"));
        }
        let value = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => plain(&text),
            Event::Scalar(text, ..) => Value::Text(text.into_owned()),
            Event::SequenceStart(..) => {
                let mut nodes = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd | Event::StreamEnd, _) => break,
                        (event, at) => nodes.push(self.node(event, at, level + 1)?),
                    }
                }
                Value::List(nodes)
            }
            Event::MappingStart(..) => {
                let mut entries = Vec::new();
                loop {
                    let (event, at) = match self.next()? {
                        (Event::MappingEnd | Event::StreamEnd, _) => break,
                        (Event::Scalar(name, _, 0, None), at) => (name, at),
                        (_, at) => {
                            return Err(Malformed {
                                at: at.start,
                                message: "a name is plain or quoted text".to_owned(),
                            });
                        }
                    };
                    let (of_value, value_at) = self.next()?;
                    let node = self.node(of_value, value_at, level + 1)?;
                    entries.push(Entry { at, name: event.into_owned(), node });
                }
                Value::Table(entries)
            }
            _ => Value::Other("nothing"),
        };
        Ok(Node { at, value })
    }

    fn range(&self, span: Span) -> Range<usize> {
        self.byte(span.start.index())..self.byte(span.end.index())
    }

    fn byte(&self, character: usize) -> usize {
        self.bytes.get(character).copied().unwrap_or(self.end)
    }

    fn malformed(&self, error: &ScanError) -> Malformed {
        Malformed { at: self.byte(error.marker().index()), message: error.info().to_owned() }
    }
}

/// What a scalar without quotes stands for, by the core schema (YAML 1.2.2 §10.3.2).
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Other("nothing"),
        "true" | "True" | "TRUE" => return Value::Flag(true),
        "false" | "False" | "FALSE" => return Value::Flag(false),
        _ => {}
    }
    let prefixed =
        |prefix, radix| text.strip_prefix(prefix).and_then(|digits| i128::from_str_radix(digits, radix).ok());
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    if let Some(number) = text.parse().ok().or_else(|| prefixed("0x", 16)).or_else(|| prefixed("0o", 8)) {
        Value::Whole(number)
    } else if let (true, Ok(number)) = (is_number, text.parse()) {
        Value::Fraction(number)
    } else {
        Value::Text(text.to_owned())
    }
}

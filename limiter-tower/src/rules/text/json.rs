//! JSON: `serde_json` hands out slices of the text it reads, which tell where they stand.

use super::{
    Entry, Node, Value,
    node::{MOST_LEVELS, Malformed},
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

pub(super) fn parse(text: &str) -> Result<Node, Malformed> {
    let whole: &RawValue = serde_json::from_str(text).map_err(|error| malformed(text, 0, &error))?;
    node_of(text, whole, 1)
}

fn node_of(text: &str, raw: &RawValue, level: usize) -> Result<Node, Malformed> {
    let start = offset(text, raw);
    if level > MOST_LEVELS {
        return Err(Malformed::too_deep(start));
    }
    let source = raw.get();
    let value = match source.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = read(text, start, source)?;
            let entries = members.into_iter().map(|(name, node)| {
                let at = offset(text, name);
                let range = at..at + name.get().len();
                Ok(Entry { at: range, name: read(text, at, name.get())?, node: node_of(text, node, level + 1)? })
            });
            Value::Table(entries.collect::<Result<_, _>>()?)
        }
        Some(b'[') => {
            let members: Vec<&RawValue> = read(text, start, source)?;
            let nodes = members.into_iter().map(|member| node_of(text, member, level + 1));
            Value::List(nodes.collect::<Result<_, _>>()?)
        }
        Some(b'"') => Value::Text(read(text, start, source)?),
        Some(b't' | b'f') => Value::Flag(read(text, start, source)?),
        Some(b'n') => Value::Other("nothing"),
        _ => match source.parse() {
            Ok(number) => Value::Whole(number),
            Err(_) => Value::Fraction(read(text, start, source)?),
        },
    };
    Ok(Node { at: start..start + source.len(), value })
}

/// Reads `source`, which stands in `text` from the byte `start` on.
fn read<'a, T: Deserialize<'a>>(text: &str, start: usize, source: &'a str) -> Result<T, Malformed> {
    serde_json::from_str(source).map_err(|error| malformed(text, start, &error))
}

fn malformed(text: &str, start: usize, error: &serde_json::Error) -> Malformed {
    let rest = text.get(start..).unwrap_or_default();
    let lines_before = error.line().saturating_sub(1);
    let line_start: usize = rest.split_inclusive('\n').take(lines_before).map(str::len).sum();
    let at = (start + line_start + error.column().saturating_sub(1)).min(text.len());
    // The error ends in a position of its own, in the part that was read.
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message).to_owned();
    Malformed { at, message }
}

/// Where a part of `text` stands in it.
fn offset(text: &str, part: &RawValue) -> usize {
    (part.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

/// The members of an object, with those that are there twice.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}
